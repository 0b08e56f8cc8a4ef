use std::collections::VecDeque;

use super::{HutchinsonConfig, Watch, confidence};
use crate::cost::Cost;
use crate::error::CurvatureError;
use crate::operator::{CurvatureOperator, Provenance};
use crate::params::ParamVec;
use crate::tally::Tally;

/// An estimate with one value for each parameter element.
#[derive(Debug, Clone)]
pub struct DiagonalEstimate {
    /// Mean over the probes.
    pub value: ParamVec,
    /// Standard error of each element of the mean; `None` for a single probe.
    pub standard_error: Option<ParamVec>,
    /// Number of probes used.
    pub probes: usize,
    /// What it cost.
    pub cost: Cost,
    /// Largest estimated norm of a product's error: the norm, over all elements, by which every
    /// probe is off beside its random error. `None` where the products are exact or carry no
    /// estimate.
    pub product_error: Option<f64>,
    /// How the products were made: exactly, or by differences, then with the longest step and the
    /// largest errors of any, and why.
    pub provenance: Provenance,
    /// Whether the tolerance was reached: the norm of the standard errors is below
    /// `relative_tolerance` times the norm of the estimate. Where none was asked, whether the budget
    /// covered all probes. The products' error must be below the tolerance, or below
    /// the standard errors; where no tolerance was asked, a tenth of the estimate stands in for it.
    pub converged: bool,
}

impl DiagonalEstimate {
    /// For each element, half the width of the interval that holds the true value with probability
    /// `confidence`: see [`Estimate::half_width`](super::Estimate::half_width). `None` for a single
    /// probe, or a confidence that is not between 0 and 1.
    pub fn half_width(&self, confidence: f64) -> Option<ParamVec> {
        let factor = confidence::half_width(1.0, self.probes, confidence)?;
        Some(self.standard_error.as_ref()?.scale(factor))
    }

    /// An unbiased estimate of the sum of the squares of the diagonal: the squared norm of the
    /// estimate, which is too large by its variance, less that of the standard errors. `None` for a
    /// single probe. Two read-backs.
    pub fn sum_of_squares(&self) -> Option<f64> {
        let error = self.standard_error.as_ref()?;
        Some(self.value.dot(&self.value) - error.dot(error))
    }
}

/// Hutchinson's estimate of the diagonal of `A`: the mean of `z ⊙ (A z)`.
///
/// It keeps the sign of the diagonal. For Rademacher probes it is unbiased with variance
/// `sum_{j != i} A_ij^2` for element `i` and each probe.
///
/// Cost: one product for each probe. Memory: three vectors beside the operator's own.
///
/// ```
/// # use burn::nn::{Linear, LinearConfig};
/// # use burn::tensor::{Device, Tensor};
/// use osculate_curvature::{HutchinsonConfig, hutchinson_diagonal};
/// # use osculate_curvature::{Batched, GradientOracle, Hessian};
/// # let device = Device::flex().autodiff();
/// # let model: Linear = LinearConfig::new(3, 1).with_bias(false).init(&device);
/// # let x = Tensor::<2>::from_data([[1.0, 0.0, 0.0], [0.0, 2.0, 0.0], [0.0, 0.0, 3.0]], &device);
/// # let objective = Batched::new(x, |model: &Linear, x: &Tensor<2>| {
/// #     model.forward(x.clone()).square().sum().mul_scalar(0.5)
/// # });
/// # let oracle = GradientOracle::new(&model, &objective);
/// let hessian = Hessian::new(&oracle)?; // diag(1, 4, 9) for this loss
/// let diagonal = hutchinson_diagonal(&hessian, &HutchinsonConfig::default())?;
/// let expected = [1.0, 4.0, 9.0];
/// assert!(diagonal.value.to_values().iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-3));
/// # Ok::<(), osculate_curvature::CurvatureError>(())
/// ```
///
/// # Errors
/// [`CurvatureError::InvalidSetting`], [`CurvatureError::NonFinite`] where a product is not finite,
/// and as the operator's products.
pub fn hutchinson_diagonal(
    operator: &dyn CurvatureOperator,
    config: &HutchinsonConfig,
) -> Result<DiagonalEstimate, CurvatureError> {
    estimate(operator, config, |z, az| z.hadamard(az))
}

