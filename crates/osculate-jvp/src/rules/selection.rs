//! Functions that pick elements: their tangents pick the same ones.

use burn_backend::ops::{FloatTensorOps, IntTensorOps};
use burn_backend::{IntDType, Scalar, Shape, TensorMetadata};
use burn_dispatch::Dispatch as D;
use burn_ir::{DimOpIr, ReduceDimOpIr, ReduceOpIr};

use crate::context::Context;
use crate::dual::{Dual, Value};
use crate::error::JvpError;

/// Where along a dimension the element to pick is, and the values to pick from.
type Pick = fn(Dual, usize, IntDType) -> (Dual, Value);

pub(super) fn largest(x: Dual, dim: usize, dtype: IntDType) -> (Dual, Value) {
    let at = D::float_argmax(x.value.clone(), dim, dtype);
    (x, at)
}

pub(super) fn smallest(x: Dual, dim: usize, dtype: IntDType) -> (Dual, Value) {
    let at = D::float_argmin(x.value.clone(), dim, dtype);
    (x, at)
}

pub(super) fn largest_magnitude(x: Dual, dim: usize, dtype: IntDType) -> (Dual, Value) {
    let magnitude = x.unary(D::float_abs, |x, _| D::float_sign(x));
    largest(magnitude, dim, dtype)
}

/// The extreme element of the whole tensor.
pub(super) fn extreme(cx: &mut Context<'_>, o: &ReduceOpIr, pick: Pick) -> Result<(), JvpError> {
    let x = cx.get(&o.input)?;
    let n = x.shape().num_elements();
    let (x, at) = pick(x.reshape(Shape::new([n])), 0, cx.int_dtype());
    cx.set(&o.out, x.gather(0, at).reshape(o.out.shape.clone()))
}

/// The extreme element along a dimension.
pub(super) fn extreme_along(
    cx: &mut Context<'_>,
    o: &ReduceDimOpIr,
    pick: Pick,
) -> Result<(), JvpError> {
    let x = cx.get(&o.input)?;
    let (x, at) = pick(x, o.axis, cx.int_dtype());
    cx.set(&o.out, x.gather(o.axis, at))
}

pub(super) fn top_k(cx: &mut Context<'_>, o: &ReduceDimOpIr) -> Result<(), JvpError> {
    let x = cx.get(&o.input)?;
    let k = o.out.shape[o.axis];
    let (y, at) = D::float_topk_with_indices(x.value.clone(), o.axis, k, cx.int_dtype());
    cx.set(&o.out, x.gather_tangents(y, o.axis, at))
}

/// A running extreme: the position of the running extreme is the largest position so far at which
/// the element equals it.
pub(super) fn running(
    cx: &mut Context<'_>,
    o: &DimOpIr,
    f: fn(Value, usize) -> Value,
) -> Result<(), JvpError> {
    let x = cx.get(&o.input)?;
    let y = f(x.value.clone(), o.axis);
    if !x.is_active() {
        return cx.set_value(&o.out, y);
    }
    let shape = x.shape();
    let n = shape[o.axis];
    let mut along = vec![1; shape.num_dims()];
    along[o.axis] = n;
    let positions = D::int_arange(0..n as i64, cx.device(), cx.int_dtype());
    let positions = D::int_expand(D::int_reshape(positions, Shape::from(along)), shape);
    let passed = D::float_not_equal(x.value.clone(), y.clone(), cx.bool_dtype());
    let at = D::int_cummax(D::int_mask_fill(positions, passed, 0.into()), o.axis);
    cx.set(&o.out, x.gather_tangents(y, o.axis, at))
}

pub(super) fn clamp(x: Dual, min: Option<Scalar>, max: Option<Scalar>) -> Dual {
    let mut y = x;
    if let Some(max) = max {
        let over = |x: &Value| D::float_greater_elem(x.clone(), max, bool_dtype(x));
        let mask = over(&y.value);
        y = y.mask_fill(mask, max);
    }
    if let Some(min) = min {
        let under = |x: &Value| D::float_lower_elem(x.clone(), min, bool_dtype(x));
        let mask = under(&y.value);
        y = y.mask_fill(mask, min);
    }
    y
}

/// The type in which a device keeps comparisons.
pub(super) fn bool_dtype(x: &Value) -> burn_backend::BoolDType {
    burn_backend::get_or_init_device_settings::<D>(&x.device()).bool_dtype
}
