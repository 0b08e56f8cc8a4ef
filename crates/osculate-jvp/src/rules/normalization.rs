use burn_backend::Shape;
use burn_backend::ops::{FloatTensorOps, ModuleOps};
use burn_dispatch::Dispatch as D;
use burn_ir::{BatchNormOpIr, LayerNormOpIr, ScalarIr};

use crate::context::Context;
use crate::dual::{Dual, Value};
use crate::error::JvpError;

/// Normalisation with given statistics, per channel (dimension 1), or with those of the batch.
pub(super) fn batch_norm(cx: &mut Context<'_>, o: &BatchNormOpIr) -> Result<(), JvpError> {
    if cx.by_batch(&o.mean) {
        return by_batch(cx, o);
    }
    let x = cx.get(&o.x)?;
    let shape = along(&o.x.shape, 1);
    let mut statistic = |tensor| Ok::<_, JvpError>(cx.get(tensor)?.reshape(shape.clone()));
    let (gamma, beta) = (statistic(&o.gamma)?, statistic(&o.beta)?);
    let (mean, variance) = (statistic(&o.mean)?, statistic(&o.variance)?);
    let y = x.sub(mean).mul(inverse_deviation(variance, o.epsilon));
    cx.set(&o.out, y.mul(gamma).add(beta))
}

/// Normalisation with the mean and the variance of each channel over the batch.
///
/// With means over all dimensions but that of the channels, the tangent of `z` is that of
/// [`layer_norm`].
fn by_batch(cx: &mut Context<'_>, o: &BatchNormOpIr) -> Result<(), JvpError> {
    let x = cx.get(&o.x)?;
    let (gamma, beta) = (cx.get(&o.gamma)?, cx.get(&o.beta)?);
    // The running statistics have no part in it, and are read for the count alone.
    cx.get(&o.mean)?;
    cx.get(&o.variance)?;
    if !x.is_active() && !gamma.is_active() && !beta.is_active() {
        let epsilon: f64 = o.epsilon.elem();
        let y = D::batch_norm_train(x.value, gamma.value, beta.value, epsilon);
        return cx.set_value(&o.out, y.output);
    }
    let whole = o.x.shape.clone();
    let (rows, channels) = (whole[0], whole[1]);
    let rest = whole.num_elements() / (rows * channels).max(1);
    let mean = |x: Value| D::float_mean_dim(D::float_mean_dim(x, 2), 0);
    let x = x.reshape(Shape::new([rows, channels, rest]));

    let centered = D::float_sub(x.value.clone(), mean(x.value.clone()));
    let variance = mean(D::float_mul(centered.clone(), centered.clone()));
    let r = inverse_deviation(Dual::constant(variance), o.epsilon).value;
    let z = D::float_mul(centered, r.clone());
    let z = x.map_tangents(z.clone(), |d| standardised(d, &z, &r, mean));
    let shape = Shape::new([1, channels, 1]);
    let y = z.mul(gamma.reshape(shape.clone())).add(beta.reshape(shape));
    cx.set(&o.out, y.reshape(whole))
}

/// The tangent `r (ẋ - mean(ẋ) - z mean(z ẋ))` of `z = (x - mean(x)) r`.
fn standardised(d: Value, z: &Value, r: &Value, mean: impl Fn(Value) -> Value) -> Value {
    let shift = mean(d.clone());
    let along = mean(D::float_mul(z.clone(), d.clone()));
    let change = D::float_sub(D::float_sub(d, shift), D::float_mul(z.clone(), along));
    D::float_mul(change, r.clone())
}

/// Normalisation over the last dimension.
///
/// For `z = (x - mean(x)) r` with `r = 1 / √(var(x) + ε)`, the tangent is
/// `ż = r (ẋ - mean(ẋ) - z mean(z ẋ))`.
pub(super) fn layer_norm(cx: &mut Context<'_>, o: &LayerNormOpIr) -> Result<(), JvpError> {
    let (x, gamma) = (cx.get(&o.input)?, cx.get(&o.gamma)?);
    let beta = cx.get_optional(o.beta.as_ref())?;
    let last = o.input.shape.num_dims() - 1;
    let shape = along(&o.input.shape, last);

    let mean = D::float_mean_dim(x.value.clone(), last);
    let centered = D::float_sub(x.value.clone(), mean);
    let squares = D::float_mul(centered.clone(), centered.clone());
    let variance = Dual::constant(D::float_mean_dim(squares, last));
    let r = inverse_deviation(variance, o.epsilon).value;
    let z = D::float_mul(centered, r.clone());
    let mean = |x| D::float_mean_dim(x, last);
    let z = x.map_tangents(z.clone(), |d| standardised(d, &z, &r, mean));
    let y = z.mul(gamma.reshape(shape.clone()));
    cx.set(
        &o.out,
        match beta {
            Some(beta) => y.add(beta.reshape(shape)),
            None => y,
        },
    )
}

/// `1 / √(v + ε)`, with slope `-y³ / 2`.
fn inverse_deviation(variance: Dual, epsilon: ScalarIr) -> Dual {
    let epsilon: f64 = epsilon.elem();
    variance.shift(epsilon).unary(
        |v| D::float_recip(D::float_sqrt(v)),
        |_, y| {
            let cube = D::float_mul(D::float_mul(y.clone(), y.clone()), y);
            D::float_mul_scalar(cube, (-0.5).into())
        },
    )
}

/// The shape of a vector along `dim` that broadcasts against `shape`.
pub(super) fn along(shape: &Shape, dim: usize) -> Shape {
    let mut dims = vec![1; shape.num_dims()];
    dims[dim] = shape[dim];
    Shape::from(dims)
}
