//! One optimizer on one network with one seed.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use burn::lr_scheduler::cosine::CosineAnnealingLrSchedulerConfig;
use burn::tensor::{Device, Tensor};
use osculate::curvature::{GradientOracle, Hessian, LanczosConfig, Spectrum, lanczos};
use osculate::prelude::*;
use osculate_problems::digits::{Batches, Digits, Split};
use serde::Serialize;

use crate::error::BenchError;
use crate::nets::Classifier;
use crate::registry::Method;

/// Settings of one run.
#[derive(Debug, Clone)]
pub struct RunConfig {
    /// The optimizer.
    pub method: Method,
    /// Peak learning rate; it falls to a hundredth along a cosine.
    pub lr: f64,
    /// Seed of weights, batches and probes.
    pub seed: u64,
    /// Passes over the training images.
    pub epochs: usize,
    /// Images in a batch.
    pub batch_size: usize,
}

impl RunConfig {
    /// Steps in the whole run.
    pub fn steps(&self, images: usize) -> usize {
        self.epochs * images.div_ceil(self.batch_size)
    }
}

/// A run as it stood when the network was tested.
#[derive(Debug, Clone, Serialize, PartialEq)]
pub struct Point {
    /// Steps made.
    pub step: usize,
    /// Seconds spent in steps, tests not counted.
    pub seconds: f64,
    /// Gradient evaluations spent.
    pub gradient_evaluations: f64,
    /// Mean training loss since the last test.
    pub train_loss: f64,
    /// Fraction of the test images classified correctly.
    pub test_accuracy: f64,
}

/// What came of a run.
#[derive(Debug, Clone, Serialize, PartialEq)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// All steps were made.
    Finished,
    /// The loss was no longer a finite number.
    Diverged,
    /// A step could not be made.
    Failed {
        /// Why.
        message: String,
    },
    /// The person at the terminal stopped it.
    Interrupted,
}

/// One run and all that was measured.
#[derive(Debug, Clone, Serialize)]
pub struct Run {
    /// Name of the optimizer.
    pub optimizer: &'static str,
    /// Its settings.
    pub settings: serde_json::Value,
    /// Peak learning rate.
    pub lr: f64,
    /// Seed.
    pub seed: u64,
    /// What came of it.
    pub outcome: Outcome,
    /// The run over time.
    pub points: Vec<Point>,
    /// Mean seconds of a step, the first left out: the mean counts what a method does only now and
    /// then.
    pub step_seconds: f64,
    /// Trainable numbers.
    pub parameters: usize,
    /// Bytes of the optimizer's state over bytes of the parameters.
    pub state_ratio: f64,
    /// Parameters left out over all steps because a gradient was not finite.
    pub skipped: usize,
    /// Largest eigenvalue of the Hessian of the loss on the first 256 training images, at the final
    /// weights.
    pub sharpness: Option<f64>,
    /// Whether the eigenvalue converged to a hundredth of itself.
    pub sharpness_converged: bool,
}

/// Tests of the network in an epoch.
const TESTS_PER_EPOCH: usize = 2;
/// Images on which the sharpness is measured.
const SHARPNESS_IMAGES: usize = 256;

