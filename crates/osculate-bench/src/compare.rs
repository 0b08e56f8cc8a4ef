//! What has changed between two results.

use crate::analysis::{Cost, Difference, EntrantResults, Results, RunResult, WorkloadResults};
use crate::report::{Column, Grid};
use crate::stats::paired_test;
use crate::trial::Environment;
use crate::workload::Metric;

/// Two results, optimizer by optimizer.
#[derive(Debug, Clone, PartialEq)]
pub struct Comparison {
    /// One row for each workload and optimizer that both have.
    pub rows: Vec<Change>,
    /// Workloads and optimizers that only the earlier has.
    pub missing: Vec<String>,
    /// Workloads and optimizers that only the later has.
    pub new: Vec<String>,
    /// What makes the comparison doubtful.
    pub warnings: Vec<String>,
}

/// An optimizer on a workload, before and after.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// Name of the workload.
    pub workload: String,
    /// Name of the optimizer.
    pub label: String,
    /// The workload's metric.
    pub metric: Metric,
    /// Mean last measurements.
    pub last: [Option<f64>; 2],
    /// Median gradient evaluations to the target before, whatever the later target is.
    pub evaluations: [Option<f64>; 2],
    /// Step times over the baseline's.
    pub step_ratio: [Option<f64>; 2],
    /// Seeds whose run finished before, and after does not or is missing.
    pub broken: usize,
    /// Mean difference of the last measurements over the seeds that both have, positive where the later is
    /// better, and its p-value.
    pub difference: Option<(f64, f64)>,
}

/// Compares two results.
pub fn compare(before: &Results, after: &Results) -> Comparison {
    let mut comparison = Comparison {
        rows: Vec::new(),
        missing: Vec::new(),
        new: Vec::new(),
        warnings: Vec::new(),
    };
    for old in &before.workloads {
        let name = &old.about.name;
        let Some(new) = after.workloads.iter().find(|new| new.about.name == *name) else {
            comparison.missing.push(format!("{name}: only before"));
            continue;
        };
        if old.steps != new.steps {
            comparison.warnings.push(format!(
                "{name}: runs have {} steps before and {} after",
                old.steps, new.steps
            ));
        }
        if !measured_alike(old, new) {
            comparison.warnings.push(format!(
                "{name}: what is measured, or on what data, has changed; differences are left out"
            ));
        }
        for entrant in &old.entrants {
            match new.entrant(&entrant.label) {
                Some(other) => comparison.rows.push(change(old, entrant, new, other)),
                None => comparison
                    .missing
                    .push(format!("{name}, {}: only before", entrant.label)),
            }
        }
        for entrant in new
            .entrants
            .iter()
            .filter(|e| old.entrant(&e.label).is_none())
        {
            comparison
                .new
                .push(format!("{name}, {}: only after", entrant.label));
        }
    }
    let only_after = |new: &&WorkloadResults| {
        !before
            .workloads
            .iter()
            .any(|old| old.about.name == new.about.name)
    };
    for new in after.workloads.iter().filter(only_after) {
        comparison
            .new
            .push(format!("{}: only after", new.about.name));
    }
    for (which, results) in [("before", before), ("after", after)] {
        if !results.complete {
            comparison
                .warnings
                .push(format!("the results {which} are partial"));
        }
    }
    if before.budget != after.budget {
        comparison
            .warnings
            .push("the budgets of tuning and runs differ".to_string());
    }
    let machine = |one: &Environment| (one.device.clone(), one.processor.clone(), one.cores);
    let first = machine(&before.environment);
    let mut machines = [before, after].into_iter().flat_map(|results| {
        std::iter::once(&results.environment).chain(&results.other_environments)
    });
    if machines.any(|one| machine(one) != first) {
        comparison
            .warnings
            .push("the machines differ: seconds cannot be compared".to_string());
    }
    comparison
}

/// Whether two results measure the same thing on the same data.
fn measured_alike(old: &WorkloadResults, new: &WorkloadResults) -> bool {
    (&old.about.metric, &old.about.data) == (&new.about.metric, &new.about.data)
}

