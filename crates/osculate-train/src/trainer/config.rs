//! Settings of a run.

use burn::module::Module;
use clap::ValueEnum;
use osculate_optim::ClosureOptimizer;
use osculate_optim::registry::{OptimizerSpec, SpecError};
use serde::{Deserialize, Serialize};

use super::error::TrainerError;
use super::schedule::{Schedule, ScheduleKind};

/// How long a run is. The schedule of the learning rate spans it, also where a budget ends it
/// earlier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Length {
    /// Passes over the data.
    Epochs(u64),
    /// Steps of the optimizer.
    Steps(u64),
}

/// What to do when the loss is no longer a finite number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum NonFiniteLoss {
    /// End the run with an error. Losses are read back when a line is logged, so that it is found
    /// out then. No checkpoint is written of what came after the last finite loss that was read.
    Stop,
    /// Go on: the optimizer leaves out what is not finite, and counts it.
    Continue,
}

/// What is measured as sharpness.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum SharpnessKind {
    /// The largest eigenvalue of the Hessian of the loss: up to 30 Hessian products.
    Hessian,
    /// The largest eigenvalue of the Gauss-Newton matrix, for networks with kinks (ReLU, max
    /// pooling): up to 30 products.
    GaussNewton,
    /// `L(θ + ρ g / |g|) - L(θ)`, what SAM makes small: two gradients.
    Sam,
}

/// When and how sharpness is measured, on [`Task::sharpness_batch`](super::Task::sharpness_batch) and at
/// the weights that are trained, also where averaged ones are evaluated.
/// Its cost is no part of the run's gradient evaluations.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SharpnessConfig {
    /// Steps from one measurement to the next, 0 for none. Default 0.
    pub every: u64,
    /// What is measured. Default `None`: the Hessian's largest eigenvalue, and the Gauss-Newton matrix's where
    /// the network [has kinks](super::Task::has_kinks).
    #[serde(default)]
    pub kind: Option<SharpnessKind>,
    /// Radius of the ball of [`SharpnessKind::Sam`]. Default 0.05, SAM's own.
    pub rho: f64,
}

impl SharpnessConfig {
    /// What is measured of a network with kinks or without.
    pub(crate) fn kind(&self, has_kinks: bool) -> SharpnessKind {
        self.kind.unwrap_or(if has_kinks {
            SharpnessKind::GaussNewton
        } else {
            SharpnessKind::Hessian
        })
    }
}

impl Default for SharpnessConfig {
    fn default() -> Self {
        Self {
            every: 0,
            kind: None,
            rho: 0.05,
        }
    }
}

/// Settings of a run. The program's own configuration holds them in a field named `trainer`; both
/// are written to `config.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainerConfig {
    /// The optimizer with its settings.
    pub optimizer: OptimizerSpec,
    /// Peak learning rate; `None` for the optimizer's own.
    #[serde(default)]
    pub lr: Option<f64>,
    /// The learning rate over the run.
    pub schedule: Schedule,
    /// How long the run is.
    pub length: Length,
    /// Seconds after which the run ends, evaluation and checkpoints included, summed over resumed
    /// parts. The step under way is finished.
    #[serde(default)]
    pub max_seconds: Option<f64>,
    /// Gradient evaluations after which the run ends.
    #[serde(default)]
    pub max_gradients: Option<f64>,
    /// Batches whose gradients are averaged in one step, at least 1. The last step of a pass takes
    /// what is left of it. Memory is that of one batch.
    pub accumulate: usize,
    /// Largest norm of the gradient over all parameters; `None` for what the optimizer's own
    /// settings say.
    #[serde(default)]
    pub clip_norm: Option<f64>,
    /// Seed of weights, batches and probes.
    pub seed: u64,
    /// Steps from one checkpoint to the next, 0 for one at the end only.
    pub checkpoint_every: u64,
    /// Checkpoints that are kept, at least 1. Two leave one to go back to where the newest is
    /// damaged. Each takes the room of the weights twice, the last and the best, and of the
    /// optimizer's state; while one is written there is one more.
    pub keep_checkpoints: usize,
    /// Steps from one line in `metrics.jsonl` to the next, at least 1. The losses of these steps are
    /// read back together.
    pub log_every: u64,
    /// Steps from one evaluation to the next; `None` for one after each pass. There is always one at
    /// the end.
    #[serde(default)]
    pub evaluate_every: Option<u64>,
    /// When and how sharpness is measured.
    pub sharpness: SharpnessConfig,
    /// What to do when the loss is no longer a finite number.
    pub non_finite: NonFiniteLoss,
}

