//! A race: every optimizer at given learning rates, on every workload and seed, in one process.

use std::time::Instant;

use burn::tensor::Device;

use crate::analysis::{
    EntrantInput, RateResult, Results, WorkloadResults, entrant_results, target,
};
use crate::cli::{Heat, RaceConfig};
use crate::entrant::Entrant;
use crate::error::BenchError;
use crate::stats::median;
use crate::trial::{Environment, Outcome, Trial, TrialSpec, Watch};
use crate::workload::{About, TargetRule, Workloads};

/// Measurements in a run.
const MEASUREMENTS: usize = 46;
/// The optimizer that others are compared with, where it races.
const BASELINE: &str = "adamw";

/// What a race is told of its progress.
pub trait Spectator {
    /// A run of so many steps begins, at a learning rate.
    fn begins(&self, workload: &str, optimizer: &Entrant, lr: f64, seed: u64, steps: usize);
    /// A step of the run was made; the last measurement, in words.
    fn step(&self, made: usize, measured: Option<String>);
    /// The run has ended.
    fn ends(&self);
}

/// Runs a race. Where the watch stops it, the runs so far are the result.
///
/// # Errors
/// [`BenchError::Usage`] for an unknown workload and for a race of nothing, and as
/// [`Trainer::train`](crate::trial::Trainer::train).
pub fn race(
    config: &RaceConfig,
    workloads: &Workloads,
    device: &Device,
    watch: &Watch,
    spectator: &dyn Spectator,
) -> Result<Results, BenchError> {
    let start = Instant::now();
    let mut complete = true;
    let mut found = Vec::new();
    let raced: Vec<_> = config
        .heats
        .iter()
        .map(|heat| Ok((heat, workloads.get(&heat.workload)?)))
        .collect::<Result<_, BenchError>>()?;
    let runs = |heat: &Heat| heat.lanes().count() * config.seeds.len();
    if config.heats.is_empty() || config.heats.iter().any(|heat| runs(heat) == 0) {
        return Err(BenchError::Usage(
            "a race needs at least one workload, and on each a seed and an optimizer with a rate"
                .to_string(),
        ));
    }
    let baseline = baseline(config);
    for (heat, trainer) in raced {
        let about = trainer.about();
        let about = about.with_target(
            config
                .target
                .map_or(TargetRule::BaselineEnd, TargetRule::Value),
        );
        let steps = heat.steps.unwrap_or(about.steps);
        let mut trials: Vec<Trial> = Vec::new();
        // Optimizers take turns within a seed, so that a slow spell of the machine meets them all.
        let turns = config.seeds.iter();
        let turns = turns.flat_map(|seed| heat.lanes().map(move |lane| (*seed, lane)));
        for (seed, (entrant, lr)) in turns {
            let mut spec = TrialSpec::new(about.name.as_str(), entrant.clone(), lr, steps)
                .with_seed(seed)
                .with_curvature(true);
            spec.measurements = MEASUREMENTS.min(steps);
            spectator.begins(&about.name, entrant, lr, seed, steps);
            let metric = &about.metric;
            let progress = |made: usize, measured: Option<f64>| {
                spectator.step(made, measured.map(|value| metric.show(value)));
            };
            let seen = Watch {
                progress: &progress,
                ..*watch
            };
            let trial = trainer.train(&spec, device, &seen)?;
            spectator.ends();
            complete &= trial.outcome != Outcome::Interrupted;
            trials.push(trial);
            if !complete {
                break;
            }
        }
        found.push(results(heat, &baseline, about, steps, &trials));
        if !complete {
            break;
        }
    }
    Ok(Results {
        title: "Race of optimizers".to_string(),
        command: String::new(),
        environment: Environment::current(device),
        other_environments: Vec::new(),
        budget: None,
        baseline,
        seeds: config.seeds.clone(),
        complete,
        cpu_time: false,
        elapsed: Some(start.elapsed().as_secs_f64()),
        processor_seconds: None,
        workloads: found,
        standings: Vec::new(),
    })
}

fn baseline(config: &RaceConfig) -> String {
    let entrants = config.heats.iter().flat_map(|heat| &heat.entrants);
    let mut labels = entrants.map(|(entrant, _)| entrant.label.as_str());
    let first = labels.clone().next().unwrap_or_default();
    let found = labels.find(|label| *label == BASELINE);
    found.unwrap_or(first).to_string()
}

fn results(
    heat: &Heat,
    baseline: &str,
    about: About,
    steps: usize,
    trials: &[Trial],
) -> WorkloadResults {
    let at = |label: &str, lr: f64| -> Vec<&Trial> {
        let of_lane = |trial: &&Trial| trial.spec.entrant.label == label && trial.spec.lr == lr;
        trials.iter().filter(of_lane).collect()
    };
    let by_rate = |label: &str, rates: &[f64], target: Option<f64>| -> Vec<RateResult> {
        let results = rates
            .iter()
            .filter_map(|lr| RateResult::of(&at(label, *lr), &about, target));
        results.collect()
    };
    let fastest = |label: &str, results: &[RateResult]| -> Vec<&Trial> {
        RateResult::fastest(results, &about).map_or(Vec::new(), |found| at(label, found.lr))
    };
    let of_baseline = |target: Option<f64>| {
        let mut entrants = heat.entrants.iter();
        let found = entrants.find(|(entrant, _)| entrant.label == baseline);
        found.map_or(Vec::new(), |(_, rates)| {
            fastest(baseline, &by_rate(baseline, rates, target))
        })
    };
    // Without a target the fastest rate is that with the best end.
    let target = target(&about, &of_baseline(None));
    let reference = of_baseline(target);
    let step_seconds = |runs: &[&Trial]| {
        let seconds: Vec<f64> = runs.iter().map(|trial| trial.step_seconds).collect();
        median(&seconds)
    };
    let reference_seconds = step_seconds(&reference).filter(|seconds| *seconds > 0.0);
    let entrants = heat.entrants.iter().map(|(entrant, rates)| {
        let label = entrant.label.as_str();
        let by_rate = by_rate(label, rates, target);
        let runs = fastest(label, &by_rate);
        let input = EntrantInput {
            label,
            tuning: Vec::new(),
            baseline: if label == baseline {
                Vec::new()
            } else {
                reference.clone()
            },
            step_ratio: step_seconds(&runs)
                .zip(reference_seconds)
                .map(|(own, its)| own / its),
            runs,
            cpu_time: false,
        };
        let mut results = entrant_results(&input, &about, target);
        if rates.len() > 1 {
            results.rates = by_rate;
        }
        results
    });
    let mut found = WorkloadResults {
        entrants: entrants
            .filter(|entrant| !entrant.runs.is_empty())
            .collect(),
        steps,
        tuned_apart: false,
        parameters: trials.first().map_or(0, |trial| trial.parameters),
        target,
        about,
    };
    found.sort();
    found
}
