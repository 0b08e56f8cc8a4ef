//! Diagonals and traces from random probes.

mod diagonal;
mod gnb;
mod trace;

pub use diagonal::{DiagonalEstimate, hutchinson_abs, hutchinson_diagonal};
pub use gnb::{GnbConfig, gnb_diagonal, gnb_sample};
pub use trace::{BlockTrace, TraceEstimate, hutchinson_trace};

use std::sync::Arc;

use crate::error::CurvatureError;
use crate::operator::{CurvatureOperator, Product};
use crate::params::{ParamLayout, ParamVec, random};

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
}

/// Settings of the Hutchinson estimators.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct HutchinsonConfig {
    /// Largest number of probes, each of which costs one product. Default 32.
    pub probes: usize,
    /// Stops as soon as the standard error is below this fraction of the estimate. Default `None`:
    /// all probes are used.
    ///
    /// It is the standard error that is watched, never the change of the running mean, which
    /// becomes small by chance. So does the standard error of few probes: it must be small twice in a
    /// row, from eight probes on, and counts for as much more as the quantile of Student's t
    /// distribution is wider than the normal one.
    pub relative_tolerance: Option<f64>,
    /// Distribution of the probes. Default Rademacher.
    pub distribution: ProbeDistribution,
    /// Seed of the probes. Default 0.
    pub seed: u64,
}

impl Default for HutchinsonConfig {
    fn default() -> Self {
        Self {
            probes: 32,
            relative_tolerance: None,
            distribution: ProbeDistribution::Rademacher,
            seed: 0,
        }
    }
}

/// Fewest probes whose standard error is trusted to stop.
const FEWEST_PROBES: usize = 8;
/// Fraction of an estimate beyond which the products' error spoils it, where no tolerance is set.
const SPOILT: f64 = 0.1;

/// How often in a row an estimate was good enough to stop.
#[derive(Debug, Default)]
struct Looks(u32);

/// The 97.5 % quantile of Student's t distribution over that of the normal distribution, by the
/// expansion of Cornish and Fisher: within 1 % from seven degrees of freedom on.
fn student(degrees: usize) -> f64 {
    let (z, v) = (1.959_964_f64, degrees as f64);
    let first = (z.powi(2) + 1.0) / (4.0 * v);
    let second = (5.0 * z.powi(4) + 16.0 * z.powi(2) + 3.0) / (96.0 * v * v);
    1.0 + first + second
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
    fn products(
        &self,
        operator: &dyn CurvatureOperator,
        layout: &Arc<ParamLayout>,
        from: usize,
    ) -> Result<Vec<(ParamVec, Product)>, CurvatureError> {
        let count = operator.width().clamp(1, self.probes - from);
        let probes: Vec<ParamVec> = (from..from + count).map(|i| self.draw(layout, i)).collect();
        let products = match probes.as_slice() {
            [probe] => vec![operator.apply_probe(probe)?],
            several => operator.apply_many(several)?,
        };
        Ok(probes.into_iter().zip(products).collect())
    }

    /// Whether an estimate with this standard error is good enough to stop.
    fn reached(&self, looks: &mut Looks, probes: usize, standard_error: f64, value: f64) -> bool {
        let small = probes >= FEWEST_PROBES
            && self.relative_tolerance.is_some_and(|tolerance| {
                standard_error * student(probes - 1) <= tolerance * value.abs()
            });
        looks.0 = if small { looks.0 + 1 } else { 0 };
        looks.0 >= 2
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
