//! Why a run could not start, go on or end.

use std::fmt::Display;
use std::path::Path;

use osculate_curvature::CurvatureError;
use osculate_optim::registry::SpecError;
use osculate_optim::{RecordError, SkipReason, StepErrorCause};
use osculate_program::exit;
use thiserror::Error;

use super::task::TaskError;

/// Why a run could not start, go on or end.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TrainerError {
    /// A setting is out of its range.
    #[error("{name} = {value} is invalid, expected {expected}")]
    Setting {
        /// Name of the setting, as in `config.json`.
        name: &'static str,
        /// The value given.
        value: String,
        /// What would be valid.
        expected: &'static str,
    },

    /// The optimizer or one of its settings is unknown or invalid.
    #[error(transparent)]
    Optimizer(#[from] SpecError),

    /// A configuration could not be read.
    #[error("cannot read {path}: {message}")]
    Config {
        /// The file.
        path: String,
        /// Why.
        message: String,
    },

    /// Something could not be written, created or listed.
    #[error("cannot {action} {path}: {source}")]
    Output {
        /// What was attempted.
        action: &'static str,
        /// The file or folder.
        path: String,
        /// Why it failed.
        source: std::io::Error,
    },

    /// The output folder already holds a run.
    #[error(
        "{path} already holds a run: go on with it (--resume), replace it (--overwrite), or choose another folder (--out)"
    )]
    OutputInUse {
        /// The folder.
        path: String,
    },

    /// Another process, or another trainer of this one, writes to the output folder.
    #[error(
        "another process is training in {path}: wait for it or end it, or choose another folder (--out)"
    )]
    OutputLocked {
        /// The folder.
        path: String,
    },

    /// There is no run to go on with.
    #[error("{path} holds no run to resume: it has no config.json")]
    NothingToResume {
        /// The folder.
        path: String,
    },

    /// The run was started with other settings.
    #[error("{path} was started with other settings, which a resumed run cannot change: {}", differences.join("; "))]
    OtherConfig {
        /// The configuration of the run.
        path: String,
        /// What differs, as `name: old value, now new value`.
        differences: Vec<String>,
    },

    /// The data is not what the run was started with.
    #[error(
        "the run in {path} was started on other data, and a resumed run needs the same: now {now}, then {then}"
    )]
    OtherData {
        /// The output folder.
        path: String,
        /// The data when the checkpoint was written.
        then: String,
        /// The data now.
        now: String,
    },

    /// No checkpoint of the run can be used.
    #[error("no checkpoint in {path} can be used: {}", reasons.join("; "))]
    NoUsableCheckpoint {
        /// The folder of the checkpoints.
        path: String,
        /// What is wrong with each.
        reasons: Vec<String>,
    },

    /// A whole checkpoint does not fit the program.
    #[error("the checkpoint {path} does not fit: {message}")]
    Checkpoint {
        /// The checkpoint.
        path: String,
        /// Why.
        message: String,
    },

    /// The optimizer's state could not be saved or used.
    #[error(transparent)]
    Record(#[from] RecordError),

    /// The loss is not finite, under [`NonFiniteLoss::Stop`](super::NonFiniteLoss::Stop).
    #[error(
        "the loss of step {step} is {loss}; a lower learning rate, a warm-up or gradient clipping may help"
    )]
    LossNotFinite {
        /// The step, from 1.
        step: u64,
        /// The loss.
        loss: f64,
    },

    /// Every step left every parameter out.
    #[error(
        "no step of {steps} moved a parameter: all were left out of each, the last time {path} for its \
         {reason:?}; look for a NaN or an infinity in data, loss and weights"
    )]
    NothingMoved {
        /// Steps made.
        steps: u64,
        /// Path of a parameter.
        path: String,
        /// Why it was left out.
        reason: SkipReason,
    },

    /// A step was not made.
    #[error("step {step} was not made: {cause}")]
    Step {
        /// The step, from 1.
        step: u64,
        /// Why.
        #[source]
        cause: StepErrorCause,
    },

    /// The optimizer does not make the model to evaluate.
    #[error("the model to evaluate after step {step}: {cause}")]
    EvaluationModel {
        /// The step, from 1.
        step: u64,
        /// Why.
        #[source]
        cause: StepErrorCause,
    },

    /// The program's own code failed.
    #[error("{what} failed: {source}")]
    Task {
        /// What the trainer had asked for.
        what: &'static str,
        /// Why it failed.
        source: TaskError,
    },

    /// The program gave something that makes no sense.
    #[error("{what}, expected {expected}")]
    TaskInvalid {
        /// What it gave.
        what: String,
        /// What would be valid.
        expected: &'static str,
    },

    /// The sharpness could not be measured.
    #[error("the sharpness could not be measured: {0}")]
    Sharpness(#[source] CurvatureError),

    /// A picture could not be drawn.
    #[error("cannot draw {path}: {message}")]
    Picture {
        /// The file.
        path: String,
        /// Why.
        message: String,
    },

    /// The signals that end a process cannot be caught.
    #[error("cannot catch signals: {0}")]
    Signals(std::io::Error),
}

impl TrainerError {
    /// The exit code of a program that ends with it, as [`osculate_program::exit`] has them.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Setting { .. }
            | Self::Optimizer(_)
            | Self::Config { .. }
            | Self::OutputInUse { .. }
            | Self::OutputLocked { .. }
            | Self::NothingToResume { .. }
            | Self::OtherConfig { .. }
            | Self::OtherData { .. } => exit::USAGE,
            _ => exit::FAILURE,
        }
    }

    pub(crate) fn check(
        valid: bool,
        name: &'static str,
        value: impl Display,
        expected: &'static str,
    ) -> Result<(), Self> {
        if valid {
            Ok(())
        } else {
            Err(Self::Setting {
                name,
                value: value.to_string(),
                expected,
            })
        }
    }

    pub(crate) fn output(
        action: &'static str,
        path: &Path,
    ) -> impl FnOnce(std::io::Error) -> Self + use<> {
        let path = path.display().to_string();
        move |source| Self::Output {
            action,
            path,
            source,
        }
    }

    pub(crate) fn task(what: &'static str) -> impl FnOnce(TaskError) -> Self {
        move |source| Self::Task { what, source }
    }
}
