use super::{EigenPair, honest};
use crate::cost::Cost;
use crate::error::CurvatureError;
use crate::operator::{CurvatureOperator, Provenance};
use crate::params::ParamVec;

/// Settings of [`power_iteration`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PowerIterationConfig {
    /// Largest number of iterations, each of which costs one product. Default 100.
    pub iterations: usize,
    /// Residual that counts as converged, relative to the eigenvalue. Default 1e-3.
    pub tolerance: f64,
    /// Seed of the starting vector. Default 0.
    pub seed: u64,
}

impl Default for PowerIterationConfig {
    fn default() -> Self {
        Self {
            iterations: 100,
            tolerance: 1e-3,
            seed: 0,
        }
    }
}

/// The result of [`power_iteration`].
#[derive(Debug, Clone)]
pub struct PowerIteration {
    /// The eigenpair of largest magnitude, with its Rayleigh quotient and residual.
    pub pair: EigenPair,
    /// Number of iterations taken.
    pub iterations: usize,
    /// What the products cost.
    pub cost: Cost,
    /// Estimated error of the last product, as an absolute error of the eigenvalue; `None` where the
    /// products are exact or carry no estimate.
    pub product_error: Option<f64>,
    /// How the products were made: exactly, or by differences, then with the longest step and the
    /// largest errors of any, and why.
    pub provenance: Provenance,
    /// Whether the residual is within the tolerance, and the error of the last product too.
    pub converged: bool,
}

/// The eigenpair of largest magnitude, by repeated products.
///
/// It keeps two vectors where [`lanczos`](super::lanczos) keeps one a step, and needs many more
/// products: prefer Lanczos unless memory forbids it. Eigenvalues of equal magnitude and opposite
/// sign keep it from converging, which the residual then shows.
///
/// ```
/// # use burn::nn::{Linear, LinearConfig};
/// # use burn::tensor::{Device, Tensor};
/// use osculate_curvature::{PowerIterationConfig, power_iteration};
/// # use osculate_curvature::{Batched, GradientOracle, Hessian};
/// # let device = Device::flex().autodiff();
/// # let model: Linear = LinearConfig::new(3, 1).with_bias(false).init(&device);
/// # let x = Tensor::<2>::from_data([[1.0, 0.0, 0.0], [0.0, 2.0, 0.0], [0.0, 0.0, 3.0]], &device);
/// # let objective = Batched::new(x, |model: &Linear, x: &Tensor<2>| {
/// #     model.forward(x.clone()).square().sum().mul_scalar(0.5)
/// # });
/// # let oracle = GradientOracle::new(&model, &objective);
/// let hessian = Hessian::new(&oracle)?; // diag(1, 4, 9) for this loss
/// let found = power_iteration(&hessian, &PowerIterationConfig::default())?;
/// assert!((found.pair.value - 9.0).abs() < 0.1);
/// # Ok::<(), osculate_curvature::CurvatureError>(())
/// ```
///
/// # Errors
/// [`CurvatureError::InvalidSetting`], [`CurvatureError::NonFinite`] where a product is not finite,
/// and as the operator's products.
pub fn power_iteration(
    operator: &dyn CurvatureOperator,
    config: &PowerIterationConfig,
) -> Result<PowerIteration, CurvatureError> {
    let _span = tracing::debug_span!("power_iteration", iterations = config.iterations).entered();
    CurvatureError::check(
        config.iterations > 0,
        "iterations",
        config.iterations,
        "at least one iteration",
    )?;
    CurvatureError::check(
        config.tolerance.is_finite() && config.tolerance > 0.0,
        "tolerance",
        config.tolerance,
        "a positive finite number",
    )?;
    let mut v = ParamVec::gaussian(&operator.layout(), config.seed).to_compute_dtype();
    v = v.scale(1.0 / v.norm());
    let mut cost = Cost::ZERO;
    let mut iterations = 0;
    let mut provenance = Provenance::Exact;
    loop {
        iterations += 1;
        let product = operator.apply(&v)?;
        cost += product.cost;
        provenance = provenance.worst(product.provenance);
        let value = v.dot(&product.value);
        let residual = product.value.axpy(-value, &v).norm();
        let length = product.value.norm();
        if !value.is_finite() || !length.is_finite() {
            return Err(CurvatureError::NonFinite {
                what: "a Rayleigh quotient",
                value,
            });
        }
        let converged = residual <= config.tolerance * value.abs();
        if converged || iterations == config.iterations || length == 0.0 {
            let converged = converged || length == 0.0;
            let known = honest(product.error(), config.tolerance * value.abs());
            return Ok(PowerIteration {
                pair: EigenPair {
                    value,
                    vector: v,
                    residual,
                    converged,
                },
                iterations,
                cost,
                product_error: product.error(),
                provenance,
                converged: converged && known,
            });
        }
        v = product.value.scale(1.0 / length);
    }
}
