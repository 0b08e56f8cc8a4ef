use super::Posterior;
use crate::error::CurvatureError;

/// The log marginal likelihood by Laplace's approximation:
/// `log p(D | θ*) - ½ (τ |θ* - θ₀|² + log det P - n log τ)`.
///
/// `squared_distance` is that of the trained weights from the prior's mean, usually their squared
/// norm. It is exact for a linear model with normal noise. Models are compared by it on the *training*
/// data.
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
/// use osculate_curvature::{DiagonalPosterior, LaplaceConfig, dense_diagonal, log_evidence};
/// let hessian = Hessian::new(&oracle)?; // diag(1, 4, 9) for this loss
/// let diagonal = dense_diagonal(&hessian)?;
/// let of = |prior_precision: f64| {
///     let config = LaplaceConfig { scale: 1.0, prior_precision };
///     log_evidence(&DiagonalPosterior::new(&diagonal, &config)?, -3.0, 4.0, prior_precision)
/// };
/// // Weights this small say that a prior of precision 100 is too narrow.
/// assert!(of(1.0)? > of(100.0)?);
/// # Ok::<(), osculate_curvature::CurvatureError>(())
/// ```
///
/// # Errors
/// As [`Posterior::log_determinant`], [`CurvatureError::InvalidSetting`] for a precision that is not
/// positive, and [`CurvatureError::NonFinite`].
pub fn log_evidence(
    posterior: &dyn Posterior,
    log_likelihood: f64,
    squared_distance: f64,
    prior_precision: f64,
) -> Result<f64, CurvatureError> {
    CurvatureError::check(
        prior_precision.is_finite() && prior_precision > 0.0,
        "prior_precision",
        prior_precision,
        "a positive finite number",
    )?;
    let n = posterior.layout().num_elements() as f64;
    let determinant = posterior.log_determinant()? - n * prior_precision.ln();
    let value = log_likelihood - 0.5 * (prior_precision * squared_distance + determinant);
    if value.is_finite() {
        Ok(value)
    } else {
        Err(CurvatureError::NonFinite {
            what: "the log evidence",
            value,
        })
    }
}

/// The prior precision of the largest evidence.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PriorFit {
    /// `τ`.
    pub prior_precision: f64,
    /// The log evidence there.
    pub log_evidence: f64,
    /// Whether the largest evidence lies inside the range that was searched.
    pub interior: bool,
}

/// Finds the prior precision of the largest evidence, for fixed weights.
///
/// `log_determinant(τ)` is `log det(I + scale A / τ) = Σ log(1 + scale λ_i / τ)`: from eigenvalues
/// ([`DensePosterior::eigenvalues`](super::DensePosterior::eigenvalues)), from a diagonal, or from
/// [`SpectralDensity::log_determinant`](crate::SpectralDensity::log_determinant) with the damping
/// `τ / scale`. The range is searched on a grid of a hundred logarithmic steps, then by golden
/// sections; where the evidence is not finite, it counts as none.
///
/// The best precision of the posterior is not that of training's decay, whose optimum the weights are.
///
/// ```
/// use osculate_curvature::fit_prior;
/// let eigenvalues = [400.0, 900.0, 2500.0];
/// let determinant = |precision: f64| eigenvalues.iter().map(|l| (1.0 + l / precision).ln()).sum();
/// let best = fit_prior(determinant, -3.0, 6.0, (1e-3, 1e3))?;
/// // Far above the prior, the best precision is the number of directions over the squared distance.
/// assert!(best.interior && (best.prior_precision - 0.5).abs() < 1e-2);
/// # Ok::<(), osculate_curvature::CurvatureError>(())
/// ```
///
/// # Errors
/// [`CurvatureError::InvalidSetting`] for an empty range, and [`CurvatureError::NonFinite`] where the
/// evidence is finite nowhere.
///
/// Paper: Immer et al., <https://arxiv.org/abs/2104.04975>.
pub fn fit_prior(
    log_determinant: impl Fn(f64) -> f64,
    log_likelihood: f64,
    squared_distance: f64,
    (low, high): (f64, f64),
) -> Result<PriorFit, CurvatureError> {
    CurvatureError::check(
        low > 0.0 && low < high && high.is_finite(),
        "range",
        format_args!("({low}, {high})"),
        "two positive finite numbers, the lower one first",
    )?;
    let evidence = |log: f64| {
        let precision = log.exp();
        let determinant = log_determinant(precision);
        let value = log_likelihood - 0.5 * (precision * squared_distance + determinant);
        if value.is_finite() {
            value
        } else {
            f64::NEG_INFINITY
        }
    };
    const STEPS: u32 = 100;
    let (from, to) = (low.ln(), high.ln());
    let step = (to - from) / f64::from(STEPS);
    let at = |index: u32| from + f64::from(index) * step;
    let best = (0..=STEPS)
        .max_by(|a, b| evidence(at(*a)).total_cmp(&evidence(at(*b))))
        .unwrap_or(0);
    let (mut a, mut b) = (at(best.saturating_sub(1)), at((best + 1).min(STEPS)));
    let golden = 0.5 * (5.0_f64.sqrt() - 1.0);
    while b - a > 1e-9 {
        let (c, d) = (b - golden * (b - a), a + golden * (b - a));
        if evidence(c) > evidence(d) {
            b = d
        } else {
            a = c
        }
    }
    let log = 0.5 * (a + b);
    let value = evidence(log);
    if !value.is_finite() {
        return Err(CurvatureError::NonFinite {
            what: "the log evidence at every precision",
            value,
        });
    }
    Ok(PriorFit {
        prior_precision: log.exp(),
        log_evidence: value,
        interior: best > 0 && best < STEPS,
    })
}
