use burn::tensor::Tensor;

use crate::error::LinalgError;
use crate::gram::{self, Side};
use crate::stack::transpose;

/// A stack seen from one of its modes: sizes before it, of it, and after it.
fn around(
    operation: &'static str,
    stack: [usize; 2],
    dims: &[usize],
    mode: usize,
) -> Result<[usize; 3], LinalgError> {
    if mode >= dims.len() || dims.iter().product::<usize>() != stack[1] {
        return Err(LinalgError::Shape {
            operation,
            expected: "a stack [k, d_1 ⋯ d_r] of tensors with the named mode",
            shape: stack.to_vec(),
        });
    }
    Ok([
        dims[..mode].iter().product(),
        dims[mode],
        dims[mode + 1..].iter().product(),
    ])
}

/// The product of each tensor with a matrix along a mode:
/// `Y[.., i, ..] = Σ_j M[i, j] X[.., j, ..]`.
///
/// `stack` is `[k, d_1 ⋯ d_r]`, `matrices` is `[k, e, d_mode]`, or `[1, e, d_mode]` for one matrix
/// for all; the result is `[k, d_1 ⋯ e ⋯ d_r]`. One batched matrix product.
///
/// # Errors
/// [`LinalgError::Shape`] where the shapes do not fit each other.
pub fn mode_product(
    stack: Tensor<2>,
    dims: &[usize],
    mode: usize,
    matrices: Tensor<3>,
) -> Result<Tensor<2>, LinalgError> {
    let [k, size] = stack.dims();
    let [before, d, after] = around("mode_product", [k, size], dims, mode)?;
    let [count, e, columns] = matrices.dims();
    if columns != d || (count != k && count != 1) {
        return Err(LinalgError::Shape {
            operation: "mode_product",
            expected: "one matrix for each tensor, with the mode's size for columns",
            shape: vec![count, e, columns],
        });
    }
    let total = before * e * after;
    if k * total == 0 || d == 0 {
        return Ok(Tensor::zeros([k, total], (&stack.device(), stack.dtype())));
    }
    Ok(if after == 1 {
        let rows = stack.reshape([k, before, d]);
        rows.matmul(transpose(matrices)).reshape([k, total])
    } else if before == 1 {
        matrices
            .matmul(stack.reshape([k, d, after]))
            .reshape([k, total])
    } else {
        let parts = stack.reshape([k, before, d, after]);
        matrices
            .reshape([count, 1, e, d])
            .matmul(parts)
            .reshape([k, total])
    })
}

/// The Gram matrix of each tensor along a mode, contracted over all others:
/// `S[i, j] = Σ X[.., i, ..] Y[.., j, ..]`, of shape `[k, d_mode, d_mode]`.
///
/// `left` and `right` are `[k, d_1 ⋯ d_r]`, the same tensor for a true Gram matrix. One batched
/// matrix product.
///
/// # Errors
/// [`LinalgError::Shape`] where the shapes do not fit each other.
pub fn mode_gram(
    left: Tensor<2>,
    right: Tensor<2>,
    dims: &[usize],
    mode: usize,
) -> Result<Tensor<3>, LinalgError> {
    let [k, size] = left.dims();
    let [before, d, after] = around("mode_gram", [k, size], dims, mode)?;
    if right.dims() != [k, size] {
        return Err(LinalgError::Shape {
            operation: "mode_gram",
            expected: "two stacks of one shape",
            shape: right.dims().to_vec(),
        });
    }
    if k * size == 0 {
        return Ok(Tensor::zeros([k, d, d], (&left.device(), left.dtype())));
    }
    Ok(if after == 1 {
        let left = left.reshape([k, before, d]);
        transpose(left).matmul(right.reshape([k, before, d]))
    } else {
        let rows = |stack| mode_rows("mode_gram", stack, dims, mode);
        rows(left)?.matmul(transpose(rows(right)?))
    })
}

/// [`mode_gram`] of each tensor with itself. On a CPU by half for large tensors, as [`gram`](crate::gram).
///
/// # Errors
/// [`LinalgError::Shape`] where the shapes do not fit each other.
pub fn symmetric_mode_gram(
    stack: Tensor<2>,
    dims: &[usize],
    mode: usize,
) -> Result<Tensor<3>, LinalgError> {
    let (matrices, side) = mode_matrices("symmetric_mode_gram", stack, dims, mode)?;
    let ([k, rows, columns], at) = (matrices.dims(), (matrices.device(), matrices.dtype()));
    if k * rows * columns == 0 {
        return Ok(Tensor::zeros([k, dims[mode], dims[mode]], (&at.0, at.1)));
    }
    Ok(gram::of_side(matrices, side))
}

/// Each tensor as a matrix, and whether its rows or its columns run along a mode.
pub(crate) fn mode_matrices(
    operation: &'static str,
    stack: Tensor<2>,
    dims: &[usize],
    mode: usize,
) -> Result<(Tensor<3>, Side), LinalgError> {
    let [k, size] = stack.dims();
    let [before, d, after] = around(operation, [k, size], dims, mode)?;
    if k * size == 0 {
        let none = Tensor::zeros([k, d, 0], (&stack.device(), stack.dtype()));
        return Ok((none, Side::Rows));
    }
    Ok(if before == 1 {
        (stack.reshape([k, d, after]), Side::Rows)
    } else if after == 1 {
        (stack.reshape([k, before, d]), Side::Columns)
    } else {
        let rows = stack.reshape([k, before, d, after]).swap_dims(1, 2);
        (rows.reshape([k, d, before * after]), Side::Rows)
    })
}

/// Each tensor as a matrix whose rows run along a mode, `[k, d_mode, others]`.
fn mode_rows(
    operation: &'static str,
    stack: Tensor<2>,
    dims: &[usize],
    mode: usize,
) -> Result<Tensor<3>, LinalgError> {
    Ok(match mode_matrices(operation, stack, dims, mode)? {
        (rows, Side::Rows) => rows,
        (columns, Side::Columns) => transpose(columns),
    })
}
