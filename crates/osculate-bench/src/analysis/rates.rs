use serde::{Deserialize, Serialize};

use super::arrival::{Cost, Reached, reached, sooner};
use super::entrant::last;
use crate::stats::mean;
use crate::trial::Trial;
use crate::workload::About;

/// What an optimizer came to in a race at one of several learning rates.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RateResult {
    /// Peak learning rate.
    pub lr: f64,
    /// How many runs there are.
    pub runs: usize,
    /// Mean over the seeds of the last measurement; `None` where a run did not finish.
    pub last: Option<f64>,
    /// When the target was reached; `None` without a target.
    pub reached: Option<Reached>,
}

impl RateResult {
    /// What the runs at one rate came to; `None` of no runs.
    pub fn of(runs: &[&Trial], about: &About, target: Option<f64>) -> Option<Self> {
        let lasts: Vec<f64> = runs.iter().filter_map(|trial| last(trial)).collect();
        Some(Self {
            lr: runs.first()?.spec.lr,
            runs: runs.len(),
            last: mean(&lasts).filter(|_| lasts.len() == runs.len()),
            reached: target.and_then(|target| reached(runs, about, target, false)),
        })
    }

    /// The one that reaches the target in the fewest steps; where none does or several are as fast, among
    /// them the one with the best last measurement.
    pub fn fastest<'a>(all: &'a [Self], about: &About) -> Option<&'a Self> {
        let key = |one: &Self| {
            let steps = one.reached.and_then(|reached| reached.median(Cost::Steps));
            [steps, one.last]
        };
        all.iter()
            .min_by(|a, b| sooner(&about.metric, key(a), key(b)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::entrant::tests::trial;
    use crate::workload::Metric;

    #[test]
    fn the_fastest_rate_reaches_the_target_first() {
        let about = About::new("w", "W", Metric::accuracy("accuracy"), 4);
        // By rate: early and low at the end, late and high, never.
        let curves = [
            [0.0, 0.8, 0.8, 0.8, 0.8],
            [0.0, 0.5, 0.6, 0.9, 0.9],
            [0.0, 0.5, 0.5, 0.5, 0.7],
        ];
        let made: Vec<Trial> = (0..3)
            .map(|index| {
                let mut made = trial(0, &curves[index]);
                made.spec.lr = [0.1, 0.2, 0.3][index];
                made
            })
            .collect();
        let results = |target| -> Vec<RateResult> {
            let one = |run| RateResult::of(&[run], &about, target).unwrap();
            made.iter().map(one).collect()
        };
        let fastest = |target| RateResult::fastest(&results(target), &about).unwrap().lr;
        assert_eq!(fastest(Some(0.75)), 0.1);
        assert_eq!(fastest(Some(0.85)), 0.2);
        assert_eq!(fastest(Some(0.95)), 0.2, "none is there, so the best end");
        assert_eq!(fastest(None), 0.2);
        assert!(RateResult::of(&[], &about, None).is_none());
    }
}
