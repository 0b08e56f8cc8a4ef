use core::f64::consts::{FRAC_2_SQRT_PI, SQRT_2};

use burn_backend::Scalar;
use burn_backend::ops::FloatTensorOps;
use burn_dispatch::Dispatch as D;
use burn_ir::{BinaryOpIr, FloatOperationIr, ScalarOpIr};

use super::grid_sample::grid_sample;
use super::rule_table;
use crate::context::Context;
use crate::dual::{Dual, Value, fit, weighted};
use crate::error::JvpError;

rule_table!("Float", FloatOperationIr, |cx| {
    Exp(o) Differentiated "y ẋ" => cx.unary(o, D::float_exp, |_, y| y);
    Log(o) Differentiated "ẋ / x" => cx.unary(o, D::float_log, |x, _| D::float_recip(x));
    Log1p(o) Differentiated "ẋ / (1 + x)" =>
        cx.unary(o, D::float_log1p, |x, _| D::float_recip(plus(x, 1.0)));
    Erf(o) Differentiated "2/√π exp(-x²) ẋ" => cx.unary(o, D::float_erf, |x, _| {
        times(D::float_exp(D::float_neg(square(x))), FRAC_2_SQRT_PI)
    });
    PowfScalar(o) Differentiated "c x^(c-1) ẋ" => power(cx, o);
    Sqrt(o) Differentiated "ẋ / 2y" =>
        cx.unary(o, D::float_sqrt, |_, y| times(D::float_recip(y), 0.5));
    Cos(o) Differentiated "-sin(x) ẋ" =>
        cx.unary(o, D::float_cos, |x, _| D::float_neg(D::float_sin(x)));
    Cosh(o) Differentiated "sinh(x) ẋ" => cx.unary(o, D::float_cosh, |x, _| D::float_sinh(x));
    Sin(o) Differentiated "cos(x) ẋ" => cx.unary(o, D::float_sin, |x, _| D::float_cos(x));
    Sinh(o) Differentiated "cosh(x) ẋ" => cx.unary(o, D::float_sinh, |x, _| D::float_cosh(x));
    Tan(o) Differentiated "(1 + y²) ẋ" => cx.unary(o, D::float_tan, |_, y| plus(square(y), 1.0));
    Tanh(o) Differentiated "(1 - y²) ẋ" => cx.unary(o, D::float_tanh, |_, y| one_minus_square(y));
    ArcCos(o) Differentiated "-ẋ / √(1 - x²)" =>
        cx.unary(o, D::float_acos, |x, _| D::float_neg(inverse_root(one_minus_square(x))));
    ArcCosh(o) Differentiated "ẋ / √(x² - 1)" =>
        cx.unary(o, D::float_acosh, |x, _| inverse_root(plus(square(x), -1.0)));
    ArcSin(o) Differentiated "ẋ / √(1 - x²)" =>
        cx.unary(o, D::float_asin, |x, _| inverse_root(one_minus_square(x)));
    ArcSinh(o) Differentiated "ẋ / √(x² + 1)" =>
        cx.unary(o, D::float_asinh, |x, _| inverse_root(plus(square(x), 1.0)));
    ArcTan(o) Differentiated "ẋ / (1 + x²)" =>
        cx.unary(o, D::float_atan, |x, _| D::float_recip(plus(square(x), 1.0)));
    ArcTanh(o) Differentiated "ẋ / (1 - x²)" =>
        cx.unary(o, D::float_atanh, |x, _| D::float_recip(one_minus_square(x)));
    ArcTan2(o) Differentiated "(b ȧ - a ḃ) / (a² + b²)" => cx.binary(o, D::float_atan2, |a, b, _| {
        let norm = D::float_recip(D::float_add(square(a.clone()), square(b.clone())));
        (D::float_mul(b, norm.clone()), D::float_neg(D::float_mul(a, norm)))
    });
    Round(o) Constant "0" => cx.flat(o, D::float_round);
    Floor(o) Constant "0" => cx.flat(o, D::float_floor);
    Ceil(o) Constant "0" => cx.flat(o, D::float_ceil);
    Trunc(o) Constant "0" => cx.flat(o, D::float_trunc);
    IntoInt(o) Constant "0" => {
        let x = cx.value(&o.input)?;
        cx.set_value(&o.out, D::float_into_int(x, o.out.dtype.into()))
    };
    Matmul(o) Differentiated "ȧ b + a ḃ" => {
        let (a, b) = (cx.get(&o.lhs)?, cx.get(&o.rhs)?);
        cx.set(&o.out, a.bilinear(b, D::float_matmul))
    };
    Cross(o) Differentiated "ȧ × b + a × ḃ" => {
        // burn's backward pass of a cross product does not sum over what was broadcast.
        let wide = |dual: Dual| dual.linear(|x| fit(x, &o.out.shape));
        let (a, b) = (wide(cx.get(&o.lhs)?), wide(cx.get(&o.rhs)?));
        cx.set(&o.out, a.bilinear(b, |a, b| D::float_cross(a, b, o.dim)))
    };
    Random(o) Constant "0, drawn from the device's generator" => {
        let value = D::float_random(
            o.out.shape.clone(), o.distribution, cx.device(), o.out.dtype.into());
        cx.set_value(&o.out, value)
    };
    Recip(o) Differentiated "-y² ẋ" =>
        cx.unary(o, D::float_recip, |_, y| D::float_neg(square(y)));
    IsNan(o) Constant "0" => {
        let x = cx.value(&o.input)?;
        cx.set_value(&o.out, D::float_is_nan(x, o.out.dtype.into()))
    };
    IsInf(o) Constant "0" => {
        let x = cx.value(&o.input)?;
        cx.set_value(&o.out, D::float_is_inf(x, o.out.dtype.into()))
    };
    Quantize(_) Unsupported "" => Err(JvpError::no_rule("Float::Quantize"));
    Dequantize(_) Unsupported "" => Err(JvpError::no_rule("Float::Dequantize"));
    GridSample2d(o) Differentiated "sample(ẋ, grid), and the slope between pixels where the grid moves (bilinear only)" =>
        grid_sample(cx, o);
    Powf(o) Differentiated "b a^(b-1) ȧ + y ln(a) ḃ" => powf(cx, o);
    Hypot(o) Differentiated "(a ȧ + b ḃ) / y" => cx.binary(o, D::float_hypot, |a, b, y| {
        let y = D::float_recip(y);
        (D::float_mul(a, y.clone()), D::float_mul(b, y))
    });
});

