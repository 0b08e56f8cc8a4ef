use super::entrant::last;
use crate::stats::median;
use crate::trial::Trial;
use crate::workload::{About, TargetRule};

/// The part of the baseline's run within which its best value sets the target.
pub const BASELINE_SHARE: f64 = 0.75;

/// The value that counts as reached on a workload, as its rule says. `None` where the rule asks for the
/// baseline's runs and there are none.
pub fn target(about: &About, baseline: &[&Trial]) -> Option<f64> {
    match about.target {
        TargetRule::Value(value) => return Some(value),
        TargetRule::BaselineEnd => {
            let ends = baseline.iter().filter_map(|trial| last(trial));
            let worse = |a, b| if about.metric.better(a, b) == a { b } else { a };
            return ends.reduce(worse);
        }
        TargetRule::Baseline => {}
    }
    let best: Vec<f64> = baseline
        .iter()
        .filter_map(|trial| {
            let share = BASELINE_SHARE * trial.spec.steps as f64;
            let points = trial
                .points
                .iter()
                .filter(|point| point.step as f64 <= share);
            let values = points.filter_map(|point| point.metric);
            values.reduce(|a, b| about.metric.better(a, b))
        })
        .collect();
    median(&best)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::entrant::tests::trial;
    use crate::workload::Metric;

    #[test]
    fn the_target_is_the_median_of_what_the_baseline_reached() {
        let about = About::new("w", "W", Metric::accuracy("accuracy"), 4);
        let runs = [
            trial(0, &[0.0, 0.5, 0.4, 0.7, 0.9]),
            trial(1, &[0.0, 0.5, 0.8, 0.6, 0.9]),
            trial(2, &[0.0, 0.5, 0.6, 0.6, 0.8]),
        ];
        let refs: Vec<&Trial> = runs.iter().collect();
        assert_eq!(target(&about, &refs), Some(0.7));
        assert_eq!(target(&about, &[]), None);
        let ends = about.clone().with_target(TargetRule::BaselineEnd);
        assert_eq!(target(&ends, &refs), Some(0.8), "all end there or beyond");
        assert_eq!(target(&ends, &[]), None);
        let fixed = about.with_target(TargetRule::Value(0.95));
        assert_eq!(target(&fixed, &[]), Some(0.95));
    }
}
