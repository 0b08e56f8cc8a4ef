use super::sketch::{finite, probed, unit_trace};
use super::{Estimate, ProbeDistribution, SketchedTrace, Watch};
use crate::error::CurvatureError;
use crate::operator::CurvatureOperator;
use crate::params::{ParamVec, random};
use crate::spectrum::krylov_basis;
use crate::tally::{Budget, Tally};

/// Settings of [`krylov_trace`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct KrylovTraceConfig {
    /// Steps of Lanczos' method, each of which costs one product. Default 16.
    pub steps: usize,
    /// Largest number of probes of what lies outside the Krylov space. Default 16.
    pub probes: usize,
    /// Stops as soon as the standard error is below this fraction of the estimate twice in a row,
    /// after at least eight probes. Default `None`: all probes are used.
    pub relative_tolerance: Option<f64>,
    /// Seed of the starting vector and of the probes. Default 0.
    pub seed: u64,
    /// What may be spent. Default: no limit.
    pub budget: Budget,
}

impl Default for KrylovTraceConfig {
    fn default() -> Self {
        Self {
            steps: 16,
            probes: 16,
            relative_tolerance: None,
            seed: 0,
            budget: Budget::default(),
        }
    }
}

/// The trace from a Krylov space and probes of what lies outside it.
///
/// After `m` steps of Lanczos' method with the basis `Q`, the trace of `Qᵀ A Q` is the sum of the
/// recurrence's diagonal, at `m` products: a random span of that rank costs
/// [`hutch_pp`](super::hutch_pp) and [`xtrace`](super::xtrace) twice as many, and holds less of the
/// outliers. What remains is `mean_z zᵀ (I - Q Qᵀ) A (I - Q Qᵀ) z` over random signs, with its
/// standard error; given `Q` the estimate is unbiased. It is for operators of either sign. Give it
/// more steps than there are outliers: until the Krylov space holds them, the probes carry their
/// variance.
///
/// Where all products together reach the dimension, all unit vectors are multiplied instead and
/// the result is exact.
///
/// Cost: `steps + probes` products. Memory: `steps` vectors.
///
/// Paper: Chen, Hallman, <https://arxiv.org/abs/2205.01736>.
///
/// ```
/// # use burn::nn::{Linear, LinearConfig};
/// # use burn::tensor::{Device, Tensor};
/// use osculate_curvature::{KrylovTraceConfig, krylov_trace};
/// # use osculate_curvature::{Batched, GradientOracle, Hessian};
/// # let device = Device::flex().autodiff();
/// # let model: Linear = LinearConfig::new(3, 1).with_bias(false).init(&device);
/// # let x = Tensor::<2>::from_data([[1.0, 0.0, 0.0], [0.0, 2.0, 0.0], [0.0, 0.0, 3.0]], &device);
/// # let objective = Batched::new(x, |model: &Linear, x: &Tensor<2>| {
/// #     model.forward(x.clone()).square().sum().mul_scalar(0.5)
/// # });
/// # let oracle = GradientOracle::new(&model, &objective);
/// let hessian = Hessian::new(&oracle)?; // diag(1, 4, 9) for this loss
/// let trace = krylov_trace(&hessian, &KrylovTraceConfig::default())?;
/// assert!((trace.estimate.value - 14.0).abs() < 1e-2);
/// # Ok::<(), osculate_curvature::CurvatureError>(())
/// ```
///
/// # Errors
/// [`CurvatureError::InvalidSetting`], [`CurvatureError::BudgetTooSmall`],
/// [`CurvatureError::NonFinite`] where a product is not finite, and as the operator's products.
pub fn krylov_trace(
    operator: &dyn CurvatureOperator,
    config: &KrylovTraceConfig,
) -> Result<SketchedTrace, CurvatureError> {
    let _span = tracing::debug_span!("krylov_trace", steps = config.steps).entered();
    CurvatureError::check(config.steps > 0, "steps", config.steps, "at least one step")?;
    CurvatureError::check(
        config.probes > 0,
        "probes",
        config.probes,
        "at least one probe",
    )?;
    let tolerance = config.relative_tolerance.unwrap_or(1.0);
    CurvatureError::check(
        tolerance.is_finite() && tolerance > 0.0,
        "relative_tolerance",
        tolerance,
        "a positive finite number",
    )?;
    let mut tally = Tally::new(config.budget)?;
    let layout = operator.layout();
    if config.steps + config.probes >= layout.num_elements() {
        return unit_trace(operator, tally);
    }
    let start = ParamVec::gaussian(&layout, config.seed).to_compute_dtype();
    let (basis, inside) = krylov_basis(operator, &start, config.steps, &mut tally)?;
    let inside = finite(inside)?;

    let seed = random::mix(config.seed, 1);
    let mut samples: Vec<f64> = Vec::new();
    let mut watch = Watch::default();
    let mut reached = config.relative_tolerance.is_none();
    while samples.len() < config.probes && tally.affords(1) {
        let from = samples.len();
        let draw = |index: usize| {
            let z = ProbeDistribution::Rademacher.draw(&layout, seed, (from + index) as u64);
            basis.split(&z.to_compute_dtype()).1
        };
        let abreast = operator.width().clamp(1, config.probes - from);
        let (probes, products) = probed(operator, abreast, 0, draw, &mut tally)?;
        for (z, az) in probes.iter().zip(&products) {
            samples.push(finite(z.dot(az))?);
        }
        let so_far = Estimate::from_samples(&samples).affine(1.0, inside);
        if let Some(tolerance) = config.relative_tolerance
            && let Some(error) = so_far.standard_error
            && watch.look(tolerance, samples.len(), error, so_far.value)
        {
            reached = true;
            break;
        }
    }
    if samples.is_empty() {
        return Err(CurvatureError::InvalidSetting {
            name: "budget",
            value: format!("{} products", tally.products),
            expected: "products for `steps` and for at least one probe",
        });
    }
    Ok(SketchedTrace {
        estimate: Estimate::from_samples(&samples).affine(1.0, inside),
        rank: basis.len(),
        exact: false,
        products: tally.products,
        cost: tally.cost,
        product_error: tally.product_error,
        provenance: tally.provenance,
        converged: reached
            && (samples.len() == config.probes || config.relative_tolerance.is_some()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::estimate::{SketchConfig, xtrace};
    use crate::operator::Structure;
    use crate::testing::{m12, mixed};

    /// Outliers as many as classes, a decaying bulk, and a tail of zeros.
    fn outliers() -> Vec<f64> {
        let mut eigenvalues: Vec<f64> = (0..9).map(|i| 10.0 / f64::from(i + 1)).collect();
        eigenvalues.extend((0..51).map(|i| 0.5 * 0.9_f64.powi(i)));
        eigenvalues.extend([0.0; 60]);
        eigenvalues
    }

    #[test]
    fn intervals_cover_and_the_mean_is_right() {
        let indefinite: Vec<f64> = (0..120)
            .map(|i| {
                let sign = if i % 3 == 2 { -1.0 } else { 1.0 };
                sign * 8.0 / (1.0 + f64::from(i))
            })
            .collect();
        for eigenvalues in [outliers(), indefinite] {
            let truth: f64 = eigenvalues.iter().sum();
            let operator = mixed(&eigenvalues, &[50, 70], Structure::Symmetric);
            let mut covered = 0;
            let mut values = Vec::new();
            for seed in 0..400 {
                let config = KrylovTraceConfig {
                    steps: 10,
                    probes: 8,
                    seed,
                    ..KrylovTraceConfig::default()
                };
                let found = krylov_trace(&operator, &config).unwrap();
                assert_eq!(found.products, 18);
                let (low, high) = found.estimate.interval(0.95).unwrap();
                covered += usize::from(low <= truth && truth <= high);
                values.push(found.estimate.value);
            }
            let rate = covered as f64 / 400.0;
            assert!((rate - 0.95).abs() <= 0.05, "{rate}");
            let mean = Estimate::from_samples(&values);
            let apart = (mean.value - truth) / mean.standard_error.unwrap();
            assert!(apart.abs() < 3.5, "{apart} standard errors");
        }
    }

    #[test]
    fn outliers_cost_less_than_with_a_random_span() {
        let eigenvalues = outliers();
        let truth: f64 = eigenvalues.iter().sum();
        let operator = mixed(&eigenvalues, &[120], Structure::PositiveSemidefinite);
        let (mut krylov, mut cross) = (0.0, 0.0);
        for seed in 0..60 {
            let config = KrylovTraceConfig {
                steps: 10,
                probes: 8,
                seed,
                ..KrylovTraceConfig::default()
            };
            let found = krylov_trace(&operator, &config).unwrap();
            krylov += (found.estimate.value - truth).powi(2);
            let sketch = SketchConfig {
                products: 18,
                seed,
                ..SketchConfig::default()
            };
            cross += (xtrace(&operator, &sketch).unwrap().estimate.value - truth).powi(2);
        }
        assert!(krylov < 0.8 * cross, "{krylov} against {cross}");
    }

    #[test]
    fn tolerances_budgets_and_small_problems() {
        let operator = mixed(&outliers(), &[120], Structure::PositiveSemidefinite);
        let config = KrylovTraceConfig {
            steps: 12,
            probes: 60,
            relative_tolerance: Some(0.02),
            ..KrylovTraceConfig::default()
        };
        let found = krylov_trace(&operator, &config).unwrap();
        assert!(found.converged && found.products < 72, "{found:?}");
        let short = KrylovTraceConfig {
            budget: Budget::products(15),
            relative_tolerance: None,
            ..config
        };
        let found = krylov_trace(&operator, &short).unwrap();
        assert!(!found.converged && found.products == 15);
        let none = KrylovTraceConfig {
            budget: Budget::products(12),
            ..short
        };
        assert!(krylov_trace(&operator, &none).is_err());
        let exact = krylov_trace(&m12(), &KrylovTraceConfig::default()).unwrap();
        assert!(exact.exact && (exact.estimate.value - 19.72).abs() < 1e-10);
    }
}
