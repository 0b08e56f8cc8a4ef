//! What is shown and kept of a race or a study.

mod grid;
mod tables;

pub use grid::{Grid, Notation};
pub use tables::{standings, tuning, workload};
