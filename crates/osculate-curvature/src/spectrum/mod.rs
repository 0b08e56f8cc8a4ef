//! Eigenvalues and eigenvectors from products.

mod lanczos;
mod power;
mod tridiagonal;

pub use lanczos::{LanczosConfig, Spectrum, lanczos};
pub use power::{PowerIteration, PowerIterationConfig, power_iteration};

use crate::params::ParamVec;

/// An approximate eigenvalue with its eigenvector.
#[derive(Debug, Clone)]
pub struct EigenPair {
    /// The eigenvalue, a Rayleigh quotient.
    pub value: f64,
    /// The eigenvector, of unit length.
    pub vector: ParamVec,
    /// `|A v - λ v|`: for a symmetric operator there is an eigenvalue within this distance of
    /// `value`. The error of the products themselves is not part of it.
    pub residual: f64,
    /// Whether the residual is within the tolerance.
    pub converged: bool,
}
