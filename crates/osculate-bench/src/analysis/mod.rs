//! What follows from the trials of a race or a study.

mod entrant;
mod profiles;
mod results;
mod study;
mod target;

pub use entrant::{
    Cost, EntrantInput, EntrantResults, Paired, Reached, RunResult, TuneResult, entrant_results,
};
pub use profiles::{LARGEST_FACTOR, Standing, standings};
pub use results::{Results, WorkloadResults};
pub use study::analyse;
pub use target::{BASELINE_SHARE, target};
