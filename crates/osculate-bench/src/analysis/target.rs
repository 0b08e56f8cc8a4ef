use crate::stats::median;
use crate::trial::Trial;
use crate::workload::{About, TargetRule};

/// The part of the baseline's run within which its best value sets the target.
pub const BASELINE_SHARE: f64 = 0.75;

/// The value that counts as reached on a workload: what the workload says, or the median over the
/// baseline's runs of the best value within the first three quarters. `None` without such runs.
pub fn target(about: &About, baseline: &[&Trial]) -> Option<f64> {
    if let TargetRule::Value(value) = about.target {
        return Some(value);
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
            trial(2, &[0.0, 0.5, 0.6, 0.6, 0.9]),
        ];
        let refs: Vec<&Trial> = runs.iter().collect();
        assert_eq!(target(&about, &refs), Some(0.7));
        assert_eq!(target(&about, &[]), None);
        let fixed = about.with_target(TargetRule::Value(0.95));
        assert_eq!(target(&fixed, &[]), Some(0.95));
    }
}
