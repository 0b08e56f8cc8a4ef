use burn::train::TrainingError;
use burn::train::checkpoint::CheckpointerError;
use burn::train::train::WorkerFailure;
use osculate_optim::{RecordError, SkipReason, StepErrorCause};
use thiserror::Error;

use super::checkpoint::CheckpointError;

/// Why a training under [`Osculate`](super::Osculate) stopped.
///
/// burn's `LearningResult::error` holds the same text in a `TrainingError`; this is the error itself,
/// from [`Monitor::error`](super::Monitor::error). The model comes back with the weights before the
/// step that failed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum LearnerError {
    /// A step was given up.
    #[error("epoch {epoch}, iteration {iteration}: {cause}")]
    Step {
        /// Epoch, from 1.
        epoch: usize,
        /// Batch within the epoch, from 1.
        iteration: usize,
        /// What happened.
        cause: StepErrorCause,
    },

    /// The method needs the model's outputs.
    #[error(
        "epoch {epoch}, iteration {iteration}: {what} needs the model's outputs and the loss's kind: \
         implement `SupervisedModel` for the model and make the strategy with \
         `Osculate::supervised`"
    )]
    NotSupervised {
        /// Epoch, from 1.
        epoch: usize,
        /// Batch within the epoch, from 1.
        iteration: usize,
        /// What needs them.
        what: &'static str,
    },

    /// The method needs the outputs of one batch, and there are several to a step.
    #[error(
        "{what} needs the outputs of one batch, which a step on {batches} accumulated batches does \
         not have: train without `grads_accumulation`, or with another method"
    )]
    Accumulated {
        /// What needs them.
        what: &'static str,
        /// Batches of the step.
        batches: usize,
    },

    /// The weights were restored from a checkpoint, and the optimizer's state was not.
    #[error(
        "the weights were restored from a checkpoint that has no state of the optimizer inside the model: \
         train with `Learner::new(model, model.carrier(), ..)` from the start, or load the weights into the \
         model before `InStep::new` to begin a training with them"
    )]
    NotCarried,

    /// The optimizer does not make the model to validate on.
    #[error("the model to validate on: {cause}")]
    Evaluation {
        /// What happened.
        cause: StepErrorCause,
    },

    /// There were epochs, and no step in them.
    #[error(
        "no step was made in {epochs} epochs: the data loader gave no batch, or fewer than the \
         {batches_of_step} of a step"
    )]
    NoStep {
        /// Epochs made.
        epochs: usize,
        /// Batches of a step: those of `grads_accumulation`, or 1.
        batches_of_step: usize,
    },

    /// Every step left every parameter out.
    #[error(
        "no step of {steps} moved a parameter: all were left out of each, the first of them {path} for its \
         {reason:?}; look for a NaN or an infinity in data, loss and weights"
    )]
    NothingMoved {
        /// Steps made.
        steps: usize,
        /// Path of a parameter.
        path: String,
        /// Why it was left out.
        reason: SkipReason,
    },

    /// A checkpoint could not be written or restored.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),

    /// The optimizer does not take over the state of a checkpoint.
    #[error("the optimizer's state in checkpoint {epoch}: {source}")]
    State {
        /// The checkpoint.
        epoch: usize,
        /// Why.
        source: RecordError,
    },
}

impl LearnerError {
    /// The same for burn, whose error type is closed.
    pub(super) fn for_burn(&self) -> TrainingError {
        let message = self.to_string();
        match self {
            Self::Checkpoint(_) | Self::State { .. } => {
                TrainingError::Checkpoint(CheckpointerError::Unknown(message))
            }
            _ => TrainingError::Workers(vec![WorkerFailure {
                device_id: 0,
                message,
            }]),
        }
    }
}
