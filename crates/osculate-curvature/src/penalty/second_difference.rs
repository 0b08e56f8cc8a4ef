//! Third derivatives by differences.

use burn::module::Module;

use crate::error::CurvatureError;
use crate::operator::epsilon;
use crate::oracle::GradientOracle;
use crate::params::ParamVec;

/// First and second derivative of the gradient along `v`: `H v` and `T[v, v]`, where `T` holds the
/// third derivatives.
///
/// The step moves the element of largest magnitude by `ε^(1/4)` of the weights' root mean square,
/// where the rounding of second differences meets their truncation. In `f32` two to three digits are
/// right: enough for a stochastic gradient, not for a report.
///
/// Cost: two gradients beside the clean one.
pub(super) fn along<M: Module>(
    oracle: &GradientOracle<'_, M>,
    v: &ParamVec,
) -> Result<(ParamVec, ParamVec), CurvatureError> {
    let h = step(oracle, v, 0.25)?;
    let clean = oracle.clean()?.gradient.to_compute_dtype();
    let plus = oracle.evaluate_at(v, h)?.gradient.to_compute_dtype();
    let minus = oracle.evaluate_at(v, -h)?.gradient.to_compute_dtype();
    let first = plus.sub(&minus).scale(0.5 / h);
    let second = plus
        .sub(&clean)
        .add(&minus.sub(&clean))
        .scale(1.0 / (h * h));
    Ok((first, second))
}

/// The step along `v` that moves its largest element by `ε^order` of the weights' root mean square.
pub(super) fn step<M: Module>(
    oracle: &GradientOracle<'_, M>,
    v: &ParamVec,
    order: f64,
) -> Result<f64, CurvatureError> {
    let weights = oracle.parameters()?;
    let n = weights.layout().num_elements() as f64;
    let size = weights.norm() / n.sqrt();
    let largest = v.max_abs();
    if !largest.is_finite() || !size.is_finite() {
        return Err(CurvatureError::NonFinite {
            what: "the largest element of a direction, or the norm of the weights,",
            value: if largest.is_finite() { size } else { largest },
        });
    }
    // Weights of zero have no scale of their own.
    let size = if size > 0.0 { size } else { 1.0 };
    Ok(epsilon(weights.layout()).powf(order) * size / largest.max(f64::MIN_POSITIVE))
}
