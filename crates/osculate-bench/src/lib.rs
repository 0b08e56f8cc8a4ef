//! The parts of the `osculate` command: races of optimizers, and what is reported of them.

pub mod accuracy;
pub mod cli;
pub mod error;
pub mod memory;
pub mod nets;
pub mod race;
pub mod registry;
pub mod report;
pub mod run;
