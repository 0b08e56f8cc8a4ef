use burn::tensor::DType;
use faer::Mat;
use osculate_linalg::{EighConfig, OrthogonalIterationConfig, eigh, orthogonal_iteration};

use crate::matrices::*;

/// A matrix of a rank, and the same with every element moved by a rounding.
fn pair(n: usize, rank: usize, dtype: DType) -> [Mat<f64>; 2] {
    let thin = random(n, rank, 5);
    let plain = &thin * thin.transpose();
    let mut next = noise(9);
    let mut moved = plain.clone();
    for i in 0..n {
        for j in 0..=i {
            let value = plain[(i, j)] * (1.0 + roundoff(dtype) * next());
            (moved[(i, j)], moved[(j, i)]) = (value, value);
        }
    }
    [plain, moved]
}

/// The largest difference of columns up to their signs.
fn apart(a: &Mat<f64>, b: &Mat<f64>, columns: std::ops::Range<usize>) -> f64 {
    let sizes = columns.map(|j| {
        let sign = (a.col(j).transpose() * b.col(j)).signum();
        (0..a.nrows())
            .map(|i| (a[(i, j)] - sign * b[(i, j)]).abs())
            .fold(0.0, f64::max)
    });
    sizes.fold(0.0, f64::max)
}

#[test]
fn eigenvectors_of_a_null_space_do_not_answer_to_rounding() {
    for (n, rank) in [(8, 4), (6, 1), (40, 10), (5, 3)] {
        for (dtype, limit) in [(DType::F64, 1e-11), (DType::F32, 1e-3)] {
            let found = eigh(stack(&pair(n, rank, dtype), dtype), &EighConfig::default()).unwrap();
            assert!(found.outcomes.iter().all(Result::is_ok));
            let [a, b] = [0, 1].map(|index| matrix(&found.vectors, index));
            let apart = apart(&a, &b, 0..n - rank);
            assert!(apart < limit, "{n}, {rank}, {dtype:?}: {apart:e}");
            // Still an orthonormal basis of eigenvectors.
            let gram = a.transpose() * &a;
            assert!(distance(&gram, &Mat::identity(n, n)) < 100.0 * roundoff(dtype));
            let [plain, _] = pair(n, rank, dtype);
            let image = &plain * a.subcols(0, n - rank);
            assert!(image.norm_l2() < 1e3 * roundoff(dtype) * plain.norm_l2());
        }
    }
}

#[test]
fn axes_of_a_null_space_are_its_basis() {
    // Rows that are always blank.
    let mut blank = random(6, 3, 2);
    for i in [1, 4, 5] {
        (0..3).for_each(|j| blank[(i, j)] = 0.0);
    }
    let gram = &blank * blank.transpose();
    let found = eigh(stack(&[gram], DType::F64), &EighConfig::default()).unwrap();
    let vectors = matrix(&found.vectors, 0);
    for (column, axis) in [1, 4, 5].into_iter().enumerate() {
        for i in 0..6 {
            let want = if i == axis { 1.0 } else { 0.0 };
            assert!((vectors[(i, column)].abs() - want).abs() < 1e-12);
        }
    }
}

#[test]
fn an_iteration_leaves_the_columns_of_a_null_space() {
    for (n, rank) in [(8, 4), (30, 7)] {
        let [plain, moved] = pair(n, rank, DType::F64);
        let basis = random(n, n, 3).qr().compute_Q();
        let start = eigh(
            stack(std::slice::from_ref(&plain), DType::F64),
            &EighConfig::default(),
        )
        .unwrap();
        let mut bases = [start.vectors.clone(), start.vectors];
        for _ in 0..3 {
            for (matrix, basis) in [&plain, &moved].into_iter().zip(&mut bases) {
                let config = OrthogonalIterationConfig::default();
                let stacked = stack(std::slice::from_ref(matrix), DType::F64);
                let found = orthogonal_iteration(stacked, basis.clone(), &config).unwrap();
                assert!(found.outcomes[0].is_ok());
                *basis = found.vectors;
            }
        }
        let [a, b] = bases.map(|basis| matrix(&basis, 0));
        // The null space comes last.
        let apart = apart(&a, &b, rank..n);
        assert!(apart < 1e-11, "{n}, {rank}: {apart:e}");
        // Of a matrix that is not singular nothing is held.
        let full = &basis * Mat::from_fn(n, n, |i, j| f64::from(u8::from(i == j)) * (i + 1) as f64);
        let full = &full * basis.transpose();
        let config = OrthogonalIterationConfig::default();
        let identity = stack(&[Mat::identity(n, n)], DType::F64);
        let found = orthogonal_iteration(
            stack(std::slice::from_ref(&full), DType::F64),
            identity,
            &config,
        );
        let got = matrix(&found.unwrap().vectors, 0);
        let mut order: Vec<usize> = (0..n).collect();
        order.sort_by(|&a, &b| full[(b, b)].total_cmp(&full[(a, a)]));
        let image = Mat::from_fn(n, n, |i, j| full[(i, order[j])]);
        let want = image.qr().compute_Q();
        assert!(self::apart(&got, &want, 0..n) < 1e-10);
    }
}
