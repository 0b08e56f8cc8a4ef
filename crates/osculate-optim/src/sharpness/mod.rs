//! Sharpness-aware minimisation: a gradient taken at perturbed weights, then the step of a base
//! optimizer from the weights themselves.

mod asam;
mod gsam;
mod looksam;
mod sam;

pub use asam::{Asam, AsamConfig};
pub use gsam::{Gsam, GsamConfig};
pub use looksam::{LookSam, LookSamConfig};
pub use sam::{Sam, SamConfig};

use burn::tensor::Tensor;
use osculate_curvature::ParamVec;

/// Added to norms that divide, as in the authors' code: a zero gradient is then not perturbed.
const NORM_EPSILON: f64 = 1e-12;

/// `rho / (norm + epsilon)` on the device. A norm that overflowed gives 0: the step then falls back
/// to the base optimizer's.
fn radius_over(rho: f64, norm: Tensor<1>, epsilon: f64) -> Tensor<1> {
    (norm.add_scalar(epsilon)).recip().mul_scalar(rho)
}

/// SAM's perturbation `rho g / |g|`.
fn perturbation(rho: f64, gradient: &ParamVec) -> ParamVec {
    gradient.scale_by(&radius_over(rho, gradient.norm_on_device(), NORM_EPSILON))
}

/// The perturbation `rho T^2 g / |T g|` of a diagonal normalisation `T`.
///
/// A weight that is not finite has no normalisation: it is left out, lest it take all others with
/// it through the norm.
fn scaled_perturbation(
    rho: f64,
    gradient: &ParamVec,
    normalisation: &ParamVec,
    epsilon: f64,
) -> ParamVec {
    let scaled = gradient.hadamard(normalisation).finite_or_zero();
    let factor = radius_over(rho, scaled.norm_on_device(), epsilon);
    scaled
        .scale_by(&factor)
        .hadamard(normalisation)
        .finite_or_zero()
}
