//! The parts of a checkpoint as burn's checkpointers.

use std::sync::Arc;

use burn::optim::{OptimizerRecord, SgdConfig};
use burn::tensor::Bytes;
use burn::train::checkpoint::{Checkpoint, Checkpointer, CheckpointerError};
use osculate_optim::StateRecord;

use super::{CheckpointError, Shared};

/// Saves and restores the model or the schedule of the learning rate. Made by
/// [`Checkpoints`](super::Checkpoints).
pub struct RecordStore {
    pub(super) part: &'static str,
    pub(super) shared: Arc<Shared>,
}

/// Saves and restores the state of the strategy's optimizer, in place of the unused state of the
/// burn optimizer in the `Learner`. Made by [`Checkpoints`](super::Checkpoints).
pub struct OptimizerStore {
    pub(super) part: &'static str,
    pub(super) shared: Arc<Shared>,
}

impl<R: Checkpoint> Checkpointer<R> for RecordStore {
    fn save(&self, epoch: usize, record: R) -> Result<(), CheckpointerError> {
        let bytes = record
            .checkpoint_into_bytes()
            .map_err(CheckpointerError::Record)?;
        self.shared.write(self.part, epoch, &bytes)
    }

    fn delete(&self, epoch: usize) -> Result<(), CheckpointerError> {
        self.shared.delete(self.part, epoch)
    }

    fn restore(&self, epoch: usize) -> Result<R, CheckpointerError> {
        let (_, bytes) = self.shared.restore(self.part, epoch)?;
        R::checkpoint_from_bytes(Bytes::from_bytes_vec(bytes)).map_err(CheckpointerError::Record)
    }
}

impl Checkpointer<OptimizerRecord> for OptimizerStore {
    fn save(&self, epoch: usize, _record: OptimizerRecord) -> Result<(), CheckpointerError> {
        let state = self.shared.take_offered(epoch).map_err(for_burn)?;
        let bytes = state.to_bytes().map_err(|error| {
            for_burn(CheckpointError::Format {
                path: self.shared.path(self.part, epoch),
                message: error.to_string(),
            })
        })?;
        self.shared.write(self.part, epoch, &bytes)
    }

    fn delete(&self, epoch: usize) -> Result<(), CheckpointerError> {
        self.shared.delete(self.part, epoch)
    }

    fn restore(&self, epoch: usize) -> Result<OptimizerRecord, CheckpointerError> {
        let (used, bytes) = self.shared.restore(self.part, epoch)?;
        let state = StateRecord::from_bytes(bytes).map_err(|error| {
            for_burn(CheckpointError::Format {
                path: self.shared.path(self.part, used),
                message: error.to_string(),
            })
        })?;
        self.shared.keep_restored(used, state);
        // The burn optimizer in the `Learner` makes no steps, so its state is that of a new one.
        Ok(SgdConfig::new().init().to_record())
    }
}

pub(super) fn for_burn(error: CheckpointError) -> CheckpointerError {
    CheckpointerError::Unknown(error.to_string())
}
