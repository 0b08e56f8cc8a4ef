use burn_backend::ops::{ActivationOps, FloatTensorOps};
use burn_backend::{Scalar, TensorMetadata};
use burn_dispatch::Dispatch as D;
use burn_ir::{ActivationOperationIr, TensorIr};

use super::float::{normal, times};
use super::rule_table;
use super::selection::{bool_dtype, clamp};
use crate::context::Context;
use crate::dual::{Dual, Value, fit, mask_fill};
use crate::error::JvpError;
use crate::tensors::{is_tracked, untracked};

rule_table!("Activation", ActivationOperationIr, |cx| {
    Relu(o) Differentiated "ẋ where x > 0" => {
        let x = cx.get(&o.input)?;
        let y = D::relu(x.value.clone());
        cx.set(&o.out, kinked(&x, y, 0.0.into()))
    };
    ReluBackward(o) Backward "none: computed in kept products" => cx.pure(o, D::relu_backward);
    LeakyRelu(o) Differentiated "ẋ where x > 0, c ẋ elsewhere" => {
        let x = cx.get(&o.lhs)?;
        let y = D::leaky_relu(x.value.clone(), o.rhs.into());
        cx.set(&o.out, kinked(&x, y, o.rhs.into()))
    };
    PRelu(o) Differentiated "ẋ where x > 0, a ẋ + ȧ x elsewhere" => {
        let (x, slope) = (cx.get(&o.lhs)?, cx.get(&o.rhs)?);
        let negative = D::float_lower_elem(x.value.clone(), 0.0.into(), bool_dtype(&x.value));
        let scaled = x.clone().mul(slope);
        cx.set(&o.out, x.mask_where(negative, scaled))
    };
    Gelu(o) Differentiated "(Φ(x) + x φ(x)) ẋ" => {
        let x = cx.get(&o.input)?;
        cx.set(&o.out, gelu(&x))
    };
    GeluBackward(o) Backward "none: computed in kept products" => cx.pure(o, D::gelu_backward);
    Sigmoid(o) Differentiated "y (1 - y) ẋ" => cx.unary(o, D::sigmoid, |_, y| {
        D::float_sub(y.clone(), D::float_mul(y.clone(), y))
    });
    SigmoidBackward(o) Backward "none: computed in kept products" => cx.pure(o, D::sigmoid_backward);
    HardSigmoid(o) Differentiated "a ẋ where 0 <= a x + b <= 1" => {
        let (alpha, beta): (Scalar, Scalar) = (o.alpha.into(), o.beta.into());
        let line = cx.get(&o.tensor)?.scale(alpha).shift(beta);
        cx.set(&o.out, clamp(line, Some(0.0.into()), Some(1.0.into())))
    };
    LogSigmoid(o) Differentiated "sigmoid(-x) ẋ" =>
        cx.unary(o, D::log_sigmoid, |x, _| D::sigmoid(D::float_neg(x)));
    LogSigmoidBackward(o) Backward "none: computed in kept products" => cx.pure(o, D::log_sigmoid_backward);
    Softmax(o) Differentiated "y (ẋ - sum(y ẋ))" => {
        let x = cx.get(&o.input)?;
        cx.set(&o.out, softmax(&x, o.axis))
    };
    LogSoftmax(o) Differentiated "ẋ - sum(exp(y) ẋ)" => log_softmax(cx, o.axis, &o.input, &o.out);
    Softmin(o) Differentiated "y (sum(y ẋ) - ẋ)" => {
        let x = cx.get(&o.input)?.linear(D::float_neg);
        cx.set(&o.out, softmax(&x, o.axis))
    };
});

/// Composed: the backward pass that burn gives most backends is that of the tanh approximation,
/// which is off in the fourth digit.
fn gelu(x: &Dual) -> Dual {
    let tape = is_tracked(&x.value);
    let still = untracked(x.value.clone());
    let (distribution, density) = normal(still.clone());
    let y = D::float_mul(still.clone(), distribution.clone());
    if !tape && !x.is_active() {
        return Dual::constant(y);
    }
    let moment = D::float_mul(still.clone(), density.clone());
    let slope = D::float_add(distribution, moment.clone());
    if !tape {
        return x.map_tangents(y, |d| D::float_mul(d, slope.clone()));
    }
    // The tape of the composition would keep seven tensors; one for each derivative is enough.
    let zero = D::float_sub(x.value.clone(), still.clone());
    let slope = if x.is_active() {
        // Not density (2 - x²): in half precision x² is infinite before the density's zero counts.
        let bend = D::float_sub(times(density, 2.0), D::float_mul(still, moment));
        with_slope(&zero, slope, bend)
    } else {
        slope
    };
    let y = with_slope(&zero, y, untracked(slope.clone()));
    x.map_tangents(y, |d| D::float_mul(d, slope.clone()))
}

/// `y`, differentiated backward with `slope`, for `zero = x - x` of which the first `x` is on the
/// tape: the tape keeps only `slope`.
fn with_slope(zero: &Value, y: Value, slope: Value) -> Value {
    D::float_add(y, D::float_mul(zero.clone(), slope))
}

/// `y` with slope 1 where `x` is positive and `below` elsewhere.
fn kinked(x: &Dual, y: Value, below: Scalar) -> Dual {
    if !x.is_active() {
        return Dual::constant(y);
    }
    let shape = y.shape();
    let mask = D::float_lower_equal_elem(x.value.clone(), 0.0.into(), bool_dtype(&x.value));
    let flat = below.elem::<f64>() == 0.0;
    x.map_tangents(y, |d| {
        let d = fit(d, &shape);
        if flat {
            mask_fill(d, mask.clone(), 0.0.into())
        } else {
            let scaled = D::float_mul_scalar(d.clone(), below);
            D::float_mask_where(d, mask.clone(), scaled)
        }
    })
}

/// A shift of all of `ẋ` along `dim` changes nothing, so it is measured from where the probability
/// is largest. The derivative there is `(1 - p) ẋ` and small terms: where the network is sure of
/// its answer `1 - p` would have lost its digits, in the tangent and in the backward pass.
fn log_softmax(
    cx: &mut Context<'_>,
    dim: usize,
    input: &TensorIr,
    out: &TensorIr,
) -> Result<(), JvpError> {
    let x = cx.get(input)?;
    let y = D::log_softmax(x.value.clone(), dim);
    if !x.is_active() {
        return cx.set_value(out, y);
    }
    let top = D::float_argmax(y.clone(), dim, cx.int_dtype());
    let p = D::float_exp(y.clone());
    let y = x.map_tangents(y, |d| {
        let d = D::float_sub(d.clone(), D::float_gather(dim, d, top.clone()));
        let mean = D::float_sum_dim(D::float_mul(p.clone(), d.clone()), dim);
        D::float_sub(d, mean)
    });
    cx.set(out, y)
}

fn softmax(x: &Dual, dim: usize) -> Dual {
    let y = D::softmax(x.value.clone(), dim);
    softmax_tangent(x, y, dim)
}

/// The tangent of any function of `x` that normalises exponentials to `y` along `dim`.
pub(super) fn softmax_tangent(x: &Dual, y: Value, dim: usize) -> Dual {
    x.map_tangents(y.clone(), |d| {
        let weighted = D::float_mul(y.clone(), d);
        let mean = D::float_sum_dim(weighted.clone(), dim);
        D::float_sub(weighted, D::float_mul(y.clone(), mean))
    })
}
