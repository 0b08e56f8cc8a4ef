//! Merged dimensions, block partitions and products along a mode.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on fails"
)]

use burn::tensor::{Device, Tensor, TensorData};
use osculate_linalg::{
    BlockPartition, LinalgError, MergeFrom, merge_dims, mode_gram, mode_product,
};

fn counting(k: usize, size: usize) -> Tensor<2> {
    let values: Vec<f32> = (0..k * size).map(|i| (i as f32 * 0.7).sin()).collect();
    Tensor::from_data(TensorData::new(values, [k, size]), &Device::flex())
}

fn values(tensor: Tensor<2>) -> Vec<f32> {
    tensor.into_data().try_to_vec().unwrap()
}

#[test]
fn merging_follows_both_code_bases() {
    use MergeFrom::{Back, Front};
    for (shape, limit, from, rank, want) in [
        (vec![], 100, Front, 1, vec![1]),
        (vec![1, 1], 100, Back, 1, vec![1]),
        (vec![3, 0, 2], 100, Back, 1, vec![0]),
        (vec![16, 64], 1024, Back, 1, vec![1024]),
        (vec![16, 64], 1024, Back, 2, vec![16, 64]),
        (vec![32, 3, 64, 64], 8192, Back, 1, vec![96, 4096]),
        (vec![32, 3, 64, 64], 8192, Front, 1, vec![6144, 64]),
        (vec![32, 1, 3, 3], 128, Front, 2, vec![96, 3]),
        (vec![32, 1, 3, 3], 128, Back, 2, vec![32, 9]),
        (vec![5, 7, 11], 1, Front, 1, vec![5, 7, 11]),
    ] {
        assert_eq!(
            merge_dims(&shape, limit, from, rank),
            want,
            "{shape:?} {from:?}"
        );
    }
}

#[test]
fn blocks_come_back_as_they_were() {
    for dims in [
        vec![],
        vec![7],
        vec![4, 6],
        vec![5, 4],
        vec![5, 7, 3],
        vec![2, 3, 4, 5],
        vec![3, 0],
    ] {
        for size in [1, 2, 3, 4, 100] {
            let partition = BlockPartition::new(&dims, size);
            let elements = dims.iter().product();
            let whole = counting(2, elements);
            let parts = partition.split(whole.clone()).unwrap();
            assert_eq!(parts.len(), partition.groups().len());
            for (part, group) in parts.iter().zip(partition.groups()) {
                assert_eq!(part.dims(), [2 * group.count, group.num_elements()]);
                assert!(group.dims.iter().all(|&d| d <= size) || elements == 0);
            }
            let joined = partition.join(parts).unwrap();
            assert_eq!(values(joined), values(whole), "{dims:?} {size}");
        }
    }
}

#[test]
fn blocks_are_the_blocks() {
    let matrix = Tensor::<2>::from_data(
        TensorData::new((0..15).map(|i| i as f32).collect(), [1, 15]),
        &Device::flex(),
    );
    let partition = BlockPartition::new(&[3, 5], 2);
    let parts = partition.split(matrix).unwrap();
    let dims: Vec<_> = partition.groups().iter().map(|g| g.dims.clone()).collect();
    assert_eq!(dims, [vec![2, 2], vec![2, 1], vec![1, 2], vec![1, 1]]);
    assert_eq!(
        values(parts[0].clone()),
        [0.0, 1.0, 5.0, 6.0, 2.0, 3.0, 7.0, 8.0]
    );
    assert_eq!(values(parts[1].clone()), [4.0, 9.0]);
    assert_eq!(values(parts[2].clone()), [10.0, 11.0, 12.0, 13.0]);
    assert_eq!(values(parts[3].clone()), [14.0]);
    assert!(!partition.is_whole());
    assert!(BlockPartition::new(&[3, 5], 5).is_whole());
    assert!(matches!(
        partition.join(parts[..2].to_vec()),
        Err(LinalgError::Shape { .. })
    ));
    assert!(matches!(
        partition.split(counting(1, 14)),
        Err(LinalgError::Shape { .. })
    ));
}

/// Index of an element of a row-major tensor.
fn flat(index: &[usize], dims: &[usize]) -> usize {
    index.iter().zip(dims).fold(0, |at, (i, d)| at * d + i)
}

fn indices(dims: &[usize]) -> Vec<Vec<usize>> {
    dims.iter().fold(vec![vec![]], |all, &d| {
        all.into_iter()
            .flat_map(|head| (0..d).map(move |i| [head.clone(), vec![i]].concat()))
            .collect()
    })
}

#[test]
fn modes_agree_with_their_sums() {
    let k = 2;
    for dims in [vec![4], vec![3, 4], vec![2, 3, 4], vec![2, 1, 3, 2]] {
        let size: usize = dims.iter().product();
        let (x, y) = (counting(k, size), counting(k, size) * 0.5 + 0.1);
        let (a, b) = (values(x.clone()), values(y.clone()));
        for mode in 0..dims.len() {
            let (d, e) = (dims[mode], 3);
            let matrices = counting(k, e * d).reshape([k, e, d]);
            let m: Vec<f32> = matrices.clone().into_data().try_to_vec().unwrap();
            let product = values(mode_product(x.clone(), &dims, mode, matrices).unwrap());
            let gram: Vec<f32> = mode_gram(x.clone(), y.clone(), &dims, mode)
                .unwrap()
                .into_data()
                .try_to_vec()
                .unwrap();
            let mut out = dims.clone();
            out[mode] = e;
            for s in 0..k {
                let mut want = vec![0.0f32; d * d];
                for index in indices(&dims) {
                    let mut other = index.clone();
                    for j in 0..d {
                        other[mode] = j;
                        want[index[mode] * d + j] +=
                            a[s * size + flat(&index, &dims)] * b[s * size + flat(&other, &dims)];
                    }
                }
                for (got, want) in gram[s * d * d..].iter().zip(&want) {
                    assert!((got - want).abs() < 1e-5, "{dims:?} {mode}");
                }
                for index in indices(&out) {
                    let mut from = index.clone();
                    let sum: f32 = (0..d)
                        .map(|j| {
                            from[mode] = j;
                            m[(s * e + index[mode]) * d + j] * a[s * size + flat(&from, &dims)]
                        })
                        .sum();
                    let total: usize = out.iter().product();
                    let got = product[s * total + flat(&index, &out)];
                    assert!((got - sum).abs() < 1e-5, "{dims:?} {mode}");
                }
            }
        }
        let one = Tensor::<3>::ones([1, 1, dims[0]], &Device::flex());
        assert!(mode_product(x.clone(), &dims, 0, one).is_ok());
        assert!(matches!(
            mode_gram(x.clone(), y, &dims, dims.len()),
            Err(LinalgError::Shape { .. })
        ));
        let wrong = Tensor::<3>::ones([1, 1, dims[0] + 1], &Device::flex());
        assert!(matches!(
            mode_product(x, &dims, 0, wrong),
            Err(LinalgError::Shape { .. })
        ));
    }
}