/// Settings that a resumed run may change: those that do not move its weights, and its length, which decides
/// what is left of it.
pub(crate) const FREE: [&str; 8] = [
    "length",
    "max_seconds",
    "max_gradients",
    "checkpoint_every",
    "keep_checkpoints",
    "log_every",
    "evaluate_every",
    "sharpness",
];

impl TrainerConfig {
    /// Ten passes with an optimizer, of a kind with its default settings or as it is specified, a cosine
    /// schedule, a checkpoint every 500 steps and a line every 10.
    pub fn new(optimizer: impl Into<OptimizerSpec>) -> Self {
        Self {
            optimizer: optimizer.into(),
            lr: None,
            schedule: Schedule::new(ScheduleKind::Cosine),
            length: Length::Epochs(10),
            max_seconds: None,
            max_gradients: None,
            accumulate: 1,
            clip_norm: None,
            seed: 0,
            checkpoint_every: 500,
            keep_checkpoints: 3,
            log_every: 10,
            evaluate_every: None,
            sharpness: SharpnessConfig::default(),
            non_finite: NonFiniteLoss::Stop,
        }
    }

    /// The peak learning rate: the given one, or the optimizer's.
    pub fn peak_lr(&self) -> f64 {
        self.lr.unwrap_or_else(|| self.optimizer.learning_rate())
    }

    /// The optimizer, with the run's seed and clipping.
    ///
    /// # Errors
    /// [`TrainerError::Optimizer`].
    pub(crate) fn make<M: Module>(&self) -> Result<Box<dyn ClosureOptimizer<M>>, TrainerError> {
        let mut optimizer = self.optimizer.build(self.seed)?;
        if self.clip_norm.is_some() {
            let policy = optimizer.policy().clone().with_clip_norm(self.clip_norm);
            optimizer = optimizer.with_policy(policy).map_err(SpecError::from)?;
        }
        Ok(Box::new(optimizer))
    }

    /// Checks all settings but those of the optimizer, which are checked when it is made.
    ///
    /// # Errors
    /// [`TrainerError::Setting`].
    pub fn validate(&self) -> Result<(), TrainerError> {
        const POSITIVE: &str = "a finite number greater than zero";
        let positive = |name, value: Option<f64>| match value {
            Some(value) => {
                TrainerError::check(value.is_finite() && value > 0.0, name, value, POSITIVE)
            }
            None => Ok(()),
        };
        positive("lr", Some(self.peak_lr()))?;
        positive("max_seconds", self.max_seconds)?;
        positive("max_gradients", self.max_gradients)?;
        positive("clip_norm", self.clip_norm)?;
        positive("sharpness.rho", Some(self.sharpness.rho))?;
        self.schedule.validate()?;
        let counts = [
            (
                "length",
                match self.length {
                    Length::Epochs(count) | Length::Steps(count) => count,
                },
            ),
            ("accumulate", self.accumulate as u64),
            ("keep_checkpoints", self.keep_checkpoints as u64),
            ("log_every", self.log_every),
            ("evaluate_every", self.evaluate_every.unwrap_or(1)),
        ];
        for (name, count) in counts {
            TrainerError::check(count > 0, name, count, "at least 1")?;
        }
        Ok(())
    }
}
