//! Vectors in parameter space, and how they meet a module.

mod basis;
mod finite;
mod layout;
mod module;
pub(crate) mod random;
mod reduce;
mod vector;

pub(crate) use basis::{Basis, ThinQr, thin_qr};
pub use finite::FiniteFlags;
pub(crate) use layout::compute_dtype;
pub use layout::{ParamEntry, ParamLayout};
pub(crate) use module::{Snapshot, collect_gradients, collect_registered};
pub use module::{assign, unflatten};
pub(crate) use reduce::read_together;
pub use vector::ParamVec;
