use burn::config::Config;

use super::{
    GradientContext, GradientPoint, GradientSource, TakenGradient, orthogonal, over, perturbation,
};
use crate::config::{Check, ConfigError};
use crate::driver::StepErrorCause;
use crate::registry::{OptimizerRow, base_of, over_sgd, read, to_value};

/// Surrogate-gap guided sharpness-aware minimisation: SAM that also climbs, orthogonally to its descent,
/// along the gradient at the weights.
///
/// ```text
/// ε  = rho_t g0 / |g0|,  g1 = ∇L(θ + ε)
/// g⊥ = g0 - (g0.g1 / |g1|²) g1
/// θ  = the optimizer's step at θ with g1 - alpha g⊥
/// rho_t = rho_min + (rho_max - rho_min) (lr - lr_min) / (lr_max - lr_min)
/// ```
///
/// - Cost: 2 gradient evaluations a step.
/// - State: the optimizer's; while a step runs, three vectors more.
/// - Defaults: `rho` 0.05 and `alpha` 0.4, the authors'; with `alpha` 0 and a constant radius it is SAM.
/// - Learning rate: the optimizer's own.
/// - When not to use it: as [`Sam`](super::Sam).
///
/// Paper: Zhuang et al., *Surrogate Gap Minimization*, <https://arxiv.org/abs/2203.08065>.
///
/// ```
/// use burn::nn::{Linear, LinearConfig};
/// use burn::optim::SgdConfig;
/// use burn::tensor::{Device, Distribution, Tensor};
/// use osculate_optim::{ClosureOptimizer, Gsam};
///
/// let device = Device::flex().autodiff();
/// device.seed(1);
/// let mut model: Linear = LinearConfig::new(4, 3).init(&device);
/// let x = Tensor::<2>::random([8, 4], Distribution::Default, &device);
/// let loss = |model: &Linear| model.forward(x.clone()).square().mean();
/// let mut optimizer = Gsam::new(0.05).over(SgdConfig::new().init())?;
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
pub struct Gsam {
    /// Radius at the largest learning rate, and at all where there is no `lr_max`.
    pub rho_max: f64,
    /// Radius at the smallest learning rate. Default 0.05.
    #[config(default = 0.05)]
    pub rho_min: f64,
    /// Weight of the component that SAM ignores. Default 0.4.
    #[config(default = 0.4)]
    pub alpha: f64,
    /// Largest learning rate of the schedule, at which the radius is `rho_max`. Default: none, the
    /// radius is always `rho_max`.
    pub lr_max: Option<f64>,
    /// Smallest learning rate of the schedule. Default 0.
    #[config(default = 0.0)]
    pub lr_min: f64,
    /// Descends along the clean gradient with the perturbed gradient's orthogonal component added,
    /// `d = g0 + alpha (g1 - proj_g0 g1)`, instead of the other way round. Default `false`.
    #[config(default = false)]
    pub around_clean: bool,
}

over!(Gsam);

impl Gsam {
    /// Checks the settings.
    ///
    /// # Errors
    /// [`ConfigError`] for a negative or non-finite number, and a largest learning rate below the
    /// smallest.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let lr_max = self.lr_max.unwrap_or(self.lr_min);
        Check::of("Gsam")
            .non_negative("rho_max", self.rho_max)
            .non_negative("rho_min", self.rho_min)
            .non_negative("alpha", self.alpha)
            .non_negative("lr_min", self.lr_min)
            .that(
                lr_max.is_finite() && lr_max >= self.lr_min,
                "lr_max",
                lr_max,
                "a finite number, not below lr_min",
            )
            .finish()
    }

    fn rho(&self, lr: f64) -> f64 {
        match self.lr_max {
            Some(lr_max) if lr_max > self.lr_min => {
                let fraction = (lr - self.lr_min) / (lr_max - self.lr_min);
                self.rho_min + (self.rho_max - self.rho_min) * fraction.clamp(0.0, 1.0)
            }
            _ => self.rho_max,
        }
    }
}

/// The registry's row.
pub(crate) static ROW: OptimizerRow = OptimizerRow {
    name: "gsam",
    text: "SAM that also narrows the surrogate gap",
    learning_rate: 5e-2,
    gradients: 2.0,
    state: "the base's",
    defaults: || over_sgd(to_value(&Gsam::new(0.05))?),
    build: |settings| Ok(read::<Gsam>(settings, "settings")?.over(base_of(settings)?)?),
};

impl GradientSource for Gsam {
    fn name(&self) -> &'static str {
        "gsam"
    }

    fn validate(&self) -> Result<(), ConfigError> {
        self.validate()
    }

    fn take(&self, context: &mut GradientContext<'_>) -> Result<TakenGradient, StepErrorCause> {
        let clean = context.gradient().clone();
        let epsilon = perturbation(self.rho(context.lr()), &clean);
        let perturbed = context.gradient_at(&epsilon)?;
        let gradient = if self.around_clean {
            clean.axpy(self.alpha, &orthogonal(&perturbed, &clean))
        } else {
            perturbed.axpy(-self.alpha, &orthogonal(&clean, &perturbed))
        };
        Ok(TakenGradient {
            gradient: context.combined(gradient)?,
            point: GradientPoint::LastEvaluated,
            refreshed: None,
        })
    }
}
