use burn::config::Config;
use burn::module::Module;
use burn::optim::{LearningRate, ModuleOptimizer};
use osculate_curvature::Objective;

use crate::config::{Check, ConfigError, StepPolicy};
use crate::error::StepError;
use crate::optimizer::{ClosureOptimizer, StatefulOptimizer, Step};
use crate::record::{RecordError, StateRecord};
use crate::wrapper::Wrapper;

use super::{NORM_EPSILON, perturbation, scaled_perturbation};

/// [`Sam`] configuration.
#[derive(Config, Debug)]
pub struct SamConfig {
    /// Radius of the perturbation. Default 0.05, the paper's general choice; 0 is the base
    /// optimizer itself.
    #[config(default = 0.05)]
    pub rho: f64,
    /// Scales the perturbation of every weight by its own square, as the `adaptive` flag of the
    /// widespread PyTorch implementation does. Zero weights are then not perturbed;
    /// [`Asam`](super::Asam) is the published method. Its radius is about ten times larger.
    /// Default `false`.
    #[config(default = false)]
    pub adaptive: bool,
    /// Settings of the step that do not depend on the method.
    #[config(default = "StepPolicy::new()")]
    pub policy: StepPolicy,
}

/// Sharpness-aware minimisation over any burn optimizer.
///
/// ```text
/// g0 = ∇L(θ)
/// ε  = rho g0 / (|g0| + 1e-12)          over all parameters together
/// g1 = ∇L(θ + ε)
/// θ  = base step at θ with g1
/// ```
///
/// Weight decay, momentum and clipping act in the base step, at the weights `θ` themselves.
/// The report's loss and gradient norm are those of the clean pass.
///
/// - Cost: 2 gradient evaluations a step.
/// - Memory: the base optimizer's state; while a step runs, two vectors more.
/// - When not to use it: where gradients are the bottleneck and the model does not overfit.
///   [`LookSam`](super::LookSam) spreads the cost.
///
/// Paper: Foret et al., *Sharpness-Aware Minimization*, <https://arxiv.org/abs/2010.01412>.
///
/// ```
/// use burn::optim::{SgdConfig, momentum::MomentumConfig};
/// use osculate_optim::SamConfig;
/// let base = SgdConfig::new().with_momentum(Some(MomentumConfig::new().with_momentum(0.9)));
/// let optimizer = SamConfig::new().with_rho(0.1).init(base.init())?;
/// # Ok::<(), osculate_optim::ConfigError>(())
/// ```
#[derive(Clone)]
pub struct Sam {
    wrapper: Wrapper,
    rho: f64,
    adaptive: bool,
}

impl SamConfig {
    /// Checks the settings.
    ///
    /// # Errors
    /// [`ConfigError`] for a negative or non-finite radius or an invalid policy.
    pub fn validate(&self) -> Result<(), ConfigError> {
        Check::of("SamConfig")
            .non_negative("rho", self.rho)
            .policy(&self.policy)
            .finish()
    }

    /// Makes the optimizer over a base optimizer.
    ///
    /// # Errors
    /// As [`validate`](Self::validate).
    pub fn init(&self, base: ModuleOptimizer) -> Result<Sam, ConfigError> {
        self.validate()?;
        Ok(Sam {
            wrapper: Wrapper::new("sam", base, self.policy.clone()),
            rho: self.rho,
            adaptive: self.adaptive,
        })
    }
}

impl<M: Module> ClosureOptimizer<M> for Sam {
    fn step(
        &mut self,
        lr: LearningRate,
        model: M,
        objective: &dyn Objective<M>,
    ) -> Result<Step<M>, StepError<M>> {
        let (rho, adaptive) = (self.rho, self.adaptive);
        self.wrapper.step(lr, model, objective, |session, _| {
            let epsilon = if adaptive {
                let normalisation = session.oracle().parameters()?.abs();
                scaled_perturbation(rho, session.gradient(), &normalisation, NORM_EPSILON)
            } else {
                perturbation(rho, session.gradient())
            };
            session.gradient_at(&epsilon)
        })
    }
}

impl StatefulOptimizer for Sam {
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
