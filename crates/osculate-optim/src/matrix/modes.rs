//! Products of a stack of blocks with one matrix per block along one of their dimensions.
//!
//! A block of dimensions `d_0, .., d_(r-1)` is a row of `[k, n]`. Everything is one batched matrix
//! product over the stack: the block is unfolded to `[k, d_i, n / d_i]`, without a copy for the
//! first dimension.

use burn::tensor::Tensor;

fn around(dims: &[usize], mode: usize) -> (usize, usize, usize) {
    let before = dims[..mode].iter().product();
    let after = dims[mode + 1..].iter().product();
    (before, dims[mode], after)
}

/// The blocks as matrices `[k, d_mode, n / d_mode]`.
pub fn unfold(x: Tensor<2>, dims: &[usize], mode: usize) -> Tensor<3> {
    let [k, n] = x.dims();
    let (before, d, after) = around(dims, mode);
    if before == 1 {
        return x.reshape([k, d, after]);
    }
    if after == 1 {
        return x.reshape([k, before, d]).swap_dims(1, 2);
    }
    let x = x.reshape([k, before, d, after]).swap_dims(1, 2);
    x.reshape([k, d, n / d])
}

/// Undoes [`unfold`].
pub fn fold(x: Tensor<3>, dims: &[usize], mode: usize) -> Tensor<2> {
    let [k, _, _] = x.dims();
    let n = dims.iter().product();
    let (before, d, after) = around(dims, mode);
    if before == 1 {
        return x.reshape([k, n]);
    }
    if after == 1 {
        return x.swap_dims(1, 2).reshape([k, n]);
    }
    let x = x.reshape([k, d, before, after]).swap_dims(1, 2);
    x.reshape([k, n])
}

/// `x ×_mode a`: multiplies every fibre along a dimension by the matrix of its block, `[k, m, d]`
/// with `m = d`.
///
/// Cost: one batched product of `2 n d` operations for each block.
pub fn mode_product(x: Tensor<2>, dims: &[usize], mode: usize, a: Tensor<3>) -> Tensor<2> {
    let [k, n] = x.dims();
    let (before, d, after) = around(dims, mode);
    if after == 1 && before > 1 {
        // Rows times the transposed matrix: no copy of the block.
        let rows = x.reshape([k, before, d]);
        return rows.matmul(a.swap_dims(1, 2)).reshape([k, n]);
    }
    fold(a.matmul(unfold(x, dims, mode)), dims, mode)
}

/// The same product for a diagonal matrix, `[k, d]`.
pub fn mode_scale(x: Tensor<2>, dims: &[usize], mode: usize, a: Tensor<2>) -> Tensor<2> {
    let [k, n] = x.dims();
    let (before, d, after) = around(dims, mode);
    let x = x.reshape([k, before, d, after]);
    (x * a.reshape([k, 1, d, 1])).reshape([k, n])
}

/// The contraction of every block with itself over all dimensions but one: `[k, d, d]`.
pub fn gram(x: Tensor<2>, dims: &[usize], mode: usize) -> Tensor<3> {
    let [k, _] = x.dims();
    let (before, d, after) = around(dims, mode);
    if after == 1 && before > 1 {
        let rows = x.reshape([k, before, d]);
        return rows.clone().swap_dims(1, 2).matmul(rows);
    }
    let unfolded = unfold(x, dims, mode);
    unfolded.clone().matmul(unfolded.swap_dims(1, 2))
}

/// The diagonal of [`gram`]: `[k, d]`.
pub fn gram_diagonal(x: Tensor<2>, dims: &[usize], mode: usize) -> Tensor<2> {
    let [k, _] = x.dims();
    let (before, d, after) = around(dims, mode);
    let squares = x.square().reshape([k, before, d, after]);
    squares.sum_dim(3).sum_dim(1).reshape([k, d])
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::{DType, Device, Int};

    fn stack(k: usize, dims: &[usize]) -> Tensor<2> {
        let n: usize = dims.iter().product();
        let x = Tensor::<1, Int>::arange(0..(k * n) as i64, &Device::flex()).float();
        x.cast(DType::F64).mul_scalar(0.7).sin().reshape([k, n])
    }

    fn values<const D: usize>(x: Tensor<D>) -> Vec<f64> {
        x.into_data().iter::<f64>().collect()
    }

    /// The mode product by its definition.
    fn reference(x: &[f64], dims: &[usize], mode: usize, a: &[f64]) -> Vec<f64> {
        let (before, d, after) = around(dims, mode);
        let mut y = vec![0.0; x.len()];
        for b in 0..before {
            for i in 0..d {
                for j in 0..d {
                    for c in 0..after {
                        y[(b * d + i) * after + c] +=
                            a[i * d + j] * x[(b * d + j) * after + c];
                    }
                }
            }
        }
        y
    }

    #[test]
    fn products_and_grams_follow_their_definitions() {
        for dims in [&[4][..], &[3, 2], &[2, 3, 4], &[2, 3, 2, 2]] {
            let x = stack(2, dims);
            let n: usize = dims.iter().product();
            for mode in 0..dims.len() {
                let d = dims[mode];
                let a = stack(2, &[d, d]).reshape([2, d, d]);
                let got = values(mode_product(x.clone(), dims, mode, a.clone()));
                let (x_host, a_host) = (values(x.clone()), values(a));
                for block in 0..2 {
                    let want = reference(
                        &x_host[block * n..][..n],
                        dims,
                        mode,
                        &a_host[block * d * d..][..d * d],
                    );
                    for (got, want) in got[block * n..][..n].iter().zip(&want) {
                        assert!((got - want).abs() < 1e-12, "{dims:?} along {mode}");
                    }
                }
                let unfolded = unfold(x.clone(), dims, mode);
                assert_eq!(values(fold(unfolded.clone(), dims, mode)), x_host);
                let want = values(unfolded.clone().matmul(unfolded.swap_dims(1, 2)));
                let full = values(gram(x.clone(), dims, mode));
                let diagonal = values(gram_diagonal(x.clone(), dims, mode));
                for (got, want) in full.iter().zip(&want) {
                    assert!((got - want).abs() < 1e-12);
                }
                for (index, got) in diagonal.iter().enumerate() {
                    let (block, i) = (index / d, index % d);
                    assert!((got - want[(block * d + i) * d + i]).abs() < 1e-12);
                }
            }
        }
    }
}
