use std::collections::VecDeque;

use burn::module::ParamGroup;

use super::{Estimate, HutchinsonConfig, Watch};
use crate::cost::Cost;
use crate::error::CurvatureError;
use crate::operator::{CurvatureOperator, larger};
use crate::params::ParamLayout;

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
    /// Whether the tolerance was reached; `true` where none was asked.
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
    let mut total = Running::default();
    let mut blocks = vec![Running::default(); layout.len()];
    let mut cost = Cost::ZERO;
    let mut product_error = None;
    let mut converged = config.relative_tolerance.is_none();
    let mut samples = Vec::new();
    let mut watch = Watch::default();
    let mut ready = VecDeque::new();
    while total.count < config.probes {
        if ready.is_empty() {
            ready.extend(config.products(operator, &layout, total.count)?);
            cost += ready.iter().map(|(_, product)| product.cost).sum::<Cost>();
        }
        let Some((z, product)) = ready.pop_front() else {
            break;
        };
        product_error = larger(product_error, product.error());
        let dots = z.to_compute_dtype().block_dots(&product.value);
        let sum: f64 = dots.iter().sum();
        if !sum.is_finite() {
            return Err(CurvatureError::NonFinite {
                what: "a probe's quadratic form",
                value: sum,
            });
        }
        total.add(sum);
        for (block, dot) in blocks.iter_mut().zip(&dots) {
            block.add(*dot);
        }
        samples.push(dots);
        if let Some(tolerance) = config.relative_tolerance
            && let Some(error) = total.standard_error()
            && watch.look(tolerance, total.count, error, total.mean)
        {
            converged = true;
            break;
        }
    }
    Ok(TraceEstimate {
        value: total.mean,
        standard_error: total.standard_error(),
        blocks: layout
            .entries()
            .iter()
            .zip(&blocks)
            .map(|(entry, block)| BlockTrace {
                path: entry.path.clone(),
                value: block.mean,
                standard_error: block.standard_error(),
            })
            .collect(),
        samples,
        probes: total.count,
        cost,
        product_error,
        converged,
    })
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
