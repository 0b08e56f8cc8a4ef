//! Eigenvalues and eigenvectors from products.

mod block;
mod density;
mod generalised;
mod krylov;
mod lanczos;
mod polynomial;
mod power;
mod quadrature;
mod tridiagonal;

pub use block::{BlockLanczosConfig, block_lanczos};
pub use density::{DensityConfig, DensityPoint, SpectralDensity, Width, spectral_density};
pub use generalised::{
    GeneralisedConfig, GeneralisedPair, GeneralisedSpectrum, generalised_lanczos,
};
pub use lanczos::{LanczosConfig, Spectrum, lanczos};
pub use polynomial::{KernelPolynomial, KernelPolynomialConfig, kernel_polynomial};
pub use power::{PowerIteration, PowerIterationConfig, power_iteration};
pub use quadrature::Quadrature;
pub(crate) use quadrature::krylov_basis;

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

/// Whether products with this error can support a result that is to be exact to `allowed`. Warns
/// where they cannot.
fn honest(product_error: Option<f64>, allowed: f64) -> bool {
    let Some(error) = product_error.filter(|error| error.is_nan() || *error > allowed) else {
        return true;
    };
    tracing::warn!(
        error,
        allowed,
        "products by finite differences are off by more than the tolerance: hand the batch over \
         (`Batched`, `SupervisedBatch`) for exact ones, use `GaussNewton`, or ask for less"
    );
    false
}
