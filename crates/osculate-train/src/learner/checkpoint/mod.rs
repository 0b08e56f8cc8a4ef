//! Checkpoints of a training, the optimizer's state included.

mod error;
mod files;
mod stores;

pub use error::CheckpointError;
pub use stores::{OptimizerStore, RecordStore};

use std::collections::BTreeMap;
use std::fmt::{Display, Formatter};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use burn::train::checkpoint::CheckpointerError;
use osculate_optim::StateRecord;

use files::Files;
use stores::for_burn;

const MODEL: &str = "model";
const OPTIMIZER: &str = "optim";
const SCHEDULER: &str = "scheduler";
const PARTS: [&str; 3] = [MODEL, OPTIMIZER, SCHEDULER];

/// Checkpoints of a training under [`Osculate`](super::Osculate): model, optimizer and learning-rate
/// schedule, one file each, named as burn names them (`model-3.bpk`, `optim-3.bpk`,
/// `scheduler-3.bpk`).
///
/// burn decides when checkpoints are saved and deleted, by its checkpointing strategy, and restores
/// one under `SupervisedTraining::checkpoint(n)`. Every file is written under a temporary name and
/// renamed, with a checksum beside it. A checkpoint is used if all its files are whole; otherwise
/// the newest whole one before it is, with a `tracing` warning that names the damaged files, and
/// [`restored`](Self::restored) tells. The training then goes on from the epoch after that one.
///
/// A training that goes on from a checkpoint ends with the same weights, bit for bit, as one that was
/// not interrupted, if its batches are the same: the strategy advances shuffled data loaders to the
/// epoch. Loaders with several workers deliver batches in any order.
///
/// Clones are the same checkpoints.
///
/// ```
/// use osculate_train::learner::{Checkpoints, Osculate};
/// # use burn::train::{LearnerModel, SupervisedTraining};
/// # use osculate_optim::ClosureOptimizer;
/// # fn typed<M: LearnerModel>(
/// #     training: SupervisedTraining<M>,
/// #     optimizer: Box<dyn ClosureOptimizer<M>>,
/// # ) -> Result<SupervisedTraining<M>, Box<dyn std::error::Error>>
/// # where
/// #     <M as burn::train::TrainStep>::Input: Clone,
/// # {
/// let checkpoints = Checkpoints::new("runs/digits/checkpoint");
/// let mut training = training
///     .with_custom_checkpointers(
///         checkpoints.model(),
///         checkpoints.optimizer(),
///         checkpoints.scheduler(),
///     )
///     .with_training_strategy(
///         Osculate::new(optimizer)
///             .with_checkpoints(&checkpoints)
///             .into(),
///     );
/// if let Some(found) = checkpoints.latest()? {
///     training = training.checkpoint(found.epoch);
/// }
/// # Ok(training)
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Checkpoints {
    pub(super) shared: Arc<Shared>,
}

/// A checkpoint that is whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The epoch asked for.
    pub asked: usize,
    /// The epoch found: the one asked for, or the newest before it that is whole.
    pub epoch: usize,
    /// What is wrong with the checkpoints that were passed over, file by file.
    pub damaged: Vec<String>,
}

impl Display for Found {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        if self.damaged.is_empty() {
            return write!(f, "checkpoint {}", self.epoch);
        }
        write!(
            f,
            "checkpoint {} is damaged, {} is used instead: {}",
            self.asked,
            self.epoch,
            self.damaged.join("; ")
        )
    }
}

