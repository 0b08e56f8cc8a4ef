use burn::config::Config;

use super::{
    GradientContext, GradientPoint, GradientSource, TakenGradient, over, perturbation, unit,
};
use crate::config::{Check, ConfigError};
use crate::driver::StepErrorCause;
use crate::registry::{OptimizerRow, base_of, over_sgd, read, to_value};

/// Gradient-norm aware minimisation by Hessian products: the gradient of the loss and of the largest
/// gradient norm nearby, `L + alpha rho max_{|δ| <= rho} |∇L(θ + δ)|`.
///
/// ```text
/// u = g / |g|,  f = H(θ) u,  δ = rho f / |f|
/// a = ∇L(θ + δ),  h = rho H(θ + δ) a / |a|
/// θ = the optimizer's step at θ with g + alpha h
/// ```
///
/// Norms are over all parameters together, with 1e-12 added. Curvature that the optimizer asks for is taken
/// at `θ`. Products are exact where the objective hands its batch over
/// ([`SupervisedBatch`](osculate_curvature::SupervisedBatch)), finite differences otherwise.
///
/// - Cost: 2 gradient evaluations and 2 Hessian products a step, 6 to 8 evaluations together.
///   [`FastGam`](super::FastGam) takes 4.
/// - State: the optimizer's; while a step runs, three vectors more.
/// - Defaults: `rho` 0.2, the authors' radius of the gradient norm; `alpha` 0.1. `alpha` 0 is the optimizer
///   itself, bit for bit.
/// - Learning rate: the optimizer's own.
/// - When not to use it: where gradients are the bottleneck, and on networks with kinks (ReLU), whose
///   Hessian products miss the curvature that is in the kinks.
///
/// Paper: Zhang et al., *Gradient Norm Aware Minimization Seeks First-Order Flatness*,
/// <https://arxiv.org/abs/2303.03108>.
///
/// ```
/// use burn::nn::{Linear, LinearConfig};
/// use burn::optim::SgdConfig;
/// use burn::tensor::{Device, Distribution, Tensor};
/// use osculate_optim::{ClosureOptimizer, Gam};
///
/// let device = Device::flex().autodiff();
/// device.seed(1);
/// let mut model: Linear = LinearConfig::new(4, 3).init(&device);
/// let x = Tensor::<2>::random([8, 4], Distribution::Default, &device);
/// let loss = |model: &Linear| model.forward(x.clone()).square().mean();
/// let mut optimizer = Gam::new(0.2).over(SgdConfig::new().init())?;
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
pub struct Gam {
    /// Radius within which the largest gradient norm is looked for.
    pub rho: f64,
    /// Weight of the gradient norm. Default 0.1.
    #[config(default = 0.1)]
    pub alpha: f64,
}

over!(Gam);

impl Gam {
    /// Checks the settings.
    ///
    /// # Errors
    /// [`ConfigError`] for a negative or non-finite number.
    pub fn validate(&self) -> Result<(), ConfigError> {
        Check::of("Gam")
            .non_negative("rho", self.rho)
            .non_negative("alpha", self.alpha)
            .finish()
    }
}

/// The registry's row.
pub(crate) static ROW: OptimizerRow = OptimizerRow {
    name: "gam",
    text: "descends the gradient norm too, by Hessian products",
    learning_rate: 5e-2,
    gradients: 6.0,
    state: "the base's",
    defaults: || over_sgd(to_value(&Gam::new(0.2))?),
    build: |settings| Ok(read::<Gam>(settings, "settings")?.over(base_of(settings)?)?),
};

impl GradientSource for Gam {
    fn name(&self) -> &'static str {
        "gam"
    }

    fn validate(&self) -> Result<(), ConfigError> {
        self.validate()
    }

    fn take(&self, context: &mut GradientContext<'_>) -> Result<TakenGradient, StepErrorCause> {
        let clean = context.gradient().clone();
        let steepest = context.hessian_product(GradientPoint::Weights, &unit(&clean))?;
        let there = context.gradient_at(&perturbation(self.rho, &steepest))?;
        let climb = context.hessian_product(GradientPoint::LastEvaluated, &unit(&there))?;
        Ok(TakenGradient {
            gradient: context.combined(clean.axpy(self.alpha * self.rho, &climb))?,
            point: GradientPoint::Weights,
            refreshed: None,
        })
    }
}
