use std::collections::VecDeque;

use super::{HutchinsonConfig, Looks};
use crate::cost::Cost;
use crate::error::CurvatureError;
use crate::operator::{CurvatureOperator, Provenance, larger};

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
    /// Number of probes used.
    pub probes: usize,
    /// What it cost.
    pub cost: Cost,
    /// Largest estimated norm of a product's error, by about which every probe is off beside its
    /// random error; `None` where the products are exact or carry no estimate.
    pub product_error: Option<f64>,
    /// How the products were made: exactly, or by differences, then with the longest step and the
    /// largest errors of any.
    pub provenance: Provenance,
    /// Whether the tolerance was reached, by the standard error and by the products: their error is
    /// below it or below the standard error. Where no tolerance was asked, a tenth of the estimate
    /// stands in for it, and the standard error is not asked about.
    pub converged: bool,
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
    let mut provenance = Provenance::Exact;
    let mut converged = config.relative_tolerance.is_none();
    let mut looks = Looks::default();
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
        provenance = provenance.worst(product.provenance);
        let dots = z.to_compute_dtype().block_dots(&product.value);
        let sum: f64 = dots.iter().sum();
        if !sum.is_finite() {
            return Err(CurvatureError::NonFinite {
                what: "a probe's quadratic form",
                value: sum,
            });
        }
        total.add(sum);
        for (block, dot) in blocks.iter_mut().zip(dots) {
            block.add(dot);
        }
        if let Some(error) = total.standard_error()
            && config.reached(&mut looks, total.count, error, total.mean)
        {
            converged = true;
            break;
        }
    }
    let standard_error = total.standard_error();
    let supported = config.supported(product_error, standard_error, total.mean);
    Ok(TraceEstimate {
        value: total.mean,
        standard_error,
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
        probes: total.count,
        cost,
        product_error,
        provenance,
        converged: converged && supported,
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
