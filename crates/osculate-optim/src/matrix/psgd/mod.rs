//! PSGD: preconditioners fitted by gradient descent on Lie groups, without inverses.
//!
//! A preconditioner `P = QᵀQ` is fitted to pairs `(v, h)` by descent on `E[hᵀPh + vᵀP⁻¹v]`.
//! *Newton* takes `h = Hv` for random `v`, whose minimum is `P = |H|⁻¹`. *Whitening* takes the
//! gradient for `h`, with `v` independent of it: `P = E[ggᵀ]^(-1/2)`. Descent is on `Q`, in a local
//! geometry of its group, with a step normalised by a running Lipschitz bound.

mod dense;
mod descent;
mod diagonal;
mod factor;
mod geometry;
mod kron;
mod low_rank;
mod lra;
mod precondition;
mod probes;
mod solve;

pub use dense::{PsgdDense, PsgdDenseConfig};
pub use diagonal::{PsgdDiagonal, PsgdDiagonalConfig};
pub use geometry::{PsgdGeometry, SpectralNorm};
pub use kron::{PsgdKron, PsgdKronConfig};
pub use lra::{PsgdLra, PsgdLraConfig};
pub use precondition::PsgdFit;
pub use probes::RowProbeFn;