/// Trains a network, calling `progress` after every step with the number of steps made and the last
/// test accuracy. Stops early where `stop` is set.
///
/// # Errors
/// [`BenchError`] for invalid settings. A step that fails ends the run, and is its outcome.
pub fn train<M: Classifier>(
    mut model: M,
    config: &RunConfig,
    digits: &Digits,
    device: &Device,
    stop: &AtomicBool,
    mut progress: impl FnMut(usize, Option<f64>),
) -> Result<Run, BenchError> {
    let mut optimizer = config.method.make::<M>(config.seed)?;
    let steps = config.steps(digits.train().len());
    let mut schedule = CosineAnnealingLrSchedulerConfig::new(config.lr, steps)
        .with_min_lr(config.lr / 100.0)
        .init()
        .map_err(BenchError::Usage)?;
    let test_every = (steps / config.epochs / TESTS_PER_EPOCH).max(1);

    let mut run = Run {
        optimizer: config.method.name(),
        settings: serde_json::from_str(&config.method.settings(config.seed))?,
        lr: config.lr,
        seed: config.seed,
        outcome: Outcome::Finished,
        points: Vec::new(),
        step_seconds: 0.0,
        parameters: 0,
        state_ratio: 0.0,
        skipped: 0,
        sharpness: None,
        sharpness_converged: false,
    };
    let (mut spent, mut evaluations) = (Duration::ZERO, 0.0);
    let mut first = Duration::ZERO;
    let mut parameter_bytes = 0;
    let (mut losses, mut made) = (Vec::new(), 0);
    let mut accuracy = None;
    'epochs: for epoch in 0..config.epochs as u64 {
        let batches = Batches::new(digits.train().len(), config.batch_size, config.seed, epoch);
        for positions in batches {
            if stop.load(Ordering::Relaxed) {
                run.outcome = Outcome::Interrupted;
                break 'epochs;
            }
            let batch = digits.train().batch(&positions, device);
            let images = batch.images;
            let objective = Supervised::new(
                move |model: &M| model.logits(images.clone()),
                Criterion::cross_entropy(batch.labels),
            );
            let lr = schedule.step().base();
            let start = Instant::now();
            let step = match optimizer.step(lr, model, &objective) {
                Ok(step) => step,
                Err(error) => {
                    run.outcome = Outcome::Failed {
                        message: error.cause.to_string(),
                    };
                    model = error.model;
                    break 'epochs;
                }
            };
            // Reading the loss waits for the device, so the clock sees the whole step.
            let loss = step.report.loss();
            let elapsed = start.elapsed();
            model = step.model;
            if made == 0 {
                first = elapsed;
                let oracle = GradientOracle::new(&model, &objective);
                let layout = oracle.layout()?;
                run.parameters = layout.num_elements();
                parameter_bytes = layout.num_bytes();
            }
            spent += elapsed;
            evaluations += step.report.cost().gradient_evaluations();
            run.skipped += step.report.skipped().len();
            losses.push(loss);
            made += 1;

            let diverged = !loss.is_finite();
            if made % test_every == 0 || made == steps || diverged {
                let tested = test_accuracy(&model, digits.test(), device);
                accuracy = Some(tested);
                run.points.push(Point {
                    step: made,
                    seconds: spent.as_secs_f64(),
                    gradient_evaluations: evaluations,
                    train_loss: losses.iter().sum::<f64>() / losses.len() as f64,
                    test_accuracy: tested,
                });
                losses.clear();
            }
            progress(made, accuracy);
            if diverged {
                run.outcome = Outcome::Diverged;
                break 'epochs;
            }
        }
    }
    run.step_seconds = (spent - first).as_secs_f64() / (made.max(2) - 1) as f64;
    run.state_ratio = optimizer.state_bytes() as f64 / parameter_bytes.max(1) as f64;
    if run.outcome == Outcome::Finished {
        let found = sharpness(&model, digits.train(), device)?;
        run.sharpness_converged = found.converged;
        run.sharpness = found.largest.first().map(|pair| pair.value);
    }
    Ok(run)
}

fn test_accuracy<M: Classifier>(model: &M, split: &Split, device: &Device) -> f64 {
    let batch = split.all(&device.clone().inner());
    let predicted: Tensor<1, burn::tensor::Int> =
        model.valid().logits(batch.images).argmax(1).squeeze_dim(1);
    let correct = predicted.equal(batch.labels).int().sum();
    let correct = correct.into_data().iter::<i64>().sum::<i64>();
    correct as f64 / split.len() as f64
}

fn sharpness<M: Classifier>(
    model: &M,
    split: &Split,
    device: &Device,
) -> Result<Spectrum, BenchError> {
    let positions: Vec<usize> = (0..split.len().min(SHARPNESS_IMAGES)).collect();
    let batch = split.batch(&positions, device);
    let images = batch.images;
    let objective = Supervised::new(
        move |model: &M| model.logits(images.clone()),
        Criterion::cross_entropy(batch.labels),
    );
    let oracle = GradientOracle::new(model, &objective);
    let config = LanczosConfig {
        largest: 1,
        steps: 40,
        tolerance: 1e-2,
        ..LanczosConfig::default()
    };
    Ok(lanczos(&Hessian::new(&oracle)?, &config)?)
}

/// The median, or 0 of nothing.
pub fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => 0.0,
        n if n % 2 == 1 => values[n / 2],
        n => 0.5 * (values[n / 2 - 1] + values[n / 2]),
    }
}
