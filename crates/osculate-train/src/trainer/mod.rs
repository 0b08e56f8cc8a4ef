//! A training loop for programs with data of their own: checkpoints that resume bit for bit,
//! budgets, a log and pictures, with any optimizer of osculate or burn.
//!
//! A program implements [`Task`] (model, batches, evaluation), flattens [`TrainerArgs`] into its
//! flags and runs a [`Trainer`]; see [`TrainerArgs`] for the whole of it. For burn's `Learner`, which
//! owns the loop itself, see the crate's other modules.
//!
//! # The output folder
//!
//! | file | content |
//! |---|---|
//! | `config.json` | the program's configuration, [`TrainerConfig`] in its field `trainer` |
//! | `metrics.jsonl` | one [`Line`] of JSON for each log interval, evaluation and sharpness |
//! | `checkpoints/step-000000500/` | weights, optimizer state, place in the run, the best weights so far, and a manifest with lengths and checksums |
//! | `best.bpk` | the weights at the best evaluation, averaged ones where the optimizer averages, as burn's `ModuleRecord` |
//! | `best-before-resume.bpk` | those that were the best until the run was resumed from a checkpoint before them |
//! | `loss.svg`, `evaluation.svg`, `sharpness.svg` | the run in pictures |
//!
//! One process trains in a folder: it holds a lock on its file `.lock` as long as it lives.
//!
//! Where standard error is a terminal it shows a progress bar; elsewhere, and with `--no-progress`,
//! evaluations are events of the `tracing` crate at the level of information.
//!
//! # Resuming
//!
//! A run that was killed at any moment and resumed is bit for bit the run that was not: weights,
//! optimizer state, and the lines of `metrics.jsonl` but for seconds. This holds on devices whose
//! arithmetic is the same in every run, such as burn's CPU backends. A checkpoint is written under a
//! temporary name, flushed to the disk and renamed. Where the newest is damaged nevertheless, the run
//! says so and goes on from the one before it. Also a finished run may be made longer (`--resume --epochs 20`):
//! the schedule of the learning rate then spans the new length from there on, so that with another schedule than
//! the constant one it is not the run that had that length from its start. The program's own settings that say where its data lie may
//! change ([`Trainer::with_free`]); the data must be what they were ([`Task::fingerprint`]). `best.bpk` becomes that of the checkpoint, even if
//! the run had found better weights after it: it always holds the weights of [`Summary::best`].

mod args;
mod checkpoint;
mod config;
mod console;
mod drive;
mod error;
mod folder;
mod log;
mod picture;
mod plan;
mod recipe_file;
mod run;
mod schedule;
mod sharpness;
mod state;
mod summary;
mod task;

pub use osculate_program::Interrupt;

pub use args::TrainerArgs;
pub use config::{Length, NonFiniteLoss, SharpnessConfig, SharpnessKind, TrainerConfig};
pub use error::TrainerError;
pub use log::{CurvatureInUse, Line};
pub use run::{Finished, Trainer};
pub use schedule::{Schedule, ScheduleKind};
pub use state::Best;
pub use summary::{Ending, Summary};
pub use task::{Batch, BatchAt, Judged, Metrics, Task, TaskError, listed};
