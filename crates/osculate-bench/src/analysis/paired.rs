use serde::{Deserialize, Serialize};

use super::entrant::last;
use crate::stats::{PairedTest, paired_test};
use crate::trial::Trial;
use crate::workload::About;

/// The last measurements against the baseline's, seed by seed.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Paired {
    /// Differences, and how likely they are by chance; positive is better than the baseline.
    #[serde(flatten)]
    pub test: PairedTest,
    /// Seeds on which it is better.
    pub wins: usize,
    /// Seeds on which it is worse.
    pub losses: usize,
}

/// Compares runs with the baseline's; `None` where one is missing or did not finish.
///
/// On a logarithmic metric differences are those of logarithms, so that a seed with a large error does not
/// decide alone.
pub(super) fn paired(runs: &[&Trial], baseline: &[&Trial], about: &About) -> Option<Paired> {
    let metric = &about.metric;
    let scale = |value: f64| {
        if metric.logarithmic {
            value.ln()
        } else {
            value
        }
    };
    let sign = if metric.higher_is_better { 1.0 } else { -1.0 };
    let differences = runs
        .iter()
        .map(|run| {
            let other = baseline
                .iter()
                .find(|other| other.spec.seed == run.spec.seed)?;
            Some(sign * (scale(last(run)?) - scale(last(other)?)))
        })
        .collect::<Option<Vec<f64>>>()?;
    Some(Paired {
        test: paired_test(&differences)?,
        wins: differences.iter().filter(|d| **d > 0.0).count(),
        losses: differences.iter().filter(|d| **d < 0.0).count(),
    })
}
