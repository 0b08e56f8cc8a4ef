use std::collections::VecDeque;

use burn::module::ParamGroup;

use super::{Estimate, HutchinsonConfig, Watch};
use crate::cost::Cost;
use crate::error::CurvatureError;
use crate::operator::{CurvatureOperator, Provenance};
use crate::params::ParamLayout;
use crate::tally::Tally;

/// The trace of one diagonal block.
#[derive(Debug, Clone, PartialEq)]
pub struct BlockTrace {
    /// Path of the parameter whose block it is.
    pub path: String,
    /// Mean over the probes.
    pub value: f64,
    /// Standard error of the mean; `None` for a single probe.
    pub standard_error: Option<f64>,
}

/// An estimated trace.
#[derive(Debug, Clone, PartialEq)]
pub struct TraceEstimate {
    /// Mean over the probes.
    pub value: f64,
    /// Standard error of the mean; `None` for a single probe.
    pub standard_error: Option<f64>,
    /// The same for the diagonal block of each parameter, from the same probes.
    pub blocks: Vec<BlockTrace>,
    /// For each probe, what every block contributed, in the order of `blocks`.
    pub samples: Vec<Vec<f64>>,
    /// Number of probes used.
    pub probes: usize,
    /// What it cost.
    pub cost: Cost,
    /// Largest estimated norm of a product's error, by about which every probe is off beside its
    /// random error; `None` where the products are exact or carry no estimate.
    pub product_error: Option<f64>,
    /// How the products were made: exactly, or by differences, then with the longest step and the
    /// largest errors of any, and why.
    pub provenance: Provenance,
    /// Whether the tolerance was reached; where none was asked, whether the budget covered all
    /// probes. The products' error must be below the tolerance, or below the standard error;
    /// where no tolerance was asked, a tenth of the estimate stands in for it.
    pub converged: bool,
}

impl TraceEstimate {
    /// The trace with its standard error, from which intervals are made.
    pub fn estimate(&self) -> Estimate {
        Estimate {
            value: self.value,
            standard_error: self.standard_error,
            samples: self.probes,
        }
    }

    /// The trace of the diagonal block of all parameters that `group` selects, from the same probes.
    ///
    /// Blocks of one group are correlated, so their standard errors do not add up; this one is that
    /// of the sum. `layout` is the operator's.
    ///
    /// # Errors
    /// [`CurvatureError::EmptySelection`] where nothing matches, and
    /// [`CurvatureError::LayoutMismatch`] for the layout of another operator.
    pub fn group(
        &self,
        layout: &ParamLayout,
        group: &ParamGroup,
    ) -> Result<Estimate, CurvatureError> {
        let paths = || layout.entries().iter().map(|entry| entry.path.as_str());
        if !paths().eq(self.blocks.iter().map(|block| block.path.as_str())) {
            return Err(CurvatureError::LayoutMismatch {
                expected: format!("{} blocks", self.blocks.len()),
                got: format!("{} parameters of other paths", layout.len()),
            });
        }
        Ok(self.sum_of(&layout.select(group)?))
    }

    /// The trace of each layer's diagonal block, from the same probes: parameters whose paths differ
    /// only after the last dot are one layer.
    pub fn layers(&self) -> Vec<(String, Estimate)> {
        let mut layers: Vec<(String, Vec<usize>)> = Vec::new();
        for (index, block) in self.blocks.iter().enumerate() {
            let layer = block.path.rsplit_once('.').map_or("", |(layer, _)| layer);
            match layers.iter_mut().find(|(name, _)| name == layer) {
                Some((_, members)) => members.push(index),
                None => layers.push((layer.to_string(), vec![index])),
            }
        }
        layers
            .into_iter()
            .map(|(layer, members)| (layer, self.sum_of(&members)))
            .collect()
    }

    fn sum_of(&self, members: &[usize]) -> Estimate {
        let sum = |sample: &Vec<f64>| members.iter().map(|index| sample[*index]).sum();
        let sums: Vec<f64> = self.samples.iter().map(sum).collect();
        Estimate::from_samples(&sums)
    }
}

