use serde::Serialize;

use crate::run::{Outcome, Run, median};

/// Mean and standard deviation over seeds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Spread {
    /// Mean.
    pub mean: f64,
    /// Sample standard deviation, 0 for one seed.
    pub deviation: f64,
}

impl Spread {
    /// The spread of some values, or `None` of nothing.
    pub fn of(values: &[f64]) -> Option<Self> {
        let n = values.len() as f64;
        if values.is_empty() {
            return None;
        }
        let mean = values.iter().sum::<f64>() / n;
        let squares: f64 = values.iter().map(|x| (x - mean).powi(2)).sum();
        let deviation = if n > 1.0 {
            (squares / (n - 1.0)).sqrt()
        } else {
            0.0
        };
        Some(Self { mean, deviation })
    }
}

/// One row of the table.
#[derive(Debug, Clone, Serialize, PartialEq)]
pub struct SummaryRow {
    /// Name of the optimizer.
    pub optimizer: &'static str,
    /// Number of runs.
    pub runs: usize,
    /// Runs that diverged.
    pub diverged: usize,
    /// Runs that a failed step ended.
    pub failed: usize,
    /// Best test accuracy of each run.
    pub best_accuracy: Option<Spread>,
    /// Runs that reached the target.
    pub reached: usize,
    /// Mean steps to the target, over the runs that reached it.
    pub steps_to_target: Option<f64>,
    /// Mean gradient evaluations to the target.
    pub gradients_to_target: Option<f64>,
    /// Mean seconds to the target.
    pub seconds_to_target: Option<f64>,
    /// Step time, the median over the runs, over AdamW's in this race, or over the first optimizer's without AdamW.
    pub step_time_ratio: Option<f64>,
    /// Bytes of state over bytes of parameters.
    pub state_ratio: f64,
    /// Largest Hessian eigenvalue at the final weights.
    pub sharpness: Option<Spread>,
}

/// Summarises the runs of one network, optimizer by optimizer.
pub fn summarise(runs: &[Run], target: f64) -> Vec<SummaryRow> {
    let mut names: Vec<&'static str> = Vec::new();
    for run in runs {
        if !names.contains(&run.optimizer) {
            names.push(run.optimizer);
        }
    }
    let of =
        |name: &str| -> Vec<&Run> { runs.iter().filter(|run| run.optimizer == name).collect() };
    let reference = names
        .iter()
        .find(|name| **name == "adamw")
        .or(names.first())
        .map(|name| step_seconds(&of(name)));
    names
        .into_iter()
        .map(|name| row(name, &of(name), target, reference))
        .collect()
}

fn step_seconds(runs: &[&Run]) -> f64 {
    median(&mut runs.iter().map(|run| run.step_seconds).collect::<Vec<_>>())
}

fn row(name: &'static str, runs: &[&Run], target: f64, reference: Option<f64>) -> SummaryRow {
    let best: Vec<f64> = runs
        .iter()
        .filter_map(|run| run.points.iter().map(|p| p.test_accuracy).reduce(f64::max))
        .collect();
    let hits: Vec<_> = runs
        .iter()
        .filter_map(|run| run.points.iter().find(|p| p.test_accuracy >= target))
        .collect();
    let mean = |values: Vec<f64>| Spread::of(&values).map(|spread| spread.mean);
    let sharpness: Vec<f64> = runs.iter().filter_map(|run| run.sharpness).collect();
    SummaryRow {
        optimizer: name,
        runs: runs.len(),
        diverged: runs
            .iter()
            .filter(|run| run.outcome == Outcome::Diverged)
            .count(),
        failed: runs
            .iter()
            .filter(|run| matches!(run.outcome, Outcome::Failed { .. }))
            .count(),
        best_accuracy: Spread::of(&best),
        reached: hits.len(),
        steps_to_target: mean(hits.iter().map(|p| p.step as f64).collect()),
        gradients_to_target: mean(hits.iter().map(|p| p.gradient_evaluations).collect()),
        seconds_to_target: mean(hits.iter().map(|p| p.seconds).collect()),
        step_time_ratio: reference
            .filter(|seconds| *seconds > 0.0)
            .map(|seconds| step_seconds(runs) / seconds),
        state_ratio: runs.iter().map(|run| run.state_ratio).fold(0.0, f64::max),
        sharpness: Spread::of(&sharpness),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::Point;

    fn run(optimizer: &'static str, accuracies: &[f64], step_seconds: f64) -> Run {
        Run {
            optimizer,
            settings: serde_json::Value::Null,
            lr: 0.1,
            seed: 0,
            outcome: Outcome::Finished,
            points: accuracies
                .iter()
                .enumerate()
                .map(|(i, a)| Point {
                    step: 10 * (i + 1),
                    seconds: (i + 1) as f64,
                    gradient_evaluations: 20.0 * (i + 1) as f64,
                    train_loss: 1.0,
                    test_accuracy: *a,
                })
                .collect(),
            step_seconds,
            parameters: 10,
            state_ratio: 2.0,
            skipped: 0,
            sharpness: Some(3.0),
            sharpness_converged: true,
        }
    }

    #[test]
    fn rows_hold_means_over_the_runs_that_reached_the_target() {
        let runs = [
            run("sam", &[0.5, 0.96, 0.94], 2.0),
            run("adamw", &[0.97], 1.0),
            run("sam", &[0.5, 0.6, 0.7], 2.0),
        ];
        let rows = summarise(&runs, 0.95);
        assert_eq!(rows[0].optimizer, "sam");
        assert_eq!((rows[0].runs, rows[0].reached), (2, 1));
        assert_eq!(rows[0].steps_to_target, Some(20.0));
        assert_eq!(rows[0].step_time_ratio, Some(2.0));
        assert!((rows[0].best_accuracy.unwrap().mean - 0.83).abs() < 1e-12);
        assert_eq!(rows[1].step_time_ratio, Some(1.0));
        assert_eq!(rows[1].gradients_to_target, Some(20.0));
    }
}
