use std::fs;
use std::time::SystemTime;

use burn::tensor::Device;

use super::{EntrantInput, Results, WorkloadResults, entrant_results, standings, target};
use crate::error::BenchError;
use crate::study::{Board, Job, Store, StudyConfig};
use crate::trial::{Environment, Trial};

/// What the results in a study's folder, as far as they are read, say.
///
/// # Errors
/// [`BenchError::Content`] for a workload that the board does not know.
pub fn analyse(
    board: &Board,
    store: &Store,
    config: &StudyConfig,
    complete: bool,
    device: &Device,
) -> Result<Results, BenchError> {
    let processor_seconds = processor_seconds(board, config);
    // Trials that run side by side slow each other down by the clock, but not in processor time.
    let cpu_time = processor_seconds.is_some();
    let mut environments = environments(board, config);
    if environments.is_empty() {
        environments.push(Environment::current(device));
    }
    let mut workloads = Vec::new();
    for name in &config.workloads {
        let about = board.about(name).ok_or_else(|| BenchError::Content {
            path: store.root().to_path_buf(),
            message: format!("the workload {name} is not part of this study"),
        })?;
        let runs = |label: &str| -> Vec<&Trial> {
            let job = |seed| Job::Run {
                workload: name.clone(),
                entrant: label.to_string(),
                seed,
            };
            config
                .seeds()
                .filter_map(|seed| board.trial(&job(seed)))
                .collect()
        };
        let tuning = |label: &str| -> Vec<&Trial> {
            let job = |trial| Job::Tune {
                workload: name.clone(),
                entrant: label.to_string(),
                trial,
            };
            (0..config.budget.trials)
                .filter_map(|trial| board.trial(&job(trial)))
                .collect()
        };
        let baseline = runs(&config.baseline);
        let target = target(about, &baseline);
        let entrants: Vec<_> = config
            .entrants
            .iter()
            .map(|entrant| {
                let label = entrant.label.as_str();
                let input = EntrantInput {
                    label,
                    tuning: tuning(label),
                    runs: runs(label),
                    baseline: if label == config.baseline {
                        Vec::new()
                    } else {
                        baseline.clone()
                    },
                    step_ratio: board.step_times(name).and_then(|times| times.ratio(label)),
                    cpu_time,
                };
                entrant_results(&input, about, target)
            })
            .collect();
        let mut results = WorkloadResults {
            about: about.clone(),
            steps: config.steps(about.steps),
            tuned_apart: board.tunes_apart(name),
            parameters: baseline.first().map_or(0, |trial| trial.parameters),
            target,
            entrants,
        };
        results.sort();
        workloads.push(results);
    }
    let labels: Vec<String> = config.entrants.iter().map(|e| e.label.clone()).collect();
    Ok(Results {
        title: "Study of optimizers".to_string(),
        command: String::new(),
        environment: environments.remove(0),
        other_environments: environments,
        budget: Some(config.budget),
        baseline: config.baseline.clone(),
        seeds: config.seeds().collect(),
        complete,
        cpu_time,
        elapsed: elapsed(store, config),
        processor_seconds,
        standings: standings(&labels, &config.baseline, &workloads),
        workloads,
    })
}

/// Where the trials were made, without repetition.
fn environments(board: &Board, config: &StudyConfig) -> Vec<Environment> {
    let mut found: Vec<Environment> = Vec::new();
    let jobs = config.jobs();
    let trials = jobs.iter().filter_map(|job| board.trial(job));
    for environment in trials.filter_map(|trial| trial.environment.as_ref()) {
        if !found.contains(environment) {
            found.push(environment.clone());
        }
    }
    found
}

/// Seconds from the study's beginning to its last result, by the dates of the files.
fn elapsed(store: &Store, config: &StudyConfig) -> Option<f64> {
    let date = |path| -> Option<SystemTime> { fs::metadata(path).ok()?.modified().ok() };
    let begun = date(store.root().join("study.json"))?;
    let results = config
        .jobs()
        .into_iter()
        .map(|job| store.root().join(job.path()));
    let last = results.filter_map(date).max()?;
    last.duration_since(begun)
        .ok()
        .map(|time| time.as_secs_f64())
}

fn processor_seconds(board: &Board, config: &StudyConfig) -> Option<f64> {
    let jobs = config.jobs();
    let trials = jobs.iter().filter_map(|job| board.trial(job));
    // A trial that broke down before it was measured has taken no time.
    let last = trials.filter_map(|trial| trial.points.last());
    last.map(|point| point.cpu_seconds).sum()
}
