use serde::{Deserialize, Serialize};

use super::{Cost, EntrantResults, WorkloadResults};
use crate::stats::{Profile, paired_test, profiles};

/// Largest factor of the performance profiles, as in AlgoPerf.
pub const LARGEST_FACTOR: f64 = 4.0;

/// One optimizer over all workloads.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Standing {
    /// Name of the optimizer.
    pub label: String,
    /// Profile over steps.
    pub steps: Profile,
    /// Profile over gradient evaluations.
    pub evaluations: Profile,
    /// Profile over seconds, whose score orders the table.
    pub seconds: Profile,
    /// Workloads on which at least half of the runs reached the target.
    pub reached: usize,
    /// Pairs of seeds, over all workloads, in which the last measurement is better than the baseline's.
    pub wins: usize,
    /// Pairs in which it is worse.
    pub losses: usize,
    /// Two-sided p-value of the permutation test of the workloads, each with its wins less its losses over its
    /// pairs: seeds of one workload share a tuned rate and are no independent witnesses. `None` for the
    /// baseline itself.
    pub p: Option<f64>,
}

impl Standing {
    /// The profile in one measure.
    pub fn profile(&self, cost: Cost) -> &Profile {
        match cost {
            Cost::Steps => &self.steps,
            Cost::Evaluations => &self.evaluations,
            Cost::Seconds => &self.seconds,
        }
    }
}

/// Seeds won and lost against the baseline on a workload, and pairs of seeds. An optimizer of which no tuning
/// trial finished has no runs: it loses every seed to one that has.
fn score(own: &EntrantResults, baseline: &EntrantResults) -> Option<(usize, usize, usize)> {
    if own.label == baseline.label {
        return None;
    }
    if let Some(paired) = own.paired {
        return Some((paired.wins, paired.losses, paired.test.pairs));
    }
    let failed = |results: &EntrantResults| results.failure.is_some() && results.runs.is_empty();
    let (own_runs, baseline_runs) = (own.runs.len(), baseline.runs.len());
    if failed(own) && baseline_runs > 0 {
        Some((0, baseline_runs, baseline_runs))
    } else if failed(baseline) && own_runs > 0 {
        Some((own_runs, 0, own_runs))
    } else {
        None
    }
}

/// The optimizers in the order of their scores over seconds, with profiles over all workloads that have a
/// target.
pub fn standings(
    labels: &[String],
    baseline: &str,
    workloads: &[WorkloadResults],
) -> Vec<Standing> {
    let counted: Vec<&WorkloadResults> = workloads.iter().filter(|w| w.target.is_some()).collect();
    let of = |cost: Cost| {
        let times: Vec<Vec<Option<f64>>> = labels
            .iter()
            .map(|label| {
                let time = |w: &&WorkloadResults| w.entrant(label)?.reached?.median(cost);
                counted.iter().map(time).collect()
            })
            .collect();
        profiles(&times, LARGEST_FACTOR)
    };
    let mut per_cost = Cost::ALL.map(|cost| of(cost).into_iter());
    let mut found: Vec<Standing> = labels
        .iter()
        .filter_map(|label| {
            let [steps, evaluations, seconds] = &mut per_cost;
            let scores: Vec<(usize, usize, usize)> = workloads
                .iter()
                .filter_map(|w| score(w.entrant(label)?, w.entrant(baseline)?))
                .collect();
            let (wins, losses) = scores
                .iter()
                .fold((0, 0), |sum, score| (sum.0 + score.0, sum.1 + score.1));
            let ahead: Vec<f64> = scores
                .iter()
                .map(|&(wins, losses, pairs)| (wins as f64 - losses as f64) / pairs as f64)
                .collect();
            Some(Standing {
                label: label.clone(),
                reached: counted
                    .iter()
                    .filter_map(|w| w.entrant(label)?.reached?.median(Cost::Steps))
                    .count(),
                steps: steps.next()?,
                evaluations: evaluations.next()?,
                seconds: seconds.next()?,
                wins,
                losses,
                p: paired_test(&ahead).map(|test| test.p),
            })
        })
        .collect();
    found.sort_by(|a, b| {
        let by_score = b.seconds.score.total_cmp(&a.seconds.score);
        by_score.then(b.evaluations.score.total_cmp(&a.evaluations.score))
    });
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::entrant::tests::trial;
    use crate::analysis::{EntrantInput, entrant_results};
    use crate::trial::{Outcome, Trial};
    use crate::workload::{About, Metric};

    /// A workload with what the baseline, another optimizer and one that never finishes came to.
    fn workload(name: &str, baseline: &[Trial], other: &[Trial]) -> WorkloadResults {
        let about = About::new(name, "W", Metric::accuracy("accuracy"), 1);
        let mut broken = trial(9, &[0.1, 0.2]);
        broken.outcome = Outcome::Diverged;
        let entrant = |label: &str, tuning: Vec<&Trial>, runs: &[Trial]| {
            let input = EntrantInput {
                label,
                tuning,
                runs: runs.iter().collect(),
                baseline: if label == "adamw" {
                    Vec::new()
                } else {
                    baseline.iter().collect()
                },
                step_ratio: None,
                cpu_time: false,
            };
            entrant_results(&input, &about, Some(0.5))
        };
        WorkloadResults {
            steps: 1,
            parameters: 1,
            target: Some(0.5),
            tuned_apart: true,
            entrants: vec![
                entrant("adamw", Vec::new(), baseline),
                entrant("other", Vec::new(), other),
                entrant("broken", vec![&broken], &[]),
            ],
            about,
        }
    }

    #[test]
    fn a_workload_counts_once_and_an_optimizer_that_never_finishes_loses() {
        let runs = |last: f64| [0, 1].map(|seed| trial(seed, &[0.1, last]));
        let workloads = ["a", "b", "c"].map(|name| workload(name, &runs(0.6), &runs(0.7)));
        let labels = ["adamw", "other", "broken"].map(String::from);
        let found = standings(&labels, "adamw", &workloads);
        let of = |label: &str| found.iter().find(|s| s.label == label).unwrap();
        let numbers = |label: &str| (of(label).wins, of(label).losses, of(label).p);
        // Of three workloads the signs of all are alike in 2 of 8 choices, however many seeds there are.
        assert_eq!(numbers("other"), (6, 0, Some(0.25)));
        assert_eq!(numbers("broken"), (0, 6, Some(0.25)));
        assert_eq!(numbers("adamw"), (0, 0, None));
    }
}
