//! Updates of some elements of a tensor: assigned, added, multiplied, or the extreme kept.

use burn_backend::TensorMetadata;
use burn_backend::ops::{BoolTensorOps, FloatTensorOps};
use burn_backend::tensor::IndexingUpdateOp;
use burn_dispatch::Dispatch as D;

use super::base::pair;
use super::selection::bool_dtype;
use crate::dual::{Dual, Value, fit, jointly_linear, mask_fill, merge, sum, zeros_like};
use crate::tensors::{is_tracked, untracked};

/// `x` updated by `value` where `pick` picks and `put` puts.
///
/// Factors must not meet in one element: what is differentiated then is not the product. burn's own
/// backward pass says the same.
pub(super) fn update(
    x: Dual,
    value: Dual,
    how: IndexingUpdateOp,
    pick: impl Fn(Value) -> Value,
    put: impl Fn(Value, Value, IndexingUpdateOp) -> Value,
) -> Dual {
    match how {
        IndexingUpdateOp::Add | IndexingUpdateOp::Assign => jointly_linear(&[x, value], |parts| {
            let [x, value] = pair(parts);
            put(x, value, how)
        }),
        IndexingUpdateOp::Mul => {
            let y = put(x.value.clone(), value.value.clone(), how);
            let shape = y.shape();
            merge(y, &[&x, &value], |direction| {
                let left = x
                    .tangent(direction)
                    .map(|d| put(d.clone(), value.value.clone(), how));
                let right = value.tangent(direction).map(|d| {
                    let part = D::float_mul(pick(x.value.clone()), d.clone());
                    put(zeros_like(&x.value), part, IndexingUpdateOp::Add)
                });
                sum(left, right, &shape)
            })
        }
        IndexingUpdateOp::Min | IndexingUpdateOp::Max => extreme(x, value, how, pick, put),
    }
}

/// Where the extreme comes from is fixed: the rest is linear. Of equals `x` wins before values, and
/// values share.
fn extreme(
    x: Dual,
    value: Dual,
    how: IndexingUpdateOp,
    pick: impl Fn(Value) -> Value,
    put: impl Fn(Value, Value, IndexingUpdateOp) -> Value,
) -> Dual {
    let tape = is_tracked(&x.value) || is_tracked(&value.value);
    let (old, new) = (untracked(x.value.clone()), untracked(value.value.clone()));
    let dtype = bool_dtype(&old);
    let float = old.dtype().into();
    let y = put(old.clone(), new.clone(), how);
    if !tape && !x.is_active() && !value.is_active() {
        return Dual::constant(y);
    }
    let number = D::bool_not(D::float_is_nan(old.clone(), dtype));
    let lost = D::bool_and(D::float_not_equal(y.clone(), old, dtype), number);
    let open = pick(D::bool_into_float(lost.clone(), float));
    let won = D::bool_and(
        D::float_equal(pick(y.clone()), new, dtype),
        D::float_greater_elem(open, 0.0.into(), dtype),
    );
    let zeros = zeros_like(&y);
    let winners = D::bool_into_float(won.clone(), float);
    let winners = put(zeros.clone(), winners, IndexingUpdateOp::Add);
    let share = pick(D::float_recip(D::float_clamp_min(winners, 1.0.into())));
    let beaten = D::bool_not(won);
    let kept = |x| mask_fill(x, lost.clone(), 0.0.into());
    let taken = |value| {
        let part = mask_fill(value, beaten.clone(), 0.0.into());
        put(
            zeros.clone(),
            D::float_mul(part, share.clone()),
            IndexingUpdateOp::Add,
        )
    };
    let primal = if tape {
        // The sum of the same parts is the extreme, and the tape sees where it comes from; a NaN comes
        // from no part.
        let parts = D::float_add(kept(x.value.clone()), taken(value.value.clone()));
        D::float_mask_where(parts, D::float_is_nan(y.clone(), dtype), y.clone())
    } else {
        y.clone()
    };
    let shape = y.shape();
    merge(primal, &[&x, &value], |direction| {
        let left = x
            .tangent(direction)
            .map(|d| kept(fit(d.clone(), &x.shape())));
        let right = value
            .tangent(direction)
            .map(|d| taken(fit(d.clone(), &value.shape())));
        sum(left, right, &shape)
    })
}
