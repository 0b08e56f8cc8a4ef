//! Results for tests.

use burn::tensor::Device;

use super::{EntrantInput, Results, WorkloadResults, entrant_results, target};
use crate::trial::{Environment, Point, Trial, TrialSpec};
use crate::workload::{About, Metric, TargetRule};

/// Steps of a run.
pub(crate) const STEPS: usize = 40;

/// A run whose loss falls by a factor in every step, each of which takes so many seconds.
fn run(label: &str, seed: u64, factor: f64, seconds: f64) -> Trial {
    let entrant = label.parse().unwrap();
    let mut trial = Trial::new(TrialSpec::new("w", entrant, 0.1, STEPS).with_seed(seed));
    trial.step_seconds = seconds;
    trial.points = (0..=STEPS)
        .map(|step| Point {
            step,
            evaluations: step as f64,
            seconds: seconds * step as f64,
            cpu_seconds: None,
            train_loss: None,
            // Seeds differ by less than factors.
            metric: Some((1.0 + 0.01 * seed as f64) * factor.powi(step as i32)),
        })
        .collect();
    trial
}

/// A race of so many seeds on one workload, of optimizers with the factor by which each step of theirs lowers the
/// loss and the seconds that it takes. The first is the baseline.
pub(crate) fn race(seeds: u64, entrants: &[(&str, f64, f64)]) -> Results {
    let about = About::new("w", "A workload", Metric::loss("test loss"), STEPS)
        .with_target(TargetRule::BaselineEnd);
    let runs = |&(label, factor, seconds): &(&str, f64, f64)| -> Vec<Trial> {
        (0..seeds)
            .map(|seed| run(label, seed, factor, seconds))
            .collect()
    };
    let all: Vec<Vec<Trial>> = entrants.iter().map(runs).collect();
    let baseline: Vec<&Trial> = all[0].iter().collect();
    let target = target(&about, &baseline);
    let results = all.iter().enumerate().map(|(index, trials)| {
        let input = EntrantInput {
            label: entrants[index].0,
            tuning: Vec::new(),
            runs: trials.iter().collect(),
            baseline: if index == 0 {
                Vec::new()
            } else {
                baseline.clone()
            },
            step_ratio: Some(entrants[index].2 / entrants[0].2),
            cpu_time: false,
        };
        entrant_results(&input, &about, target)
    });
    let workload = WorkloadResults {
        entrants: results.collect(),
        steps: STEPS,
        parameters: 17,
        tuned_apart: false,
        target,
        about,
    };
    Results {
        title: "Race of optimizers".to_string(),
        command: "osculate race".to_string(),
        environment: Environment::current(&Device::flex()),
        other_environments: Vec::new(),
        budget: None,
        baseline: entrants[0].0.to_string(),
        seeds: (0..seeds).collect(),
        complete: true,
        cpu_time: false,
        elapsed: None,
        processor_seconds: None,
        workloads: vec![workload],
        standings: Vec::new(),
    }
}
