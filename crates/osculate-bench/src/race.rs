//! A whole race: every optimizer, network and seed.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use burn::tensor::Device;
use indicatif::{ProgressBar, ProgressStyle};
use osculate_problems::digits::Digits;
use serde::Serialize;

use crate::cli::{RaceConfig, Workload};
use crate::error::BenchError;
use crate::nets::{Net, conv, mlp};
use crate::run::{Outcome, Run, RunConfig, train};

/// All runs of one network.
#[derive(Debug, Clone, Serialize)]
pub struct NetResults {
    /// Name of the network.
    pub model: &'static str,
    /// Heading.
    pub title: &'static str,
    /// Trainable numbers.
    pub parameters: usize,
    /// The runs.
    pub runs: Vec<Run>,
}

/// A race and all that was measured.
#[derive(Debug, Clone, Serialize)]
pub struct RaceResults {
    /// Version of this program.
    pub osculate_version: &'static str,
    /// Version of burn.
    pub burn_version: &'static str,
    /// What was trained on.
    pub workload: &'static str,
    /// The device.
    pub device: String,
    /// Cores of the machine.
    pub cores: usize,
    /// Seeds.
    pub seeds: Vec<u64>,
    /// Passes over the training images.
    pub epochs: usize,
    /// Images in a batch.
    pub batch_size: usize,
    /// Schedule of the learning rate.
    pub schedule: &'static str,
    /// Target of the table's columns.
    pub target_accuracy: f64,
    /// Whether every run was made.
    pub complete: bool,
    /// Seconds of the whole race, tests included.
    pub seconds: f64,
    /// The networks.
    pub models: Vec<NetResults>,
}

/// Makes the output folder and checks that a file can be written there.
///
/// # Errors
/// [`BenchError::Output`].
pub fn prepare_output(folder: &Path) -> Result<(), BenchError> {
    let failed = |source| BenchError::Output {
        path: folder.to_path_buf(),
        source,
    };
    fs::create_dir_all(folder).map_err(failed)?;
    let probe = folder.join(".osculate-write-test");
    fs::write(&probe, b"").map_err(failed)?;
    fs::remove_file(&probe).map_err(failed)
}

/// Runs a race. Where `stop` becomes set, the runs so far are the result.
///
/// # Errors
/// As the runs.
pub fn race(
    config: &RaceConfig,
    device: &Device,
    stop: &Arc<AtomicBool>,
) -> Result<RaceResults, BenchError> {
    let digits = Digits::load()?;
    let training = device.clone().autodiff();
    let start = Instant::now();
    let bar = progress_bar(config, digits);
    let mut models: Vec<NetResults> = Vec::new();
    let mut complete = true;
    for net in &config.nets {
        let mut runs: Vec<Run> = Vec::new();
        // Optimizers take turns within a seed, so that a slow spell of the machine meets them all.
        for seed in &config.seeds {
            for (method, lr) in &config.entrants {
                let run_config = RunConfig {
                    method: *method,
                    lr: *lr,
                    seed: *seed,
                    epochs: config.epochs,
                    batch_size: config.batch_size,
                };
                let before = bar.position();
                let progress = |steps: usize, accuracy: Option<f64>| {
                    bar.set_position(before + steps as u64);
                    let accuracy =
                        accuracy.map_or("-".to_string(), |a| format!("{:.1}%", 100.0 * a));
                    bar.set_message(format!(
                        "{} · {} · seed {seed} · {accuracy}",
                        net.name(),
                        method.name()
                    ));
                };
                let run = match net {
                    Net::Mlp => {
                        let model = mlp(*seed, &training);
                        train(model, &run_config, digits, &training, stop, progress)?
                    }
                    Net::Conv => {
                        let model = conv(*seed, &training);
                        train(model, &run_config, digits, &training, stop, progress)?
                    }
                };
                bar.set_position(before + run_config.steps(digits.train().len()) as u64);
                complete &= run.outcome != Outcome::Interrupted;
                if run.outcome != Outcome::Interrupted || !run.points.is_empty() {
                    runs.push(run);
                }
                if !complete {
                    break;
                }
            }
            if !complete {
                break;
            }
        }
        models.push(NetResults {
            model: net.name(),
            title: net.title(),
            parameters: runs.first().map_or(0, |run: &Run| run.parameters),
            runs,
        });
        if !complete {
            break;
        }
    }
    bar.finish_and_clear();
    Ok(RaceResults {
        osculate_version: env!("CARGO_PKG_VERSION"),
        burn_version: "0.22.1",
        workload: match Workload::Digits {
            Workload::Digits => "digits",
        },
        device: format!("{device:?}"),
        cores: std::thread::available_parallelism().map_or(1, usize::from),
        seeds: config.seeds.clone(),
        epochs: config.epochs,
        batch_size: config.batch_size,
        schedule: "cosine to 1/100 of the peak",
        target_accuracy: config.target,
        complete,
        seconds: start.elapsed().as_secs_f64(),
        models,
    })
}

fn progress_bar(config: &RaceConfig, digits: &Digits) -> ProgressBar {
    let steps = config.epochs * digits.train().len().div_ceil(config.batch_size);
    let runs = config.nets.len() * config.seeds.len() * config.entrants.len();
    // indicatif draws nothing where stderr is not a terminal.
    let bar = ProgressBar::new((steps * runs) as u64);
    let style = "{bar:32} {percent:>3}%  {elapsed} of about {duration}  {wide_msg}";
    if let Ok(style) = ProgressStyle::with_template(style) {
        bar.set_style(style);
    }
    bar
}
