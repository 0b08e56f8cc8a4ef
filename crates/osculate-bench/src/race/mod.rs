//! A race: every optimizer at given learning rates, on every workload and seed.

mod side_by_side;

pub use side_by_side::{SideBySide, race_side_by_side, work};

use std::time::Instant;

use burn::tensor::Device;

use crate::analysis::{
    EntrantInput, RateResult, Results, WorkloadResults, entrant_results, target,
};
use crate::cli::{Heat, RaceConfig};
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
    /// A run begins.
    fn begins(&self, run: &TrialSpec);
    /// A step of the run was made; the last measurement, in words.
    fn step(&self, made: usize, measured: Option<String>);
    /// The run has ended.
    fn ends(&self);
}

/// Runs a race, one run after the other in this process. Where the watch stops it, the runs so far are the result.
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
    let rounds = rounds(config, workloads)?;
    let mut trials = Vec::new();
    for spec in rounds.iter().flat_map(|round| &round.specs) {
        let trainer = workloads.get(&spec.workload)?;
        let metric = trainer.about().metric;
        spectator.begins(spec);
        let progress = |made: usize, measured: Option<f64>| {
            spectator.step(made, measured.map(|value| metric.show(value)));
        };
        let seen = Watch {
            progress: &progress,
            ..*watch
        };
        let trial = trainer.train(spec, device, &seen)?;
        spectator.ends();
        let stopped = trial.outcome == Outcome::Interrupted;
        trials.push(trial);
        if stopped {
            break;
        }
    }
    Ok(assemble(config, rounds, trials, device, start))
}

/// The runs on one workload.
struct Round<'a> {
    heat: &'a Heat,
    about: About,
    steps: usize,
    specs: Vec<TrialSpec>,
}

fn rounds<'a>(config: &'a RaceConfig, workloads: &Workloads) -> Result<Vec<Round<'a>>, BenchError> {
    let runs = |heat: &Heat| heat.lanes().count() * config.seeds.len();
    if config.heats.is_empty() || config.heats.iter().any(|heat| runs(heat) == 0) {
        return Err(BenchError::Usage(
            "a race needs at least one workload, and on each a seed and an optimizer with a rate"
                .to_string(),
        ));
    }
    let rounds = config.heats.iter().map(|heat| {
        let about = workloads.get(&heat.workload)?.about().with_target(
            config
                .target
                .map_or(TargetRule::BaselineEnd, TargetRule::Value),
        );
        let steps = heat.steps.unwrap_or(about.steps);
        // Optimizers take turns within a seed, so that a slow spell of the machine meets them all.
        let turns = config.seeds.iter();
        let turns = turns.flat_map(|seed| heat.lanes().map(move |lane| (*seed, lane)));
        let specs = turns.map(|(seed, (entrant, lr))| {
            let mut spec = TrialSpec::new(about.name.as_str(), entrant.clone(), lr, steps)
                .with_seed(seed)
                .with_curvature(true);
            spec.measurements = MEASUREMENTS.min(steps);
            spec
        });
        Ok(Round {
            specs: specs.collect(),
            heat,
            about,
            steps,
        })
    });
    rounds.collect()
}

/// What came of the runs, which are in the order of the rounds, up to where the race was stopped.
fn assemble(
    config: &RaceConfig,
    rounds: Vec<Round<'_>>,
    trials: Vec<Trial>,
    device: &Device,
    start: Instant,
) -> Results {
    let baseline = baseline(config);
    let wanted: usize = rounds.iter().map(|round| round.specs.len()).sum();
    let complete = trials.len() == wanted
        && trials
            .iter()
            .all(|trial| trial.outcome != Outcome::Interrupted);
    let found = rounds.into_iter().filter_map(|round| {
        let own = |trial: &&Trial| trial.spec.workload == round.about.name;
        let trials: Vec<Trial> = trials.iter().filter(own).cloned().collect();
        let (heat, steps) = (round.heat, round.steps);
        (!trials.is_empty()).then(|| results(heat, &baseline, round.about, steps, &trials))
    });
    Results {
        title: "Race of optimizers".to_string(),
        command: String::new(),
        environment: Environment::current(device),
        other_environments: Vec::new(),
        budget: None,
        workloads: found.collect(),
        baseline,
        seeds: config.seeds.clone(),
        complete,
        cpu_time: false,
        elapsed: Some(start.elapsed().as_secs_f64()),
        processor_seconds: None,
        standings: Vec::new(),
    }
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
