//! The trainer on a small net: what it writes, where it ends, and how it goes on.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod args;
mod endings;
mod faults;
mod folder;
mod resume;
mod task;

use std::path::Path;

use osculate_optim::registry::OptimizerKind;
use osculate_train::trainer::{Length, Line, Trainer, TrainerConfig};
use serde_json::Value;
use task::DigitsTask;

const STEPS: u64 = 14;

/// A run whose intervals are out of step with one another.
fn config(method: OptimizerKind) -> TrainerConfig {
    let mut config = TrainerConfig::new(method);
    config.length = Length::Steps(STEPS);
    config.checkpoint_every = 5;
    config.log_every = 4;
    config.sharpness.every = 0;
    config.seed = 3;
    config
}

fn trainer<'a>(
    task: &'a DigitsTask,
    config: &TrainerConfig,
    out: &Path,
) -> Trainer<'a, DigitsTask> {
    Trainer::new(task, config.clone(), out).with_progress(false)
}

/// The log, as lines and without its seconds.
fn log(out: &Path) -> (Vec<Line>, Vec<Value>) {
    let text = std::fs::read_to_string(out.join("metrics.jsonl")).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
    let values = text.lines().map(|line| {
        let mut value: Value = serde_json::from_str(line).unwrap();
        value.as_object_mut().unwrap().remove("seconds").unwrap();
        value
    });
    (lines.collect(), values.collect())
}

/// Steps of the checkpoints of a run.
fn checkpoints(out: &Path) -> Vec<u64> {
    let mut steps: Vec<u64> = std::fs::read_dir(out.join("checkpoints"))
        .unwrap()
        .filter_map(|entry| {
            let name = entry.unwrap().file_name().into_string().unwrap();
            name.strip_prefix("step-")?.parse().ok()
        })
        .collect();
    steps.sort_unstable();
    steps
}
