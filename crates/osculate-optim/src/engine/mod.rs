//! Runs block rules over a model: blocks, stacks, named state, and the refresh schedule.

mod blocks;
mod constructors;
mod error;
mod expenses;
pub mod modes;
mod per_parameter;
mod rows;
mod rule;
mod run;
mod schedule;
mod state;
mod store;
mod units;

pub(crate) use constructors::constructors;
pub use error::RuleError;
pub(crate) use expenses::expenses;
pub(crate) use per_parameter::{BLOCKS, extent_name};
pub use per_parameter::{PerParameter, PerParameterState};
pub use rows::{put_rows, take_rows};
pub use rule::{BlockRule, Field, Joined, Row, Solve, Stack, StackedCurvature, Stepped};
pub(crate) use run::{BlockInput, Prepared, each, prepare};
pub use schedule::{Refresh, RefreshSchedule};
pub use state::BlockState;
pub(crate) use store::BlockStore;
pub(crate) use units::Units;

#[cfg(test)]
mod tests;