/// The mean of `|A z|`, the quantity that AdaHessian accumulates.
///
/// It is *not* an estimate of the diagonal: `E (Az)_i^2 = sum_j A_ij^2`, so `|A z|_i` is of the
/// size of the norm of row `i`. It equals the absolute diagonal for diagonal matrices alone.
///
/// Cost and errors: as [`hutchinson_diagonal`].
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
/// use osculate_curvature::{DenseOperator, HutchinsonConfig, Structure, hutchinson_abs};
/// # let layout = Hessian::new(&oracle)?.layout();
/// let elements = vec![3.0, 1.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 2.0];
/// let operator = DenseOperator::new(layout, elements, Structure::Symmetric)?;
/// let found = hutchinson_abs(&operator, &HutchinsonConfig::default())?.value.to_values();
/// // The diagonal is 3, 0, 2: the second row's norm is that of the element beside it.
/// assert!(found[0] > 2.0 && found[1] == 1.0 && found[2] == 2.0);
/// # Ok::<(), osculate_curvature::CurvatureError>(())
/// ```
///
/// # Errors
/// As [`hutchinson_diagonal`].
pub fn hutchinson_abs(
    operator: &dyn CurvatureOperator,
    config: &HutchinsonConfig,
) -> Result<DiagonalEstimate, CurvatureError> {
    estimate(operator, config, |_, az| az.abs())
}

fn estimate(
    operator: &dyn CurvatureOperator,
    config: &HutchinsonConfig,
    sample: impl Fn(&ParamVec, &ParamVec) -> ParamVec,
) -> Result<DiagonalEstimate, CurvatureError> {
    let _span = tracing::debug_span!("hutchinson_diagonal", probes = config.probes).entered();
    config.validate()?;
    let layout = operator.layout();
    let mut moments = Moments::default();
    let mut tally = Tally::new(config.budget)?;
    let mut reached = false;
    let mut watch = Watch::default();
    let mut ready = VecDeque::new();
    while moments.count < config.probes {
        if ready.is_empty() {
            ready.extend(config.products(operator, &layout, moments.count, &mut tally)?);
        }
        let Some((z, product)) = ready.pop_front() else {
            break;
        };
        moments.add(sample(&z, &product));
        if let Some(tolerance) = config.relative_tolerance
            && let Some((mean, error)) = moments.mean_and_error()
            && watch.look(tolerance, moments.count, error.norm(), mean.norm())
        {
            reached = true;
            break;
        }
    }
    let all = config.relative_tolerance.is_none() && moments.count == config.probes;
    let product_error = tally.product_error;
    let mut made = moments.finish(tally.cost, product_error, reached || all)?;
    let standard_error = made.standard_error.as_ref().map(ParamVec::norm);
    made.provenance = tally.provenance;
    made.converged &= config.supported(product_error, standard_error, made.value.norm());
    Ok(made)
}

/// Running mean and sum of squared deviations (Welford), on the device.
#[derive(Default)]
pub(super) struct Moments {
    count: usize,
    state: Option<(ParamVec, ParamVec)>,
}

impl Moments {
    pub(super) fn add(&mut self, x: ParamVec) {
        self.count += 1;
        self.state = Some(match self.state.take() {
            None => {
                let deviations = x.scale(0.0);
                (x, deviations)
            }
            Some((mean, deviations)) => {
                let delta = x.sub(&mean);
                let mean = mean.axpy(1.0 / self.count as f64, &delta);
                let deviations = deviations.add(&delta.hadamard(&x.sub(&mean)));
                (mean, deviations)
            }
        });
    }

    pub(super) fn mean_and_error(&self) -> Option<(&ParamVec, ParamVec)> {
        let (mean, deviations) = self.state.as_ref()?;
        (self.count > 1).then(|| {
            let n = self.count as f64;
            let error =
                deviations.map(|(_, d)| d.clone().clamp_min(0.0).div_scalar(n * (n - 1.0)).sqrt());
            (mean, error)
        })
    }

    pub(super) fn finish(
        self,
        cost: Cost,
        product_error: Option<f64>,
        converged: bool,
    ) -> Result<DiagonalEstimate, CurvatureError> {
        let standard_error = self.mean_and_error().map(|(_, error)| error);
        let Some((value, _)) = self.state else {
            return Err(CurvatureError::InvalidSetting {
                name: "probes",
                value: "0".to_string(),
                expected: "at least one probe",
            });
        };
        let norm = value.norm();
        if !norm.is_finite() {
            return Err(CurvatureError::NonFinite {
                what: "the norm of the estimated diagonal",
                value: norm,
            });
        }
        Ok(DiagonalEstimate {
            value,
            standard_error,
            probes: self.count,
            cost,
            product_error,
            provenance: Provenance::Exact,
            converged,
        })
    }
}
