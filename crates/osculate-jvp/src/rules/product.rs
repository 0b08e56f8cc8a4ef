//! Products along a dimension, as trees of pairwise products: their derivatives stay exact where
//! elements are zero, unlike the quotient `y / x`.

use burn_backend::ops::FloatTensorOps;
use burn_backend::{Shape, Slice, TensorMetadata};
use burn_dispatch::Dispatch as D;
use burn_ir::{DimOpIr, ReduceDimOpIr, ReduceOpIr};

use crate::context::Context;
use crate::dual::{Dual, jointly_linear};
use crate::error::JvpError;

pub(super) fn all(cx: &mut Context<'_>, o: &ReduceOpIr) -> Result<(), JvpError> {
    let x = cx.get(&o.input)?;
    let n = x.shape().num_elements();
    let y = product(x.reshape(Shape::new([n])), 0);
    cx.set(&o.out, y.reshape(o.out.shape.clone()))
}

pub(super) fn along(cx: &mut Context<'_>, o: &ReduceDimOpIr) -> Result<(), JvpError> {
    let x = cx.get(&o.input)?;
    cx.set(&o.out, product(x, o.axis))
}

/// Running products by doubling: after step `k` every element holds the product of its last
/// `2^k` predecessors.
pub(super) fn cumulative(cx: &mut Context<'_>, o: &DimOpIr) -> Result<(), JvpError> {
    let mut y = cx.get(&o.input)?;
    let n = y.shape()[o.axis];
    let mut width = 1;
    while width < n {
        let head = narrow(y.clone(), o.axis, 0, width);
        let tail = narrow(y.clone(), o.axis, width, n).mul(narrow(y, o.axis, 0, n - width));
        y = cat(vec![head, tail], o.axis);
        width *= 2;
    }
    cx.set(&o.out, y)
}

fn product(mut x: Dual, dim: usize) -> Dual {
    let mut n = x.shape()[dim];
    if n == 0 {
        let mut shape = x.shape();
        shape[dim] = 1;
        let value = &x.value;
        return Dual::constant(D::float_ones(shape, &value.device(), value.dtype().into()));
    }
    if x.shape().num_elements() == 0 {
        // Of the right shape, and as empty as the product.
        return x.linear(|x| D::float_sum_dim(x, dim));
    }
    while n > 1 {
        let half = n / 2;
        let left = narrow(x.clone(), dim, 0, half);
        let right = narrow(x.clone(), dim, half, 2 * half);
        let pairs = left.mul(right);
        x = if n % 2 == 1 {
            cat(vec![pairs, narrow(x, dim, n - 1, n)], dim)
        } else {
            pairs
        };
        n = half + n % 2;
    }
    x
}

/// The elements `start..end` of a dimension.
fn narrow(x: Dual, dim: usize, start: usize, end: usize) -> Dual {
    let mut slices: Vec<Slice> = x
        .shape()
        .as_slice()
        .iter()
        .map(|&n| Slice::from(0..n))
        .collect();
    slices[dim] = Slice::from(start..end);
    x.linear(|x| D::float_slice(x, &slices))
}

fn cat(parts: Vec<Dual>, dim: usize) -> Dual {
    jointly_linear(&parts, |values| D::float_cat(values, dim))
}