fn change(
    old: &WorkloadResults,
    before: &EntrantResults,
    new: &WorkloadResults,
    after: &EntrantResults,
) -> Change {
    let metric = &old.about.metric;
    let evaluations = |results: &EntrantResults| {
        results
            .reached
            .and_then(|reached| reached.median(Cost::Evaluations))
    };
    let same_target = old.target == new.target;
    let comparable = measured_alike(old, new);
    let later = |run: &RunResult| after.runs.iter().find(|other| other.seed == run.seed);
    let broken = before
        .runs
        .iter()
        .filter(|run| run.last.is_some() && later(run).is_none_or(|other| other.last.is_none()))
        .count();
    let sign = if metric.higher_is_better { 1.0 } else { -1.0 };
    let differences: Vec<f64> = before
        .runs
        .iter()
        .filter_map(|run| Some(sign * (later(run)?.last? - run.last?)))
        .collect();
    Change {
        workload: old.about.name.clone(),
        label: before.label.clone(),
        metric: metric.clone(),
        last: [before, after].map(|e| e.last.map(|last| last.estimate)),
        evaluations: if same_target {
            [evaluations(before), evaluations(after)]
        } else {
            [None, None]
        },
        step_ratio: [before.step_ratio, after.step_ratio],
        broken,
        difference: paired_test(&differences)
            .filter(|_| comparable)
            .map(|test| (test.mean, test.p)),
    }
}

impl Comparison {
    /// The rows as a table.
    pub fn table(&self) -> Grid {
        let mut grid = Grid::new([
            Column::new("workload, optimizer"),
            Column::new("last before"),
            Column::new("last after"),
            Column::new("change"),
            Column::new("p"),
            Column::new("gradients before").spare(1),
            Column::new("gradients after").spare(2),
            Column::new("step time before").spare(1),
            Column::new("step time after").spare(2),
        ]);
        let nothing = || "—".to_string();
        for row in &self.rows {
            let shown = |value: Option<f64>| value.map_or_else(nothing, |v| row.metric.show(v));
            let count = |value: Option<f64>| value.map_or_else(nothing, |v| format!("{v:.0}"));
            let ratio = |value: Option<f64>| value.map_or_else(nothing, |v| format!("{v:.2}x"));
            let (change, p) = row.difference.map_or_else(
                || (nothing(), nothing()),
                |(mean, p)| {
                    let by = row.metric.show(mean.abs());
                    let text = match Difference::of(mean, p, mean == 0.0) {
                        Difference::Tied => "tied".to_string(),
                        Difference::None if mean > 0.0 => format!("none (better by {by})"),
                        Difference::None => format!("none (worse by {by})"),
                        beyond => format!("{} by {by}", beyond.word()),
                    };
                    (text, format!("{p:.3}"))
                },
            );
            grid.rows.push(vec![
                format!("{}, {}", row.workload, row.label),
                shown(row.last[0]),
                shown(row.last[1]),
                change,
                p,
                count(row.evaluations[0]),
                count(row.evaluations[1]),
                ratio(row.step_ratio[0]),
                ratio(row.step_ratio[1]),
            ]);
        }
        grid.without_empty_columns()
    }

