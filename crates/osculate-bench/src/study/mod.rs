//! A study: every optimizer on every workload, tuned with equal budgets, in a folder that several
//! processes may share and that survives being killed.
//!
//! # Protocol
//! 1. **Tuning.** Every optimizer gets the same number of trials on every workload, at learning rates
//!    between `centre / width` and `centre * width`, where the centre is the rate that its
//!    documentation begins a search at. The places within that range are the same for all optimizers:
//!    a lattice, shifted by the study's seed. Trials have a seed of their own, and are measured on data
//!    held out for them where the workload has data: see
//!    [`Workload::for_tuning`](crate::workload::Workload::for_tuning).
//! 2. **Choice.** The trial with the best last measurement wins; where measurements are equal, the one
//!    with the better mean over its run.
//! 3. **Runs.** The winner is run with every seed. Seed for seed, all optimizers start at the same
//!    weights and see the same batches.
//! 4. **Target.** What the baseline, tuned AdamW, reaches within the first three quarters of its run,
//!    the median over its seeds; or a value that the workload fixes.
//! 5. **Step times** are measured in turns in one process, each workload at its winners' rates.
//!
//! A run that never reaches the target is kept as censored at its end. An optimizer that panics has failed; it
//! does not stop the others.
//!
//! # Folder
//! `study.json` holds the configuration, `trials/WORKLOAD/OPTIMIZER/tune-NN.json` and `run-sN.json` the
//! trials, `trials/WORKLOAD/step-times.json` the step times, and `claims/` one lock file for each of
//! them. A process holds the lock while it runs the trial, and the system releases it however the
//! process ends.

mod board;
mod config;
mod job;
mod search;
mod store;
mod worker;
mod workers;

pub use board::{Board, Progress};
pub use config::{Budget, StudyConfig};
pub use job::Job;
pub use search::{TUNING_SEED, rates, winner};
pub(crate) use store::{CONFIG, write};
pub use store::{Claim, Found, Store};
pub use worker::{Event, work};
pub use workers::run_workers;