pub(super) fn square(x: Value) -> Value {
    D::float_mul(x.clone(), x)
}

pub(super) fn plus(x: Value, by: f64) -> Value {
    D::float_add_scalar(x, by.into())
}

pub(super) fn times(x: Value, by: f64) -> Value {
    D::float_mul_scalar(x, by.into())
}

pub(super) fn one_minus_square(x: Value) -> Value {
    plus(D::float_neg(square(x)), 1.0)
}

fn inverse_root(x: Value) -> Value {
    D::float_recip(D::float_sqrt(x))
}

/// The distribution function of the standard normal distribution and its density.
pub(super) fn normal(x: Value) -> (Value, Value) {
    let inner = D::float_erf(times(x.clone(), 1.0 / SQRT_2));
    let density = D::float_exp(times(square(x), -0.5));
    let density = times(density, 0.5 * FRAC_2_SQRT_PI / SQRT_2);
    (times(plus(inner, 1.0), 0.5), density)
}

/// `x^c`. Exponents 0, 1 and 2 are written out: the general formula divides by `x` when it is
/// differentiated again, which is not a number at the origin.
pub(super) fn power(cx: &mut Context<'_>, o: &ScalarOpIr) -> Result<(), JvpError> {
    let exponent: Scalar = o.rhs.into();
    let c: f64 = o.rhs.elem();
    let x = cx.get(&o.lhs)?;
    let y = if c == 0.0 {
        Dual::constant(D::float_powf_scalar(x.value, exponent))
    } else if c == 1.0 {
        x
    } else if c == 2.0 {
        x.unary(square, |x, _| times(x, 2.0))
    } else {
        x.unary(
            |x| D::float_powf_scalar(x, exponent),
            |x, _| times(D::float_powf_scalar(x, (c - 1.0).into()), c),
        )
    };
    cx.set(&o.out, y)
}

fn powf(cx: &mut Context<'_>, o: &BinaryOpIr) -> Result<(), JvpError> {
    let (a, b) = (cx.get(&o.lhs)?, cx.get(&o.rhs)?);
    let y = D::float_powf(a.value.clone(), b.value.clone());
    // Each factor is computed only where it is needed: the logarithm of a negative base is not a
    // number, and a constant exponent does not ask for it.
    let left = a.is_active().then(|| {
        let lower = plus(b.value.clone(), -1.0);
        D::float_mul(b.value.clone(), D::float_powf(a.value.clone(), lower))
    });
    let right = b
        .is_active()
        .then(|| D::float_mul(y.clone(), D::float_log(a.value.clone())));
    cx.set(&o.out, weighted(y, &a, left, &b, right))
}
