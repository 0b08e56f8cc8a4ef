use burn::config::Config;

use super::{GradientContext, GradientPoint, GradientSource, TakenGradient, over, perturbation};
use crate::config::{Check, ConfigError};
use crate::driver::StepErrorCause;
use crate::registry::{OptimizerRow, base_of, over_sgd, read, to_value};
use crate::vector_state::VectorField;

/// Friendly SAM: perturbed along the noise of the batch's gradient, without the full gradient that its
/// running average stands for.
///
/// ```text
/// ε  = rho d / |d|  with  d = g - sigma m
/// m  = lambda m + (1 - lambda) g        starts at the first g; the first d is g
/// θ  = the optimizer's step at θ with ∇L(θ + ε)
/// ```
///
/// Norms are over all parameters together. Curvature that the optimizer asks for is taken at `θ + ε`.
///
/// - Cost: 2 gradient evaluations a step.
/// - State: 1 element for each parameter element, beside the optimizer's.
/// - Defaults: the authors' code: `sigma` 1, `lambda` 0.9, and `rho` 0.05 in the registry. `rho` 0 is the
///   optimizer itself, `sigma` 0 is [`Sam`](super::Sam), bit for bit.
/// - Learning rate: the optimizer's own.
/// - When not to use it: with the whole data set as one batch, where there is no noise to go along.
///
/// Paper: Li et al., *Friendly Sharpness-Aware Minimization*, <https://arxiv.org/abs/2403.12350>.
///
/// ```
/// use burn::nn::{Linear, LinearConfig};
/// use burn::optim::SgdConfig;
/// use burn::tensor::{Device, Distribution, Tensor};
/// use osculate_optim::{ClosureOptimizer, FriendlySam};
///
/// let device = Device::flex().autodiff();
/// device.seed(1);
/// let mut model: Linear = LinearConfig::new(4, 3).init(&device);
/// let x = Tensor::<2>::random([8, 4], Distribution::Default, &device);
/// let loss = |model: &Linear| model.forward(x.clone()).square().mean();
/// let mut optimizer = FriendlySam::new(0.05).over(SgdConfig::new().init())?;
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
pub struct FriendlySam {
    /// Radius of the perturbation.
    pub rho: f64,
    /// Part of the average that is taken away. Default 1.
    #[config(default = 1.0)]
    pub sigma: f64,
    /// Decay of the average. Default 0.9.
    #[config(default = 0.9)]
    pub lambda: f64,
}

over!(FriendlySam);

/// The average of past gradients.
const AVERAGE: &str = "average";

impl FriendlySam {
    /// Checks the settings.
    ///
    /// # Errors
    /// [`ConfigError`] for a negative or non-finite number, and a decay outside of `[0, 1)`.
    pub fn validate(&self) -> Result<(), ConfigError> {
        Check::of("FriendlySam")
            .non_negative("rho", self.rho)
            .non_negative("sigma", self.sigma)
            .decay("lambda", self.lambda)
            .finish()
    }
}

/// The registry's row.
pub(crate) static ROW: OptimizerRow = OptimizerRow {
    name: "friendly-sam",
    text: "SAM along the noise of the gradient alone",
    learning_rate: 5e-2,
    gradients: 2.0,
    state: "the base's + 1",
    defaults: || over_sgd(to_value(&FriendlySam::new(0.05))?),
    build: |settings| Ok(read::<FriendlySam>(settings, "settings")?.over(base_of(settings)?)?),
};

impl GradientSource for FriendlySam {
    fn name(&self) -> &'static str {
        "friendly-sam"
    }

    fn fields(&self) -> &'static [VectorField] {
        const { &[VectorField::wide(AVERAGE)] }
    }

    fn validate(&self) -> Result<(), ConfigError> {
        self.validate()
    }

    fn take(&self, context: &mut GradientContext<'_>) -> Result<TakenGradient, StepErrorCause> {
        let clean = context.gradient().to_compute_dtype();
        let noise = clean.axpy(-self.sigma, context.state.vector(AVERAGE)?);
        let noise = noise.map(|(entry, x)| x.clone().cast(entry.dtype));
        let average = context.state.or_first(AVERAGE, &clean)?;
        let average = average.scale(self.lambda).axpy(1.0 - self.lambda, &clean);
        context.state.put(AVERAGE, average)?;
        Ok(TakenGradient {
            gradient: context.gradient_at(&perturbation(self.rho, &noise))?,
            point: GradientPoint::LastEvaluated,
            refreshed: None,
        })
    }
}
