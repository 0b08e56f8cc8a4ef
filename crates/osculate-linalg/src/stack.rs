//! What the solvers on the device share: types, identities, norms of each matrix of a stack.

use burn::tensor::{Bool, DType, Device, Tensor};

/// The type to compute in for tensors of a type: f32 for f16 and bf16, the type itself otherwise.
///
/// ```
/// use burn::tensor::DType;
/// assert_eq!(osculate_linalg::compute_dtype(DType::BF16), DType::F32);
/// assert_eq!(osculate_linalg::compute_dtype(DType::F64), DType::F64);
/// ```
pub fn compute_dtype(dtype: DType) -> DType {
    match dtype {
        DType::F16 | DType::BF16 => DType::F32,
        other => other,
    }
}

/// The unit roundoff of a compute type.
pub(crate) fn epsilon(dtype: DType) -> f64 {
    if dtype == DType::F64 {
        f64::EPSILON
    } else {
        f64::from(f32::EPSILON)
    }
}

/// The tensor in its compute type.
pub(crate) fn widen<const D: usize>(tensor: Tensor<D>) -> Tensor<D> {
    let dtype = tensor.dtype();
    let wide = compute_dtype(dtype);
    if wide == dtype {
        tensor
    } else {
        tensor.cast(wide)
    }
}

/// The tensor in the type of the one that it was computed from.
pub(crate) fn narrow<const D: usize>(tensor: Tensor<D>, dtype: DType) -> Tensor<D> {
    if tensor.dtype() == dtype {
        tensor
    } else {
        tensor.cast(dtype)
    }
}

/// The identity as a stack of one, which broadcasts.
pub(crate) fn identity(n: usize, device: &Device, dtype: DType) -> Tensor<3> {
    Tensor::<2>::eye(n, device).cast(dtype).reshape([1, n, n])
}

/// The transpose of each matrix.
pub(crate) fn transpose(stack: Tensor<3>) -> Tensor<3> {
    stack.swap_dims(1, 2)
}

/// The largest absolute value of each matrix, of shape `[k, 1, 1]`; 0 for empty matrices.
pub(crate) fn max_abs(stack: Tensor<3>) -> Tensor<3> {
    let [k, m, n] = stack.dims();
    if m * n == 0 {
        return Tensor::zeros([k, 1, 1], (&stack.device(), stack.dtype()));
    }
    stack
        .abs()
        .reshape([k, m * n])
        .max_dim(1)
        .reshape([k, 1, 1])
}

/// The Frobenius norm of each matrix, of shape `[k, 1, 1]`, where squares would overflow or vanish
/// too; 0 for empty matrices.
pub(crate) fn frobenius(stack: Tensor<3>) -> Tensor<3> {
    let [k, m, n] = stack.dims();
    if k * m * n == 0 {
        return Tensor::zeros([k, 1, 1], (&stack.device(), stack.dtype()));
    }
    let scale = max_abs(stack.clone());
    let squares = (stack / positive(scale.clone())).square();
    squares
        .reshape([k, m * n])
        .sum_dim(1)
        .sqrt()
        .reshape([k, 1, 1])
        * scale
}

/// The values, with 1 in the place of zeros, to divide by.
pub(crate) fn positive<const D: usize>(values: Tensor<D>) -> Tensor<D> {
    let zero = values.clone().equal_elem(0.0);
    values.mask_fill(zero, 1.0)
}

/// Where each residual is at most the tolerance; a NaN is not.
pub(crate) fn within(residual: Tensor<1>, tolerance: f64) -> Tensor<1, Bool> {
    residual.lower_equal_elem(tolerance)
}
