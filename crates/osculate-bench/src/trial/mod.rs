//! One optimizer on one workload with one learning rate and one seed.

mod curvature;
mod machine;
mod panic;
mod rates;
mod record;
mod step_times;
mod train;

pub use curvature::Curvature;
pub use machine::{Environment, computes_here, peak_memory, reset_peak_memory};
pub(crate) use panic::caught;
pub use rates::{Rates, RatesSpec};
pub(crate) use record::MOST_STEPS;
pub use record::{Outcome, Point, Products, Trial, TrialSpec};
pub use step_times::{StepBlocks, StepTimes, StepTimesSpec, interleaved};
pub use train::{Trainer, Watch};
