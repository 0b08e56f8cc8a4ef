//! NAG-GS, which is heavy ball under other names.

use super::sgdw::SgdwConfig;
use crate::config::{Check, ConfigError};

/// NAG-GS as what it is: SGD with momentum, and a schedule of its rate.
///
/// With `a = α / (1 + α)` and `b = αμ / (αμ + γ)` the method is written as
///
/// ```text
/// x = (1 - a) x + a v        γ = (1 - a) γ + a μ        v = (1 - b) v + b x - (b / μ) ∇f(x)
/// ```
///
/// Without `v` that is
///
/// ```text
/// x_{k+1} = x_k + γ_k / D_k (x_k - x_{k-1}) - α² / D_k ∇f(x_k),    D_k = (1 + α)(γ_k + αμ)
/// ```
///
/// and since `γ_k (1 + α) = γ_{k-1} + αμ`, it is heavy ball `m = β m + ∇f(x)`, `x = x - η_k m` with a constant
/// momentum and a rate that goes from one value to another as `γ_k = μ + (γ - μ) / (1 + α)^k` does:
///
/// ```text
/// β = 1 / (1 + α)²        η_k = α² / ((1 + α)(γ_k + αμ))        k = 1, 2, ..
/// ```
///
/// With the released defaults `α` 0.05, `μ` 1 and `γ` 1.5 that is a momentum of 0.907 and a rate from 0.00156
/// to 0.00227. There is no method to add, only this translation; step
/// [`optimizer`](Self::optimizer) at [`learning_rate`](Self::learning_rate).
///
/// The paper's first step moves nothing, since `v` starts at `x`; it is left out. The released code for
/// PyTorch forgets to keep `γ`: that is heavy ball at the constant rate `α² / ((1 + α)(γ + αμ))` with the
/// momentum `γ / ((1 + α)(γ + αμ))`.
///
/// - Cost, state: those of [`SgdwConfig`].
/// - When not to use it: where SGD with momentum is no good, this is none either.
///
/// Paper: Leplat et al., *NAG-GS: Semi-Implicit, Accelerated and Robust Stochastic Optimizer*,
/// <https://arxiv.org/abs/2209.14937>.
///
/// ```
/// use burn::nn::{Linear, LinearConfig};
/// use burn::tensor::{Device, Distribution, Tensor};
/// use osculate_optim::{ClosureOptimizer, NagGs};
///
/// let device = Device::flex().autodiff();
/// device.seed(1);
/// let mut model: Linear = LinearConfig::new(4, 3).init(&device);
/// let x = Tensor::<2>::random([8, 4], Distribution::Default, &device);
/// let loss = |model: &Linear| model.forward(x.clone()).square().mean();
/// let method = NagGs { alpha: 0.25, mu: 1.0, gamma: 1.5 };
/// let mut optimizer = method.optimizer()?;
/// let mut losses = Vec::new();
/// for step in 0..10 {
///     let step = optimizer.step(method.learning_rate(step), model, &loss)?;
///     losses.push(step.report.loss());
///     model = step.model;
/// }
/// assert!(losses[9] < losses[0]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct NagGs {
    /// Step of the discretisation, `α`. The released default is 0.05.
    pub alpha: f64,
    /// The curvature that `γ` goes to, `μ`. The released default is 1.
    pub mu: f64,
    /// `γ` before the first step. The released default is 1.5.
    pub gamma: f64,
}

impl Default for NagGs {
    fn default() -> Self {
        Self {
            alpha: 0.05,
            mu: 1.0,
            gamma: 1.5,
        }
    }
}

impl NagGs {
    /// Checks the constants.
    ///
    /// # Errors
    /// [`ConfigError`] for one that is not positive and finite.
    pub fn validate(&self) -> Result<(), ConfigError> {
        Check::of("NagGs")
            .positive("alpha", self.alpha)
            .positive("mu", self.mu)
            .positive("gamma", self.gamma)
            .finish()
    }

    /// The momentum `1 / (1 + α)²`.
    pub fn momentum(&self) -> f64 {
        (1.0 + self.alpha).powi(-2)
    }

    /// The learning rate of a step, from 0 on.
    pub fn learning_rate(&self, step: u64) -> f64 {
        let faded = (1.0 + self.alpha).powf(-(step as f64 + 1.0));
        let gamma = self.mu + (self.gamma - self.mu) * faded;
        self.alpha * self.alpha / ((1.0 + self.alpha) * (gamma + self.alpha * self.mu))
    }

    /// The optimizer to step at these rates: SGD with this momentum, without weight decay.
    ///
    /// # Errors
    /// As [`validate`](Self::validate).
    pub fn optimizer(&self) -> Result<crate::Driver, ConfigError> {
        self.validate()?;
        let sgd = SgdwConfig::new().with_weight_decay(0.0);
        sgd.with_momentum(self.momentum()).init()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constants_must_be_positive() {
        for (alpha, mu, gamma, field) in [
            (0.0, 1.0, 1.0, "alpha"),
            (0.1, -1.0, 1.0, "mu"),
            (0.1, 1.0, f64::NAN, "gamma"),
        ] {
            let error = NagGs { alpha, mu, gamma }.optimizer().unwrap_err();
            assert_eq!((error.config, error.field), ("NagGs", field));
        }
    }
}
