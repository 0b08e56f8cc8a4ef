use burn::config::Config;
use burn::tensor::Tensor;
use osculate_curvature::ParamVec;

use super::{
    GradientContext, GradientPoint, GradientSource, NORM_EPSILON, TakenGradient, over, radius_over,
};
use crate::config::{Check, ConfigError};
use crate::driver::StepErrorCause;
use crate::registry::{OptimizerRow, base_of, over_sgd, read, to_value};

/// Adversarial model perturbation: the gradient where a few steps uphill end, within a ball.
///
/// ```text
/// δ = 0,  g = ∇L(θ)
/// iterations times:
///     δ = δ + inner_lr g, scaled down to length rho where it is longer
///     g = ∇L(θ + δ)
/// θ = the optimizer's step at θ with g
/// ```
///
/// Unlike [`Sam`](super::Sam)'s, the perturbation shrinks with the gradient: `rho` bounds it. Curvature that
/// the optimizer asks for is taken at `θ + δ`.
///
/// - Cost: `1 + iterations` gradient evaluations a step.
/// - State: the optimizer's; while a step runs, two vectors more.
/// - Defaults: the authors': `rho` 0.5 (in the registry), `inner_lr` 1, one iteration, a ball for each tensor
///   as in their code (the paper has one ball for all: `per_tensor` false). `rho` 0 is the optimizer itself,
///   bit for bit.
/// - Learning rate: the optimizer's own.
/// - When not to use it: as [`Sam`](super::Sam).
///
/// Paper: Zheng et al., *Regularizing Neural Networks via Adversarial Model Perturbation*,
/// <https://arxiv.org/abs/2010.04925>.
///
/// ```
/// use burn::nn::{Linear, LinearConfig};
/// use burn::optim::SgdConfig;
/// use burn::tensor::{Device, Distribution, Tensor};
/// use osculate_optim::{ClosureOptimizer, Amp};
///
/// let device = Device::flex().autodiff();
/// device.seed(1);
/// let mut model: Linear = LinearConfig::new(4, 3).init(&device);
/// let x = Tensor::<2>::random([8, 4], Distribution::Default, &device);
/// let loss = |model: &Linear| model.forward(x.clone()).square().mean();
/// let mut optimizer = Amp::new(0.5).over(SgdConfig::new().init())?;
/// let mut losses = Vec::new();
/// for _ in 0..10 {
///     let step = optimizer.step(0.1, model, &loss)?;
///     losses.push(step.report.loss());
///     model = step.model;
/// }
/// assert!(losses[9] < losses[0]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Config, Debug, PartialEq)]
pub struct Amp {
    /// Largest length of the perturbation.
    pub rho: f64,
    /// Rate of the steps uphill. Default 1.
    #[config(default = 1.0)]
    pub inner_lr: f64,
    /// Steps uphill. Default 1.
    #[config(default = 1)]
    pub iterations: usize,
    /// Bounds the perturbation of each tensor by `rho`, not of all together. Default `true`.
    #[config(default = true)]
    pub per_tensor: bool,
}

over!(Amp);

impl Amp {
    /// Checks the settings.
    ///
    /// # Errors
    /// [`ConfigError`] for a negative or non-finite number, and no iterations.
    pub fn validate(&self) -> Result<(), ConfigError> {
        Check::of("Amp")
            .non_negative("rho", self.rho)
            .non_negative("inner_lr", self.inner_lr)
            .that(
                self.iterations > 0,
                "iterations",
                self.iterations,
                "at least 1",
            )
            .finish()
    }

    /// The perturbation, no longer than `rho`.
    fn within(&self, perturbation: &ParamVec) -> ParamVec {
        let bound = |norm: Tensor<1>| radius_over(self.rho, norm, NORM_EPSILON).clamp_max(1.0);
        if !self.per_tensor {
            return perturbation.scale_by(&bound(perturbation.norm_on_device()));
        }
        let norms = perturbation.norms_on_device().into_iter();
        perturbation.scale_each_by(&norms.map(bound).collect::<Vec<_>>())
    }
}

/// The registry's row.
pub(crate) static ROW: OptimizerRow = OptimizerRow {
    name: "amp",
    text: "the gradient where a few steps uphill end",
    learning_rate: 5e-2,
    gradients: 2.0,
    state: "the base's",
    defaults: || over_sgd(to_value(&Amp::new(0.5))?),
    build: |settings| Ok(read::<Amp>(settings, "settings")?.over(base_of(settings)?)?),
};

impl GradientSource for Amp {
    fn name(&self) -> &'static str {
        "amp"
    }

    fn validate(&self) -> Result<(), ConfigError> {
        self.validate()
    }

    fn take(&self, context: &mut GradientContext<'_>) -> Result<TakenGradient, StepErrorCause> {
        let mut gradient = context.gradient().clone();
        let mut perturbation = ParamVec::zeros(gradient.layout());
        for _ in 0..self.iterations {
            perturbation = self.within(&perturbation.axpy(self.inner_lr, &gradient));
            gradient = context.gradient_at(&perturbation)?;
        }
        Ok(TakenGradient {
            gradient,
            point: GradientPoint::LastEvaluated,
            refreshed: None,
        })
    }
}
