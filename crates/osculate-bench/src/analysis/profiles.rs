use serde::{Deserialize, Serialize};

use super::{Cost, WorkloadResults};
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
            let pairs = || workloads.iter().filter_map(|w| w.entrant(label)?.paired);
            let (wins, losses) = pairs().fold((0, 0), |(wins, losses), paired| {
                (wins + paired.wins, losses + paired.losses)
            });
            let ahead: Vec<f64> = pairs()
                .map(|paired| {
                    (paired.wins as f64 - paired.losses as f64) / paired.test.pairs as f64
                })
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
                p: paired_test(&ahead)
                    .filter(|_| label != baseline)
                    .map(|test| test.p),
            })
        })
        .collect();
    found.sort_by(|a, b| {
        let by_score = b.seconds.score.total_cmp(&a.seconds.score);
        by_score.then(b.evaluations.score.total_cmp(&a.evaluations.score))
    });
    found
}
