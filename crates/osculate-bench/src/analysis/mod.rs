//! What follows from the trials of a race or a study.

mod arrival;
mod entrant;
#[cfg(test)]
pub(crate) mod example;
mod paired;
mod profiles;
mod rates;
mod results;
mod study;
mod target;
mod verdict;

pub use arrival::{Cost, Reached};
pub use entrant::{Edge, EntrantInput, EntrantResults, RunResult, TuneResult, entrant_results};
pub use paired::Paired;
pub use profiles::{LARGEST_FACTOR, Standing, standings};
pub use rates::RateResult;
pub use results::{Results, WorkloadResults};
pub use study::analyse;
pub use target::{BASELINE_SHARE, target};
pub use verdict::{CHANCE, Difference, Verdict, verdict};
