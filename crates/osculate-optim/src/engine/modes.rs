//! Products of a stack of blocks with one matrix, or one diagonal, per block along a dimension.
//!
//! They are those of `osculate-linalg` for the stacks of a [`BlockRule`](super::BlockRule), whose
//! shapes fit by construction, and their diagonal forms.

use burn::tensor::Tensor;

/// `x ×_mode a`: multiplies every fibre along a dimension by the matrix of its block, `[k, d, d]`.
///
/// Cost: one batched product of `2 n d` operations for each block.
///
/// # Panics
/// If the shapes do not fit.
#[expect(clippy::expect_used, reason = "a rule's stacks have its dimensions")]
pub fn mode_product(x: Tensor<2>, dims: &[usize], mode: usize, a: Tensor<3>) -> Tensor<2> {
    osculate_linalg::mode_product(x, dims, mode, a).expect("a matrix that fits the mode")
}

/// The same product for a diagonal matrix, `[k, d]`.
///
/// # Panics
/// If the shapes do not fit.
pub fn mode_scale(x: Tensor<2>, dims: &[usize], mode: usize, a: Tensor<2>) -> Tensor<2> {
    let [k, n] = x.dims();
    let [before, d, after] = around(dims, mode);
    let x = x.reshape([k, before, d, after]);
    (x * a.reshape([k, 1, d, 1])).reshape([k, n])
}

/// The contraction of every block with itself over all dimensions but one: `[k, d, d]`.
///
/// # Panics
/// If the shapes do not fit.
#[expect(clippy::expect_used, reason = "a rule's stacks have its dimensions")]
pub fn gram(x: Tensor<2>, dims: &[usize], mode: usize) -> Tensor<3> {
    osculate_linalg::symmetric_mode_gram(x, dims, mode).expect("a stack of these dimensions")
}

/// The diagonal of [`gram`]: `[k, d]`.
///
/// # Panics
/// If the shapes do not fit.
pub fn gram_diagonal(x: Tensor<2>, dims: &[usize], mode: usize) -> Tensor<2> {
    let [k, _] = x.dims();
    let [before, d, after] = around(dims, mode);
    let squares = x.square().reshape([k, before, d, after]);
    squares.sum_dim(3).sum_dim(1).reshape([k, d])
}

fn around(dims: &[usize], mode: usize) -> [usize; 3] {
    let before = dims[..mode].iter().product();
    let after = dims[mode + 1..].iter().product();
    [before, dims[mode], after]
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

    fn assert_near<const D: usize>(a: Tensor<D>, b: Tensor<D>) {
        let difference = (a - b).abs().max().to_data();
        assert!(difference.iter::<f64>().all(|x| x < 1e-12));
    }

    #[test]
    fn diagonal_forms_are_those_of_matrices() {
        for dims in [&[4][..], &[3, 2], &[2, 3, 4], &[2, 3, 2, 2]] {
            let x = stack(2, dims);
            for (mode, &d) in dims.iter().enumerate() {
                let a = stack(2, &[d]);
                let eye = Tensor::<2>::eye(d, &Device::flex()).cast(DType::F64);
                let matrix = a.clone().reshape([2, d, 1]) * eye.unsqueeze::<3>();
                assert_near(
                    mode_scale(x.clone(), dims, mode, a),
                    mode_product(x.clone(), dims, mode, matrix),
                );
                let full = gram(x.clone(), dims, mode);
                let eye = Tensor::<2>::eye(d, &Device::flex()).cast(DType::F64);
                let diagonal = (full * eye.unsqueeze::<3>()).sum_dim(2).reshape([2, d]);
                assert_near(gram_diagonal(x.clone(), dims, mode), diagonal);
            }
        }
    }
}
