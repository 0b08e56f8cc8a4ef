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

/// Compares runs with the baseline's; `None` where one is missing.
///
/// On a logarithmic metric differences are those of logarithms, so that a seed with a large error does not
/// decide alone. A run that diverged or failed is worse than any that did not: its difference is the
/// largest of the others. Two such runs are alike.
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
    let mut differences = runs
        .iter()
        .map(|run| {
            let other = baseline
                .iter()
                .find(|other| other.spec.seed == run.spec.seed)?;
            Some(match (last(run), last(other)) {
                (Some(own), Some(other)) => sign * (scale(own) - scale(other)),
                (Some(_), None) => f64::INFINITY,
                (None, Some(_)) => f64::NEG_INFINITY,
                (None, None) => 0.0,
            })
        })
        .collect::<Option<Vec<f64>>>()?;
    let finite = differences.iter().filter(|d| d.is_finite());
    let largest = finite.map(|d| d.abs()).fold(0.0, f64::max);
    let largest = if largest > 0.0 { largest } else { 1.0 };
    for difference in &mut differences {
        *difference = difference.clamp(-largest, largest);
    }
    Some(Paired {
        test: paired_test(&differences)?,
        wins: differences.iter().filter(|d| **d > 0.0).count(),
        losses: differences.iter().filter(|d| **d < 0.0).count(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::entrant::tests::trial;
    use crate::trial::Outcome;
    use crate::workload::Metric;

    #[test]
    fn a_run_that_diverged_is_a_loss_and_no_missing_pair() {
        let about = About::new("w", "W", Metric::accuracy("accuracy"), 3);
        let baseline = [0, 1, 2].map(|seed| trial(seed, &[0.1, 0.5]));
        let mut runs = [0, 1, 2].map(|seed| trial(seed, &[0.1, 0.6]));
        runs[1].outcome = Outcome::Diverged;
        let compare = |runs: &[Trial; 3], baseline: &[Trial; 3]| {
            let (runs, baseline) = (runs.each_ref(), baseline.each_ref());
            paired(&runs, &baseline, &about).unwrap()
        };
        let found = compare(&runs, &baseline);
        assert_eq!((found.wins, found.losses, found.test.pairs), (2, 1, 3));
        let turned = compare(&baseline, &runs);
        assert_eq!((turned.wins, turned.losses), (1, 2));
        let alike = compare(&runs, &runs);
        assert_eq!((alike.wins, alike.losses), (0, 0));
    }
}