impl Checkpoints {
    /// The checkpoints in a folder, which is made when the first is saved.
    pub fn new(directory: impl AsRef<Path>) -> Self {
        let shared = Shared {
            files: Files::new(directory.as_ref()),
            registered: AtomicBool::new(false),
            offered: Mutex::default(),
            found: Mutex::default(),
            restored: Mutex::default(),
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// The first checkpointer for `SupervisedTraining::with_custom_checkpointers`.
    pub fn model(&self) -> RecordStore {
        self.record_store(MODEL)
    }

    /// The second checkpointer for `SupervisedTraining::with_custom_checkpointers`.
    pub fn optimizer(&self) -> OptimizerStore {
        self.shared.registered.store(true, Ordering::Relaxed);
        OptimizerStore {
            part: OPTIMIZER,
            shared: self.shared.clone(),
        }
    }

    /// The third checkpointer for `SupervisedTraining::with_custom_checkpointers`.
    pub fn scheduler(&self) -> RecordStore {
        self.record_store(SCHEDULER)
    }

    fn record_store(&self, part: &'static str) -> RecordStore {
        RecordStore {
            part,
            shared: self.shared.clone(),
        }
    }

    /// The newest checkpoint that is whole, `None` where there is none at all. Reads the files.
    ///
    /// # Errors
    /// [`CheckpointError::Damaged`] where there are checkpoints and none is whole, and
    /// [`CheckpointError::File`].
    pub fn latest(&self) -> Result<Option<Found>, CheckpointError> {
        let epochs = self.shared.files.epochs(&PARTS)?;
        epochs.last().map(|&epoch| self.find(epoch)).transpose()
    }

    /// The checkpoint of an epoch, or the newest before it that is whole. Reads the files.
    ///
    /// # Errors
    /// [`CheckpointError::Missing`] where no file of the epoch exists,
    /// [`CheckpointError::Damaged`] where neither it nor one before it is whole, and
    /// [`CheckpointError::File`].
    pub fn find(&self, epoch: usize) -> Result<Found, CheckpointError> {
        self.shared.find(epoch)
    }

    /// The checkpoint that the training went on from, `None` where it began anew.
    pub fn restored(&self) -> Option<Found> {
        lock(&self.shared.found).clone()
    }
}

/// What the three checkpointers and the strategy share.
#[derive(Debug)]
pub(super) struct Shared {
    files: Files,
    /// Whether the checkpointer of the optimizer was asked for.
    registered: AtomicBool,
    /// States of epochs that burn may ask to save.
    offered: Mutex<BTreeMap<usize, StateRecord>>,
    /// The checkpoint that is being restored.
    found: Mutex<Option<Found>>,
    /// The optimizer's state of that checkpoint.
    restored: Mutex<Option<(usize, StateRecord)>>,
}

impl Shared {
    /// Whether the optimizer's state can reach a file.
    pub(super) fn is_registered(&self) -> bool {
        self.registered.load(Ordering::Relaxed)
    }

    /// Hands over the state at the end of an epoch, before burn decides whether to save it.
    ///
    /// burn saves on another thread, one checkpoint at a time: of two epochs before, nothing is
    /// still to be saved.
    pub(super) fn offer(&self, epoch: usize, state: StateRecord) {
        let mut offered = lock(&self.offered);
        offered.retain(|&earlier, _| earlier + 1 >= epoch);
        offered.insert(epoch, state);
    }

    fn take_offered(&self, epoch: usize) -> Result<StateRecord, CheckpointError> {
        lock(&self.offered)
            .remove(&epoch)
            .ok_or(CheckpointError::NoState { epoch })
    }

    /// The epoch and the optimizer's state of the restored checkpoint, once.
    pub(super) fn take_restored(&self) -> Option<(usize, StateRecord)> {
        lock(&self.restored).take()
    }

    fn keep_restored(&self, epoch: usize, state: StateRecord) {
        *lock(&self.restored) = Some((epoch, state));
    }

    fn path(&self, part: &str, epoch: usize) -> String {
        self.files.path(part, epoch).display().to_string()
    }

    fn write(&self, part: &str, epoch: usize, bytes: &[u8]) -> Result<(), CheckpointerError> {
        self.files.write(part, epoch, bytes).map_err(for_burn)
    }

    fn delete(&self, part: &str, epoch: usize) -> Result<(), CheckpointerError> {
        self.files.delete(part, epoch).map_err(for_burn)
    }

    /// One part of the checkpoint to restore, with its epoch. All parts are of one epoch: the
    /// checkpoint is chosen when the first part is asked for.
    fn restore(&self, part: &str, epoch: usize) -> Result<(usize, Vec<u8>), CheckpointerError> {
        let known = lock(&self.found).clone();
        let found = match known {
            Some(found) if found.asked == epoch && part != MODEL => found,
            _ => {
                let found = self.find(epoch).map_err(for_burn)?;
                if !found.damaged.is_empty() {
                    tracing::warn!("{found}");
                }
                *lock(&self.found) = Some(found.clone());
                found
            }
        };
        let bytes = self
            .files
            .read(part, found.epoch)
            .map_err(|damage| CheckpointerError::Unknown(damage.message()))?;
        Ok((found.epoch, bytes))
    }

    fn find(&self, asked: usize) -> Result<Found, CheckpointError> {
        let available = self.files.epochs(&PARTS)?;
        if !available.contains(&asked) {
            return Err(CheckpointError::Missing {
                epoch: asked,
                directory: self.files.directory(),
                available,
            });
        }
        let mut damaged = Vec::new();
        for &epoch in available.iter().rev().filter(|&&epoch| epoch <= asked) {
            let before = damaged.len();
            for part in PARTS {
                let read = self.files.read(part, epoch);
                damaged.extend(read.err().map(|damage| damage.message()));
            }
            if damaged.len() == before {
                return Ok(Found {
                    asked,
                    epoch,
                    damaged,
                });
            }
        }
        Err(CheckpointError::Damaged {
            epoch: asked,
            directory: self.files.directory(),
            damaged,
        })
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // No code panics while it holds a lock, and the data would be whole if it did.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
