//! Gram matrices of stacks, by half where the device is a CPU.

use burn::tensor::Tensor;

use crate::host::{self, Form};
use crate::stack::transpose;

/// What the entries of a Gram matrix are products of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Rows,
    Columns,
}

/// The products of all pairs of rows, `X Xᵀ`, of each matrix `X` of `[k, m, n]`: `[k, m, m]`.
///
/// On a CPU large matrices are multiplied by half, on the host and on all cores, which takes 0.6 of the time of a
/// whole product and gives a result that is symmetric to the bit; elsewhere this is one batched product.
pub fn gram(stack: Tensor<3>) -> Tensor<3> {
    of_side(stack, Side::Rows)
}

/// The products of all pairs of columns, `Xᵀ X`, of each matrix `X` of `[k, m, n]`: `[k, n, n]`.
///
/// As [`gram`], which see.
pub fn gram_of_columns(stack: Tensor<3>) -> Tensor<3> {
    of_side(stack, Side::Columns)
}

pub(crate) fn of_side(stack: Tensor<3>, side: Side) -> Tensor<3> {
    if let Some(gram) = host::gram(&stack, side, Form::Whole) {
        return gram;
    }
    let turned = transpose(stack.clone());
    match side {
        Side::Rows => stack.matmul(turned),
        Side::Columns => turned.matmul(stack),
    }
}