    /// The rows that are worse with a p-value of at most this, and those with a run that finished before and
    /// no longer does or is not there, which needs no test.
    pub fn regressions(&self, p: f64) -> Vec<&Change> {
        let worse = |change: &&Change| {
            let by_chance = change
                .difference
                .is_none_or(|(mean, found)| mean >= 0.0 || found > p);
            change.broken > 0 || !by_chance
        };
        self.rows.iter().filter(worse).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::{EntrantInput, entrant_results};
    use crate::trial::{Point, Trial, TrialSpec};
    use crate::workload::About;

    fn results(lasts: &[f64]) -> Results {
        let about = About::new("w", "W", Metric::accuracy("accuracy"), 2);
        let trials: Vec<Trial> = (0..)
            .zip(lasts)
            .map(|(seed, last)| {
                let spec = TrialSpec::new("w", "sam".parse().unwrap(), 0.1, 1).with_seed(seed);
                let mut trial = Trial::new(spec);
                trial.points = vec![Point {
                    step: 1,
                    evaluations: 2.0,
                    seconds: 1.0,
                    cpu_seconds: None,
                    train_loss: None,
                    metric: Some(*last),
                }];
                trial
            })
            .collect();
        let input = EntrantInput {
            label: "sam",
            tuning: Vec::new(),
            runs: trials.iter().collect(),
            baseline: Vec::new(),
            step_ratio: Some(2.0),
            cpu_time: false,
        };
        Results {
            title: String::new(),
            command: String::new(),
            environment: Environment::current(&burn::tensor::Device::flex()),
            other_environments: Vec::new(),
            budget: None,
            baseline: "sam".to_string(),
            seeds: Vec::new(),
            complete: true,
            cpu_time: false,
            elapsed: None,
            processor_seconds: None,
            workloads: vec![WorkloadResults {
                steps: 1,
                parameters: 1,
                tuned_apart: true,
                target: Some(0.5),
                entrants: vec![entrant_results(&input, &about, Some(0.5))],
                about,
            }],
            standings: Vec::new(),
        }
    }

    #[test]
    fn a_loss_on_every_seed_is_a_regression() {
        let before = results(&[0.90, 0.91, 0.92, 0.93, 0.94, 0.95]);
        let after = results(&[0.80, 0.82, 0.83, 0.80, 0.84, 0.85]);
        let found = compare(&before, &after);
        assert!(
            found.missing.is_empty() && found.new.is_empty() && found.warnings.is_empty(),
            "{found:?}"
        );
        let (mean, p) = found.rows[0].difference.unwrap();
        assert!(mean < -0.09 && (p - 2.0 / 64.0).abs() < 1e-12, "{mean} {p}");
        assert_eq!(found.rows[0].evaluations, [Some(2.0), Some(2.0)]);
        assert_eq!(
            (found.regressions(0.05).len(), found.regressions(0.01).len()),
            (1, 0)
        );
        assert!(compare(&after, &before).regressions(0.05).is_empty());
        let same = compare(&before, &before);
        assert_eq!(same.rows[0].difference, Some((0.0, 1.0)));
        assert!(same.table().rows[0][3] == "tied", "{:?}", same.table());
    }

    #[test]
    fn runs_that_no_longer_finish_are_a_regression_without_a_test() {
        let before = results(&[0.90, 0.91]);
        let count =
            |before: &Results, after: &Results| compare(before, after).regressions(0.001).len();
        let mut missing = before.clone();
        missing.workloads[0].entrants[0].runs.pop();
        assert_eq!((count(&before, &missing), count(&missing, &before)), (1, 0));
        let mut diverged = before.clone();
        diverged.workloads[0].entrants[0].runs[1].last = None;
        assert_eq!(
            (count(&before, &diverged), count(&diverged, &before)),
            (1, 0)
        );
    }

    #[test]
    fn what_is_measured_otherwise_is_not_compared() {
        let before = results(&[0.90, 0.91]);
        let mut after = before.clone();
        after.workloads[0].about.metric.name = "another".to_string();
        let found = compare(&before, &after);
        assert_eq!(found.rows[0].difference, None);
        assert!(
            found.warnings[0].contains("has changed"),
            "{:?}",
            found.warnings
        );
    }

    #[test]
    fn what_only_one_has_is_named() {
        let mut other = results(&[0.9]);
        other.workloads[0].about.name = "v".to_string();
        other.complete = false;
        let found = compare(&results(&[0.9]), &other);
        assert_eq!(found.missing, ["w: only before"]);
        assert_eq!(found.new, ["v: only after"]);
        assert_eq!(found.warnings, ["the results after are partial"]);
    }
}
