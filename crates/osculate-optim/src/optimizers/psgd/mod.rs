//! PSGD: preconditioners fitted by gradient descent on Lie groups, without inverses.
//!
//! A preconditioner `P = QᵀQ` is fitted to pairs `(v, h)` by descent on `E[hᵀPh + vᵀP⁻¹v]`.
//! *Newton* takes `h = Hv` for random `v`, whose minimum is `P = |H|⁻¹`. *Whitening* takes the
//! gradient for `h`, with `v` independent of it: `P = E[ggᵀ]^(-1/2)`. Descent is on `Q`, in a local
//! geometry of its group, with a step normalised by a running Lipschitz bound.

pub(crate) mod dense;
mod descent;
pub(crate) mod diagonal;
mod factor;
mod factors;
mod geometry;
pub(crate) mod kron;
mod low_rank;
pub(crate) mod lra;
mod precondition;
mod probes;
mod settings;
mod solve;

pub use dense::{PsgdDense, PsgdDenseConfig};
pub use diagonal::PsgdDiagonalConfig;
pub use geometry::{PsgdGeometry, SpectralNorm};
pub use kron::{PsgdKron, PsgdKronConfig};
pub use lra::{PsgdLra, PsgdLraConfig};
pub use precondition::PsgdFit;
pub use probes::RowProbeFn;
