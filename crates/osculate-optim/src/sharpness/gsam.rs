use burn::config::Config;
use burn::module::Module;
use burn::optim::{LearningRate, ModuleOptimizer};
use osculate_curvature::{Objective, ParamVec};

use crate::config::{Check, ConfigError, StepPolicy};
use crate::error::StepError;
use crate::optimizer::{ClosureOptimizer, StatefulOptimizer, Step};
use crate::record::{RecordError, StateRecord};
use crate::wrapper::Wrapper;

use super::{NORM_EPSILON, perturbation, scaled_perturbation};

/// [`Gsam`] configuration.
#[derive(Config, Debug)]
pub struct GsamConfig {
    /// Radius at the largest learning rate. Default 0.05.
    #[config(default = 0.05)]
    pub rho_max: f64,
    /// Radius at the smallest learning rate. Default 0.05: constant.
    #[config(default = 0.05)]
    pub rho_min: f64,
    /// Weight of the component that SAM ignores. Default 0.4; with 0 and a constant radius the
    /// method is SAM.
    #[config(default = 0.4)]
    pub alpha: f64,
    /// Largest learning rate of the schedule, at which the radius is `rho_max`. Default: none, the
    /// radius is always `rho_max`.
    pub lr_max: Option<f64>,
    /// Smallest learning rate of the schedule. Default 0.
    #[config(default = 0.0)]
    pub lr_min: f64,
    /// Scales the perturbation by the weights, as [`SamConfig::adaptive`](super::SamConfig).
    /// Default `false`.
    #[config(default = false)]
    pub adaptive: bool,
    /// Descends along the clean gradient with the perturbed gradient's orthogonal component added,
    /// `d = g0 + alpha (g1 - proj_g0 g1)`, instead of the other way round. Default `false`.
    #[config(default = false)]
    pub around_clean: bool,
    /// Settings of the step that do not depend on the method.
    #[config(default = "StepPolicy::new()")]
    pub policy: StepPolicy,
}

/// Surrogate-gap guided sharpness-aware minimisation: descends the perturbed loss and, orthogonally
/// to it, ascends the clean loss, which narrows the gap between the two.
///
/// ```text
/// ε  = rho_t g0 / |g0|,  g1 = ∇L(θ + ε)
/// g⊥ = g0 - (g0.g1 / |g1|²) g1
/// θ  = base step at θ with g1 - alpha g⊥
/// rho_t = rho_min + (rho_max - rho_min) (lr - lr_min) / (lr_max - lr_min)
/// ```
///
/// - Cost: 2 gradient evaluations a step.
/// - Memory: the base optimizer's state; while a step runs, three vectors more.
/// - When not to use it: as [`Sam`](super::Sam).
///
/// Paper: Zhuang et al., *Surrogate Gap Minimization*, <https://arxiv.org/abs/2203.08065>.
#[derive(Clone)]
pub struct Gsam {
    wrapper: Wrapper,
    config: GsamConfig,
}

impl GsamConfig {
    /// Checks the settings.
    ///
    /// # Errors
    /// [`ConfigError`] for a negative or non-finite number, a largest learning rate below the
    /// smallest, or an invalid policy.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let lr_max = self.lr_max.unwrap_or(self.lr_min);
        Check::of("GsamConfig")
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
            .policy(&self.policy)
            .finish()
    }

    /// Makes the optimizer over a base optimizer.
    ///
    /// # Errors
    /// As [`validate`](Self::validate).
    pub fn init(&self, base: ModuleOptimizer) -> Result<Gsam, ConfigError> {
        self.validate()?;
        Ok(Gsam {
            wrapper: Wrapper::new("gsam", base, self.policy.clone()),
            config: self.clone(),
        })
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

/// The component of `vector` that is orthogonal to `direction`.
fn orthogonal(vector: &ParamVec, direction: &ParamVec) -> ParamVec {
    // Normalising first keeps the squares of tiny and huge gradients in range.
    let unit = |x: &ParamVec| x.scale_by(&x.norm_on_device().add_scalar(NORM_EPSILON).recip());
    let direction = unit(direction);
    let along = vector.dot_on_device(&direction).neg();
    vector.axpy_by(&along, &direction)
}

impl<M: Module> ClosureOptimizer<M> for Gsam {
    fn step(
        &mut self,
        lr: LearningRate,
        model: M,
        objective: &dyn Objective<M>,
    ) -> Result<Step<M>, StepError<M>> {
        let config = &self.config;
        let rho = config.rho(lr);
        self.wrapper.step(lr, model, objective, |session, _| {
            let clean = session.gradient().clone();
            let epsilon = if config.adaptive {
                let normalisation = session.oracle().parameters()?.abs();
                scaled_perturbation(rho, &clean, &normalisation, NORM_EPSILON)
            } else {
                perturbation(rho, &clean)
            };
            let perturbed = session.gradient_at(&epsilon)?;
            session.accept_combined(if config.around_clean {
                clean.axpy(config.alpha, &orthogonal(&perturbed, &clean))
            } else {
                perturbed.axpy(-config.alpha, &orthogonal(&clean, &perturbed))
            })
        })
    }
}

impl StatefulOptimizer for Gsam {
    fn name(&self) -> &'static str {
        self.wrapper.name()
    }

    fn to_record(&self) -> StateRecord {
        self.wrapper.to_record()
    }

    fn load_record(&mut self, record: StateRecord) -> Result<(), RecordError> {
        self.wrapper.load_record(&record)
    }

    fn state_bytes(&self) -> usize {
        self.wrapper.state_bytes()
    }
}