/// Hutchinson's estimate of the trace, the mean of `z^T A z`, with the trace of every parameter's
/// diagonal block from the same probes: `E z_b^T (A z)_b = tr A_bb`.
///
/// For Rademacher probes the variance of one probe is `2 (|A|_F^2 - sum_i A_ii^2)`. Sums are
/// accumulated in `f64` on the host.
///
/// Cost: one product and one read-back for each probe.
///
/// ```
/// # use burn::nn::{Linear, LinearConfig};
/// # use burn::tensor::{Device, Tensor};
/// use osculate_curvature::{HutchinsonConfig, hutchinson_trace};
/// # use osculate_curvature::{Batched, GradientOracle, Hessian};
/// # let device = Device::flex().autodiff();
/// # let model: Linear = LinearConfig::new(3, 1).with_bias(false).init(&device);
/// # let x = Tensor::<2>::from_data([[1.0, 0.0, 0.0], [0.0, 2.0, 0.0], [0.0, 0.0, 3.0]], &device);
/// # let objective = Batched::new(x, |model: &Linear, x: &Tensor<2>| {
/// #     model.forward(x.clone()).square().sum().mul_scalar(0.5)
/// # });
/// # let oracle = GradientOracle::new(&model, &objective);
/// let hessian = Hessian::new(&oracle)?; // diag(1, 4, 9) for this loss
/// // Signs as probes are exact for a diagonal matrix.
/// let trace = hutchinson_trace(&hessian, &HutchinsonConfig::default())?;
/// assert!((trace.value - 14.0).abs() < 1e-3);
/// assert_eq!(trace.blocks[0].path, "weight");
/// # Ok::<(), osculate_curvature::CurvatureError>(())
/// ```
///
/// # Errors
/// [`CurvatureError::InvalidSetting`], [`CurvatureError::NonFinite`] where a product is not finite,
/// and as the operator's products.
pub fn hutchinson_trace(
    operator: &dyn CurvatureOperator,
    config: &HutchinsonConfig,
) -> Result<TraceEstimate, CurvatureError> {
    let _span = tracing::debug_span!("hutchinson_trace", probes = config.probes).entered();
    config.validate()?;
    let layout = operator.layout();
    let mut samples = Samples::of(&layout);
    let mut tally = Tally::new(config.budget)?;
    let mut ready = VecDeque::new();
    while samples.wants_more(config) {
        if ready.is_empty() {
            ready.extend(config.products(operator, &layout, samples.count(), &mut tally)?);
        }
        let Some((z, product)) = ready.pop_front() else {
            break;
        };
        samples.add(z.block_dots(&product), config, "a probe's quadratic form")?;
    }
    Ok(samples.finish(&layout, config, tally))
}

/// What the probes so far say of every block.
pub(super) struct Samples {
    total: Running,
    blocks: Vec<Running>,
    each: Vec<Vec<f64>>,
    watch: Watch,
    reached: bool,
}

impl Samples {
    pub(super) fn of(layout: &ParamLayout) -> Self {
        Self {
            total: Running::default(),
            blocks: vec![Running::default(); layout.len()],
            each: Vec::new(),
            watch: Watch::default(),
            reached: false,
        }
    }

    pub(super) fn count(&self) -> usize {
        self.total.count
    }

    pub(super) fn wants_more(&self, config: &HutchinsonConfig) -> bool {
        !self.reached && self.total.count < config.probes
    }

    /// Takes what a probe says of each block.
    pub(super) fn add(
        &mut self,
        blocks: Vec<f64>,
        config: &HutchinsonConfig,
        what: &'static str,
    ) -> Result<(), CurvatureError> {
        let sum: f64 = blocks.iter().sum();
        if !sum.is_finite() {
            return Err(CurvatureError::NonFinite { what, value: sum });
        }
        self.total.add(sum);
        for (block, value) in self.blocks.iter_mut().zip(&blocks) {
            block.add(*value);
        }
        self.each.push(blocks);
        if let (Some(tolerance), Some(error)) =
            (config.relative_tolerance, self.total.standard_error())
        {
            let (count, mean) = (self.total.count, self.total.mean);
            self.reached = self.watch.look(tolerance, count, error, mean);
        }
        Ok(())
    }

    pub(super) fn finish(
        self,
        layout: &ParamLayout,
        config: &HutchinsonConfig,
        tally: Tally,
    ) -> TraceEstimate {
        let all = config.relative_tolerance.is_none() && self.total.count == config.probes;
        let standard_error = self.total.standard_error();
        let supported = config.supported(tally.product_error, standard_error, self.total.mean);
        let blocks = layout.entries().iter().zip(&self.blocks);
        TraceEstimate {
            value: self.total.mean,
            standard_error,
            blocks: blocks
                .map(|(entry, block)| BlockTrace {
                    path: entry.path.clone(),
                    value: block.mean,
                    standard_error: block.standard_error(),
                })
                .collect(),
            samples: self.each,
            probes: self.total.count,
            cost: tally.cost,
            product_error: tally.product_error,
            provenance: tally.provenance,
            converged: (self.reached || all) && supported,
        }
    }
}

/// Running mean and sum of squared deviations (Welford), on the host.
#[derive(Debug, Clone, Default)]
struct Running {
    count: usize,
    mean: f64,
    deviations: f64,
}

impl Running {
    fn add(&mut self, x: f64) {
        self.count += 1;
        let delta = x - self.mean;
        self.mean += delta / self.count as f64;
        self.deviations += delta * (x - self.mean);
    }

