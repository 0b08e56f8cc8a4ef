//! The parts of the `osculate` command: workloads, fair tuning, races and studies of optimizers, and
//! what is reported of them.
//!
//! - [`workload`]: what is trained, and how to add a workload of your own.
//! - [`trial`]: one run and all that is measured of it.
//! - [`study`]: the protocol, in a folder that survives being killed.
//! - [`stats`]: intervals, censored medians, paired tests and performance profiles.
//! - [`analysis`] and [`report`]: what follows from the trials, as tables, figures and one page.
//! - [`command`]: the program.

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

pub mod accuracy;
pub mod analysis;
pub mod bench_step;
pub mod cli;
pub mod command;
pub mod compare;
pub mod entrant;
pub mod error;
mod first;
mod layer;
pub mod memory;
mod number;
pub mod race;
pub mod report;
mod shell;
pub mod stats;
pub mod study;
pub mod trial;
pub mod tuned;
pub mod workload;
