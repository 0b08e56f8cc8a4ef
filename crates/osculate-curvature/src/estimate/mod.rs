//! Diagonals and traces from random probes.

mod confidence;
mod diagonal;
mod factor_trace;
mod frobenius;
mod gnb;
mod hutch_pp;
mod krylov_trace;
mod sketch;
mod trace;
mod xdiag;
mod xnystrace;
mod xtrace;

pub use confidence::Estimate;
pub use diagonal::{DiagonalEstimate, hutchinson_abs, hutchinson_diagonal};
pub use factor_trace::factor_trace;
pub use frobenius::{BlockMasses, block_masses, squared_frobenius_norm};
pub use gnb::{GnbConfig, gnb_diagonal, gnb_sample};
pub use hutch_pp::hutch_pp;
pub use krylov_trace::{KrylovTraceConfig, krylov_trace};
pub use sketch::{SketchConfig, SketchedTrace};
pub use trace::{BlockTrace, TraceEstimate, hutchinson_trace};
pub use xdiag::xdiag;
pub use xnystrace::xnystrace;
pub use xtrace::xtrace;

use std::sync::Arc;

use crate::error::CurvatureError;
use crate::operator::CurvatureOperator;
use crate::params::{ParamLayout, ParamVec, random};
use crate::tally::{Budget, Tally};

/// Distribution of a random probe. Both have zero mean, unit variance and independent elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ProbeDistribution {
    /// +1 or -1 with equal probability: the smaller variance, exact for diagonal matrices.
    #[default]
    Rademacher,
    /// Standard normal.
    Gaussian,
}

impl ProbeDistribution {
    /// Draws probe number `index` of a seed. It is the same on every device and backend.
    pub fn draw(self, layout: &Arc<ParamLayout>, seed: u64, index: u64) -> ParamVec {
        let seed = random::mix(seed, index);
        match self {
            ProbeDistribution::Rademacher => ParamVec::rademacher(layout, seed),
            ProbeDistribution::Gaussian => ParamVec::gaussian(layout, seed),
        }
    }

    /// The same with one number for each row of a [`Factor`](crate::Factor).
    fn draw_rows(self, rows: usize, seed: u64, index: u64) -> Vec<f64> {
        let seed = random::mix(seed, index);
        match self {
            ProbeDistribution::Rademacher => random::signs(rows, seed),
            ProbeDistribution::Gaussian => random::normals(rows, seed),
        }
    }
}

/// Settings of the Hutchinson estimators.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct HutchinsonConfig {
    /// Largest number of probes, each of which costs one product. Default 32.
    pub probes: usize,
    /// Stops as soon as the standard error is below this fraction of the estimate twice in a row,
    /// after at least eight probes. Default `None`: all probes are used.
    ///
    /// It is the standard error that is watched, never the change of the running mean, which
    /// becomes small by chance. That of few probes is too small: it counts as many times itself as
    /// the [interval](Estimate::half_width) for its number of probes is wider than a normal one.
    pub relative_tolerance: Option<f64>,
    /// Distribution of the probes. Default Rademacher.
    pub distribution: ProbeDistribution,
    /// Seed of the probes. Default 0.
    pub seed: u64,
    /// What may be spent: fewer probes are drawn where it does not cover all. Default: no limit.
    pub budget: Budget,
}

impl Default for HutchinsonConfig {
    fn default() -> Self {
        Self {
            probes: 32,
            relative_tolerance: None,
            distribution: ProbeDistribution::Rademacher,
            seed: 0,
            budget: Budget::default(),
        }
    }
}

/// Fewest probes whose standard error is trusted to stop.
const FEWEST_PROBES: usize = 8;
/// Fraction of an estimate beyond which the products' error spoils it, where no tolerance is set.
const SPOILT: f64 = 0.1;
/// Half the width of the 95 % interval of a normal number, in standard deviations.
const NORMAL: f64 = 1.959_963_985;

/// Watches the standard error of a growing number of probes. One look that is good enough may be
/// luck.
#[derive(Debug, Clone, Copy, Default)]
struct Watch {
    good_looks: usize,
}

impl Watch {
    /// Takes a look, and says whether the estimate is good enough to stop.
    fn look(&mut self, tolerance: f64, probes: usize, standard_error: f64, value: f64) -> bool {
        let half = confidence::half_width(standard_error, probes, 0.95);
        let good = probes >= FEWEST_PROBES
            && half.is_some_and(|half| half <= NORMAL * tolerance * value.abs());
        self.good_looks = if good { self.good_looks + 1 } else { 0 };
        self.good_looks >= 2
    }
}

impl HutchinsonConfig {
    fn validate(&self) -> Result<(), CurvatureError> {
        CurvatureError::check(self.probes > 0, "probes", self.probes, "at least one probe")?;
        let tolerance = self.relative_tolerance.unwrap_or(1.0);
        CurvatureError::check(
            tolerance.is_finite() && tolerance > 0.0,
            "relative_tolerance",
            tolerance,
            "a positive finite number",
        )
    }

    fn draw(&self, layout: &Arc<ParamLayout>, index: usize) -> ParamVec {
        self.distribution.draw(layout, self.seed, index as u64)
    }

    /// Draws the probes from number `from` on that are best multiplied at once, with their products.
    /// Empty where the budget does not cover them.
    fn products(
        &self,
        operator: &dyn CurvatureOperator,
        layout: &Arc<ParamLayout>,
        from: usize,
        tally: &mut Tally,
    ) -> Result<Vec<(ParamVec, ParamVec)>, CurvatureError> {
        let count = tally.at_once(operator.width().clamp(1, self.probes - from));
        let probes: Vec<ParamVec> = (from..from + count).map(|i| self.draw(layout, i)).collect();
        let products = match probes.as_slice() {
            [] => return Ok(Vec::new()),
            [probe] => vec![operator.apply_probe(probe)?],
            several => operator.apply_many(several)?,
        };
        probes
            .into_iter()
            .zip(products)
            .map(|(probe, product)| Ok((probe.to_compute_dtype(), tally.charge(product)?)))
            .collect()
    }

    /// Whether products with this error leave the estimate what it says it is. Warns where they do
    /// not.
    fn supported(
        &self,
        product_error: Option<f64>,
        standard_error: Option<f64>,
        value: f64,
    ) -> bool {
        let allowed = self.relative_tolerance.unwrap_or(SPOILT) * value.abs();
        let allowed = allowed.max(standard_error.unwrap_or(0.0));
        let spoilt = |error: &f64| error.is_nan() || *error > allowed;
        let Some(error) = product_error.filter(spoilt) else {
            return true;
        };
        tracing::warn!(
            error,
            allowed,
            "products by finite differences are off by more than the estimate allows: hand the \
             batch over (`Batched`, `SupervisedBatch`) for exact ones, or use `GaussNewton`"
        );
        false
    }
}