    fn standard_error(&self) -> Option<f64> {
        let n = self.count as f64;
        (self.count > 1).then(|| (self.deviations / (n * (n - 1.0))).sqrt())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operator::Structure;
    use crate::tally::Budget;
    use crate::testing::{Reflected, layout, mixed};

    #[test]
    fn layers_and_groups_come_from_the_same_probes() {
        let eigenvalues: Vec<f64> = (1..=20).map(|i| 3.0 / f64::from(i) - 0.4).collect();
        let operator = mixed(&eigenvalues, &[3, 5, 4, 8], Structure::Symmetric);
        let diagonal = crate::dense_diagonal(&operator).unwrap();
        let config = HutchinsonConfig {
            probes: 600,
            ..HutchinsonConfig::default()
        };
        let found = hutchinson_trace(&operator, &config).unwrap();
        let exact: Vec<f64> = diagonal
            .tensors()
            .iter()
            .map(|x| x.to_data().iter::<f64>().sum())
            .collect();
        // Two parameters make a layer.
        let layers = found.layers();
        assert_eq!(layers[0].0, "layer0");
        for (layer, exact) in layers
            .iter()
            .zip([exact[0] + exact[1], exact[2] + exact[3]])
        {
            let apart = (layer.1.value - exact) / layer.1.standard_error.unwrap();
            assert!(apart.abs() < 3.5, "{layer:?} {exact}");
        }
        let other = layout(&[1]);
        let layout = operator.layout();
        let group = ParamGroup::from_paths(vec!["layer0.p1", "layer1.p2"]);
        let group = found.group(&layout, &group).unwrap();
        let apart = (group.value - exact[1] - exact[2]) / group.standard_error.unwrap();
        assert!(apart.abs() < 3.5, "{group:?}");
        let error = found
            .group(&layout, &ParamGroup::from_path("layer9.p9"))
            .unwrap_err();
        assert!(matches!(error, CurvatureError::EmptySelection { .. }));
        assert!(found.group(&other, &ParamGroup::all()).is_err());
    }

    #[test]
    fn stopping_early_is_not_stopping_at_luck() {
        let eigenvalues: Vec<f64> = (1..=60)
            .map(|i| if i % 2 == 0 { -0.3 } else { 1.0 } / f64::from(i))
            .collect();
        let truth: f64 = eigenvalues.iter().sum();
        let operator = mixed(&eigenvalues, &[25, 35], Structure::Symmetric);
        let (mut covered, mut within, mut worst) = (0, 0, 0.0_f64);
        for seed in 0..200 {
            let config = HutchinsonConfig {
                probes: 4000,
                relative_tolerance: Some(0.25),
                seed,
                ..HutchinsonConfig::default()
            };
            let found = hutchinson_trace(&operator, &config).unwrap();
            assert!(found.converged);
            let (low, high) = found.estimate().interval(0.95).unwrap();
            covered += usize::from(low <= truth && truth <= high);
            let error = (found.value / truth - 1.0).abs();
            within += usize::from(error <= 2.0 * 0.25);
            worst = worst.max(error);
        }
        let rate = covered as f64 / 200.0;
        assert!(rate >= 0.9, "{rate}");
        assert!(within >= 190 && worst < 1.0, "{within} {worst}");
    }

    #[test]
    fn budgets_leave_probes_out() {
        let operator = mixed(&[3.0, 1.0, -2.0, 0.5], &[4], Structure::Symmetric);
        let config = HutchinsonConfig {
            budget: Budget::products(5),
            ..HutchinsonConfig::default()
        };
        let found = hutchinson_trace(&operator, &config).unwrap();
        assert!(found.probes == 5 && !found.converged);
        let found = crate::hutchinson_diagonal(&operator, &config).unwrap();
        assert!(found.probes == 5 && !found.converged);
    }

    #[test]
    fn intervals_cover_on_a_large_matrix_for_all_estimators() {
        let n = 3000;
        let operator = Reflected::new(&layout(&[n / 3, 2 * n / 3]), |i| {
            let sign = if i % 5 == 4 { -0.5 } else { 1.0 };
            sign * 10.0 / (1.0 + i as f64)
        });
        let truth = operator.trace();
        let mut covered = [0; 4];
        for seed in 0..400 {
            let plain = HutchinsonConfig {
                probes: 12,
                seed,
                ..HutchinsonConfig::default()
            };
            let sketch = crate::SketchConfig {
                products: 18,
                seed,
                ..crate::SketchConfig::default()
            };
            let krylov = crate::KrylovTraceConfig {
                steps: 8,
                probes: 8,
                seed,
                ..crate::KrylovTraceConfig::default()
            };
            let all = [
                hutchinson_trace(&operator, &plain).unwrap().estimate(),
                crate::hutch_pp(&operator, &sketch).unwrap().estimate,
                crate::xtrace(&operator, &sketch).unwrap().estimate,
                crate::krylov_trace(&operator, &krylov).unwrap().estimate,
            ];
            for (count, estimate) in covered.iter_mut().zip(all) {
                let (low, high) = estimate.interval(0.95).unwrap();
                *count += usize::from(low <= truth && truth <= high);
            }
        }
        for count in covered {
            let rate = count as f64 / 400.0;
            assert!((rate - 0.95).abs() <= 0.05, "{covered:?}");
        }
    }
}
