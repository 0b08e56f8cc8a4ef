//! What the members of the family share around the preconditioner.

use burn::config::Config;
use burn::tensor::Tensor;

use super::geometry::floored;

/// What the preconditioner is fitted to.
///
/// ```
/// use osculate_optim::{BlockRule, PsgdFit, PsgdKronConfig};
/// let whitening = PsgdKronConfig::new().rule()?;
/// assert!(!whitening.wants_curvature(0));
/// let newton = PsgdKronConfig::new().with_fit(PsgdFit::Newton).rule()?;
/// assert!(newton.wants_curvature(0));
/// # Ok::<(), osculate_optim::ConfigError>(())
/// ```
#[derive(Config, Debug, Copy, PartialEq, Eq)]
pub enum PsgdFit {
    /// The gradient: `P = E[ggᵀ]^(-1/2)`.
    Whitening,
    /// The momentum instead of the gradient. Multiply learning rates by `√((1 - μ) / (1 + μ))`.
    WhiteningMomentum,
    /// Hessian products: `P = |H|⁻¹`. For the closure optimizer alone; a product is 2 gradient
    /// evaluations.
    Newton,
}

/// The average `m` after a gradient, and the count of steps after it: a plain mean until the count
/// reaches `μ / (1 - μ)`, so that no bias is to be corrected.
pub(super) fn averaged(
    m: Tensor<2>,
    gradient: Tensor<2>,
    count: &Tensor<2>,
    momentum: f64,
) -> Tensor<2> {
    let decay = count.clone() / count.clone().add_scalar(1.0);
    let decay = decay.clamp_max(momentum);
    let complement = decay.clone().neg().add_scalar(1.0);
    m * decay + gradient * complement
}

/// Root of the mean square of every row, `[k, 1]`, without overflow.
pub(super) fn rms(x: &Tensor<2>) -> Tensor<2> {
    let scale = floored(x.clone().abs().max_dim(1));
    (x.clone() / scale.clone()).square().mean_dim(1).sqrt() * scale
}

/// `(mean x⁴ + damping⁴)^¼` of every row, without overflow.
pub(super) fn fourth_moment(x: &Tensor<2>, damping: f64) -> Tensor<2> {
    let scale = floored(x.clone().abs().max_dim(1).clamp_min(damping));
    let fourth = |x: Tensor<2>| x.square().square();
    let mean = fourth(x.clone() / scale.clone()).mean_dim(1);
    let floor = fourth(scale.clone().recip().mul_scalar(damping));
    (mean + floor).sqrt().sqrt() * scale
}

/// The rows scaled down to at most this root mean square.
pub(super) fn limited(x: Tensor<2>, limit: f64) -> Tensor<2> {
    let factor = floored(rms(&x)).recip().mul_scalar(limit).clamp_max(1.0);
    x * factor
}

/// Limits of the preconditioned gradient.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clip {
    pub rms: Option<f64>,
    pub element: Option<f64>,
}

impl Clip {
    pub(super) fn apply(self, direction: Tensor<2>) -> Tensor<2> {
        let direction = match self.rms {
            Some(limit) => limited(direction, limit),
            None => direction,
        };
        match self.element {
            Some(limit) => direction.clamp(-limit, limit),
            None => direction,
        }
    }
}

/// Largest root mean square of a preconditioned gradient that reaches the statistics. Beyond it the
/// gradient outweighs the probe a million times, so the update is the same; without the limit one
/// spike would overflow the statistics, or hold the step size down for hundreds of steps.
pub(super) const STATISTICS_LIMIT: f64 = 1e3;
