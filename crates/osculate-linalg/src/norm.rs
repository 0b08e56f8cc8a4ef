//! Bounds of the spectral norm, on the device.

use burn::tensor::{Tensor, TensorData};

use crate::stack::{frobenius, max_abs, narrow, positive, transpose, widen};

/// An upper bound of the spectral norm of each matrix of `[k, m, n]`, of shape `[k]`:
/// the least of the Frobenius norm and `√(‖A‖₁ ‖A‖∞)`.
///
/// At most `√min(m, n)` times the spectral norm. Costs a few passes over the stack; nothing is read
/// back. A matrix with a NaN gives NaN.
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// let a = Tensor::<3>::from_data([[[3.0, 0.0], [0.0, 1.0]]], &Device::default());
/// assert_eq!(osculate_linalg::spectral_norm_upper(a).into_scalar::<f32>(), 3.0);
/// ```
pub fn spectral_norm_upper(stack: Tensor<3>) -> Tensor<1> {
    let (dtype, [k, m, n]) = (stack.dtype(), stack.dims());
    let device = stack.device();
    if k * m * n == 0 {
        return Tensor::zeros([k], (&device, dtype));
    }
    let stack = widen(stack);
    let norm = frobenius(stack.clone());
    // Relative to the norm, so that the product of the two sums neither overflows nor vanishes.
    let scale = positive(norm.clone());
    let size = (stack / scale.clone()).abs();
    let columns = size.clone().sum_dim(1).reshape([k, n]).max_dim(1);
    let rows = size.sum_dim(2).reshape([k, m]).max_dim(1);
    let mixed = (columns * rows).sqrt().reshape([k, 1, 1]) * scale;
    narrow(norm.min_pair(mixed).reshape([k]), dtype)
}

/// A lower bound of the spectral norm of each matrix of `[k, m, n]`, of shape `[k]`, by block power
/// iteration on `AᵀA`.
///
/// The `vectors` starts are the largest row and columns of a fixed pattern of signs, so the bound
/// depends on the matrix alone: equal on every worker and after a resume. Each of the `iterations`
/// multiplies by `A` and by `Aᵀ`. With 8 vectors and 2 iterations the bound is rarely below nine
/// tenths of the norm; the exact norm is reached in the limit.
///
/// Costs `4 k m n vectors` multiplications an iteration; nothing is read back. A matrix with a NaN
/// gives NaN. No vectors and no iterations count as one.
pub fn spectral_norm_lower(stack: Tensor<3>, vectors: usize, iterations: usize) -> Tensor<1> {
    let (dtype, [k, m, n]) = (stack.dtype(), stack.dims());
    let device = stack.device();
    if k * m * n == 0 {
        return Tensor::zeros([k], (&device, dtype));
    }
    let vectors = vectors.max(1);
    let stack = widen(stack);
    let scale = positive(max_abs(stack.clone()));
    let a = stack / scale.clone();

    let rows = a.clone().square().sum_dim(2).reshape([k, m]);
    let largest = rows.argmax(1).reshape([k, 1, 1]).expand([k, 1, n]);
    let row = a.clone().gather(1, largest);
    let signs = Tensor::<2>::from_data(sign_pattern(vectors, n), (&device, a.dtype()))
        .reshape([1, vectors, n])
        .expand([k, vectors, n]);
    // Signs that agree with the row keep a start from cancelling it.
    let agreement = (signs.clone() * row.clone()).sum_dim(2);
    let zero = agreement.clone().equal_elem(0.0);
    let sign = agreement.sign().mask_fill(zero, 1.0);
    let mut v = unit_rows(row.clone() * (n as f64).sqrt() / unit_norm(row) + signs * sign);
    let back = transpose(a.clone());
    let mut bound = Tensor::zeros([k, 1, 1], (&device, a.dtype()));
    for _ in 0..iterations.max(1) {
        // v is a set of unit rows, so the norms of its images are lower bounds, and so are the
        // norms of their images under the transpose.
        let image = v.matmul(back.clone());
        bound = bound.max_pair(row_norms(image.clone()).max_dim(1));
        let image = unit_rows(image).matmul(a.clone());
        bound = bound.max_pair(row_norms(image.clone()).max_dim(1));
        v = unit_rows(image);
    }
    narrow((bound * scale).reshape([k]), dtype)
}

fn row_norms(rows: Tensor<3>) -> Tensor<3> {
    rows.square().sum_dim(2).sqrt()
}

fn unit_norm(rows: Tensor<3>) -> Tensor<3> {
    positive(row_norms(rows))
}

fn unit_rows(rows: Tensor<3>) -> Tensor<3> {
    let norms = unit_norm(rows.clone());
    rows / norms
}

/// Rows of signs, from the bits of a counter-based generator (SplitMix64).
fn sign_pattern(rows: usize, columns: usize) -> TensorData {
    let signs: Vec<f32> = (0..rows * columns)
        .map(|index| {
            let mut z = (index as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            if (z ^ (z >> 31)) & 1 == 0 { 1.0 } else { -1.0 }
        })
        .collect();
    TensorData::new(signs, [rows, columns])
}
