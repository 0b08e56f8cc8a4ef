use burn::config::Config;

use super::{GradientContext, GradientPoint, GradientSource, TakenGradient, over, perturbation};
use crate::config::{Check, ConfigError};
use crate::driver::StepErrorCause;
use crate::registry::{OptimizerRow, base_of, over_sgd, read, to_value};

/// Sharpness-aware minimisation over any optimizer.
///
/// ```text
/// g0 = ∇L(θ)
/// ε  = rho g0 / (|g0| + 1e-12)          over all parameters together
/// g1 = ∇L(θ + ε)
/// θ  = the optimizer's step at θ with g1
/// ```
///
/// Weight decay, momentum and clipping act in the step, at the weights `θ` themselves. Curvature that the
/// optimizer asks for is taken at `θ + ε`. The report's loss and gradient norm are those of the clean pass.
///
/// - Cost: 2 gradient evaluations a step.
/// - State: the optimizer's; while a step runs, two vectors more.
/// - Defaults: `rho` 0.05, the paper's general choice; 0 is the optimizer itself, bit for bit.
/// - Learning rate: the optimizer's own. In the study of `docs/study` the best rate of SAM over SGD was SGD's, 17
///   times AdamW's best on the same workload (median of eight; 0.0053 to 166 times).
/// - When not to use it: where gradients are the bottleneck and the model does not overfit.
///   [`LookSam`](super::LookSam) spreads the cost.
///
/// Paper: Foret et al., *Sharpness-Aware Minimization*, <https://arxiv.org/abs/2010.01412>.
///
/// ```
/// use burn::nn::{Linear, LinearConfig};
/// use burn::optim::SgdConfig;
/// use burn::tensor::{Device, Distribution, Tensor};
/// use osculate_optim::{ClosureOptimizer, Sam};
///
/// let device = Device::flex().autodiff();
/// device.seed(1);
/// let mut model: Linear = LinearConfig::new(4, 3).init(&device);
/// let x = Tensor::<2>::random([8, 4], Distribution::Default, &device);
/// let loss = |model: &Linear| model.forward(x.clone()).square().mean();
/// let mut optimizer = Sam::new(0.05).over(SgdConfig::new().init())?;
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
pub struct Sam {
    /// Radius of the perturbation.
    pub rho: f64,
}

over!(Sam);

impl Sam {
    /// Checks the settings.
    ///
    /// # Errors
    /// [`ConfigError`] for a negative or non-finite radius.
    pub fn validate(&self) -> Result<(), ConfigError> {
        Check::of("Sam").non_negative("rho", self.rho).finish()
    }
}

/// The registry's row.
pub(crate) static ROW: OptimizerRow = OptimizerRow {
    name: "sam",
    text: "the gradient at weights moved uphill",
    learning_rate: 5e-2,
    gradients: 2.0,
    state: "the base's",
    defaults: || over_sgd(to_value(&Sam::new(0.05))?),
    build: |settings| Ok(read::<Sam>(settings, "settings")?.over(base_of(settings)?)?),
};

impl GradientSource for Sam {
    fn name(&self) -> &'static str {
        "sam"
    }

    fn validate(&self) -> Result<(), ConfigError> {
        self.validate()
    }

    fn take(&self, context: &mut GradientContext<'_>) -> Result<TakenGradient, StepErrorCause> {
        let epsilon = perturbation(self.rho, context.gradient());
        Ok(TakenGradient {
            gradient: context.gradient_at(&epsilon)?,
            point: GradientPoint::LastEvaluated,
            refreshed: None,
        })
    }
}
