use crate::error::CurvatureError;
use crate::operator::CurvatureOperator;
use crate::params::ParamVec;

/// The training that an inverse-Hessian attack assumes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AttackConfig {
    /// Learning rate.
    pub learning_rate: f64,
    /// Momentum.
    pub momentum: f64,
    /// Decay that is part of the loss (L2), not decoupled. Default 0.
    pub weight_decay: f64,
    /// Number of training samples.
    pub count: usize,
}

/// The membership score of the inverse-Hessian attack: higher for samples that were trained on.
///
/// With `s = H⁻¹ g_z`, `r = H⁻¹ g_rest` (the mean gradient of all others), learning rate `η`,
/// momentum `μ`, decay `λ` and `N` samples:
///
/// ```text
/// l_z / (1 + μ) - (|s|²/N + 2 r·s) (1 - η λ / (1 + μ)) / η - (λ/η) (s·H⁻¹s / N + 2 r·H⁻¹s)
/// ```
///
/// An audit beside self-influence, for small networks: it needs two inverse products for each record
/// (three with decay) and assumes that the attacker knows all other samples.
///
/// Paper: Suri, Zhang, Evans, <https://arxiv.org/abs/2406.11544>.
///
/// ```
/// # use burn::nn::{Linear, LinearConfig};
/// # use burn::tensor::{Device, Tensor};
/// # use osculate_curvature::{Batched, GradientOracle, Hessian};
/// # let device = Device::flex().autodiff();
/// # let model: Linear = LinearConfig::new(3, 1).with_bias(false).init(&device);
/// # let x = Tensor::<2>::from_data([[1.0, 0.0, 0.0], [0.0, 2.0, 0.0], [0.0, 0.0, 3.0]], &device);
/// # let objective = Batched::new(x, |model: &Linear, x: &Tensor<2>| {
/// #     model.forward(x.clone()).square().sum().mul_scalar(0.5)
/// # });
/// # let oracle = GradientOracle::new(&model, &objective);
/// # use osculate_curvature::CurvatureOperator;
/// use osculate_curvature::{AttackConfig, DiagonalOperator, ParamVec, membership_score};
/// # let layout = Hessian::new(&oracle)?.layout();
/// let inverse = DiagonalOperator::new(ParamVec::from_values(&layout, &[1.0, 0.5, 0.25]));
/// let gradient = ParamVec::from_values(&layout, &[0.2, 0.0, 0.0]);
/// let rest = ParamVec::from_values(&layout, &[-0.002, 0.0, 0.0]);
/// let config = AttackConfig { learning_rate: 0.1, momentum: 0.0, weight_decay: 0.0, count: 100 };
/// let score = membership_score(&inverse, 0.05, &gradient, &rest, &config)?;
/// // 0.05 - (0.2² / 100 - 2 · 0.002 · 0.2) / 0.1.
/// assert!((score - 0.054).abs() < 1e-6);
/// # Ok::<(), osculate_curvature::CurvatureError>(())
/// ```
///
/// # Errors
/// [`CurvatureError::InvalidSetting`], [`CurvatureError::NonFinite`], and as the inverse products.
pub fn membership_score(
    inverse: &dyn CurvatureOperator,
    loss: f64,
    gradient: &ParamVec,
    rest: &ParamVec,
    config: &AttackConfig,
) -> Result<f64, CurvatureError> {
    let (rate, momentum, decay) = (config.learning_rate, config.momentum, config.weight_decay);
    CurvatureError::check(
        rate.is_finite() && rate > 0.0,
        "learning_rate",
        rate,
        "a positive finite number",
    )?;
    CurvatureError::check(
        (0.0..1.0).contains(&momentum),
        "momentum",
        momentum,
        "at least 0 and less than 1",
    )?;
    CurvatureError::check(
        config.count > 0,
        "count",
        config.count,
        "at least one sample",
    )?;
    let n = config.count as f64;
    let s = inverse.apply(gradient)?.value;
    let r = inverse.apply(rest)?.value;
    let spread = s.dot(&s) / n + 2.0 * r.dot(&s);
    let mut score =
        loss / (1.0 + momentum) - spread * (1.0 - rate * decay / (1.0 + momentum)) / rate;
    if decay != 0.0 {
        let twice = inverse.apply(&s)?.value;
        score -= decay / rate * (s.dot(&twice) / n + 2.0 * r.dot(&twice));
    }
    if score.is_finite() {
        Ok(score)
    } else {
        Err(CurvatureError::NonFinite {
            what: "a membership score",
            value: score,
        })
    }
}
