use thiserror::Error;

/// Why a checkpoint could not be written or restored.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CheckpointError {
    /// There is no such checkpoint.
    #[error(
        "there is no checkpoint {epoch} in {directory}; it has {}",
        listed(available)
    )]
    Missing {
        /// The epoch asked for.
        epoch: usize,
        /// The folder looked into.
        directory: String,
        /// The checkpoints there are.
        available: Vec<usize>,
    },

    /// Neither the checkpoint nor any before it is whole.
    #[error(
        "checkpoint {epoch} in {directory} is damaged, and there is no whole one before it: {}",
        damaged.join("; ")
    )]
    Damaged {
        /// The epoch asked for.
        epoch: usize,
        /// The folder looked into.
        directory: String,
        /// What is wrong, file by file.
        damaged: Vec<String>,
    },

    /// A file could not be written, read or removed.
    #[error("cannot {action} {path}: {message}")]
    File {
        /// What was attempted.
        action: &'static str,
        /// The file.
        path: String,
        /// Why it failed.
        message: String,
    },

    /// A whole file does not hold what it should.
    #[error("{path} is not a checkpoint of this kind: {message}")]
    Format {
        /// The file.
        path: String,
        /// What is wrong.
        message: String,
    },

    /// burn's own checkpointers were registered, which do not see the optimizer's state.
    #[error(
        "burn's own checkpointers leave out the state of a closure optimizer: \
         register those of `Checkpoints` with `with_custom_checkpointers`, and hand it to \
         `Osculate::with_checkpoints`"
    )]
    Detached,

    /// The training was to go on from a checkpoint, and none was restored.
    #[error(
        "no checkpoint was restored although {epoch} was asked for: register the checkpointers of \
         the `Checkpoints` that `Osculate::with_checkpoints` was given"
    )]
    NotRestored {
        /// The epoch asked for.
        epoch: usize,
    },

    /// The strategy has nothing to save at an epoch.
    #[error(
        "there is no optimizer state of epoch {epoch} to save: hand the `Checkpoints` to \
         `Osculate::with_checkpoints` too"
    )]
    NoState {
        /// The epoch.
        epoch: usize,
    },
}

fn listed(epochs: &[usize]) -> String {
    if epochs.is_empty() {
        return "none".to_string();
    }
    let epochs: Vec<String> = epochs.iter().map(usize::to_string).collect();
    epochs.join(", ")
}
