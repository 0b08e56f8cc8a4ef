//! Vectors in parameter space, and how they meet a module.

mod layout;
mod module;
pub(crate) mod random;
mod reduce;
mod vector;

pub(crate) use layout::compute_dtype;
pub use layout::{ParamEntry, ParamLayout};
pub(crate) use module::{Snapshot, collect_gradients, collect_registered};
pub use module::{assign, unflatten};
pub use vector::{FiniteFlags, ParamVec};
