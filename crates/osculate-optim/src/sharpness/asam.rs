use burn::config::Config;
use burn::module::{Module, ParamGroup};
use burn::optim::{LearningRate, ModuleOptimizer};
use osculate_curvature::{Objective, ParamEntry};

use crate::config::{Check, ConfigError, StepPolicy};
use crate::error::StepError;
use crate::optimizer::{ClosureOptimizer, StatefulOptimizer, Step};
use crate::record::{RecordError, StateRecord};
use crate::wrapper::Wrapper;

use super::scaled_perturbation;

/// [`Asam`] configuration.
#[derive(Config, Debug)]
pub struct AsamConfig {
    /// Radius of the perturbation in units of the normalised weights. Default 0.5; good values are
    /// about ten times those of SAM.
    #[config(default = 0.5)]
    pub rho: f64,
    /// Added to the magnitude of the weights, so that zero weights are perturbed too. Default 0.01.
    #[config(default = 0.01)]
    pub eta: f64,
    /// Parameters whose perturbation is scaled. Default: all but biases, that is all whose path
    /// does not end in `bias` or `beta`.
    pub scaled: Option<ParamGroup>,
    /// Settings of the step that do not depend on the method.
    #[config(default = "StepPolicy::new()")]
    pub policy: StepPolicy,
}

/// Adaptive sharpness-aware minimisation: SAM with a perturbation that follows the scale of each
/// weight, so that rescaling a layer does not change its sharpness.
///
/// ```text
/// T  = |θ| + eta for scaled parameters, 1 for the others
/// ε  = rho T² g0 / (|T g0| + 1e-16)     over all parameters together
/// g1 = ∇L(θ + ε)
/// θ  = base step at θ with g1
/// ```
///
/// - Cost: 2 gradient evaluations a step.
/// - Memory: the base optimizer's state; while a step runs, three vectors more.
/// - When not to use it: as [`Sam`](super::Sam).
///
/// Paper: Kwon et al., *ASAM*, <https://arxiv.org/abs/2102.11600>.
#[derive(Clone)]
pub struct Asam {
    wrapper: Wrapper,
    rho: f64,
    eta: f64,
    scaled: Option<ParamGroup>,
}

/// What the authors' code adds to the norm.
const ASAM_EPSILON: f64 = 1e-16;

impl AsamConfig {
    /// Checks the settings.
    ///
    /// # Errors
    /// [`ConfigError`] for a negative or non-finite radius or `eta`, or an invalid policy.
    pub fn validate(&self) -> Result<(), ConfigError> {
        Check::of("AsamConfig")
            .non_negative("rho", self.rho)
            .non_negative("eta", self.eta)
            .policy(&self.policy)
            .finish()
    }

    /// Makes the optimizer over a base optimizer.
    ///
    /// # Errors
    /// As [`validate`](Self::validate).
    pub fn init(&self, base: ModuleOptimizer) -> Result<Asam, ConfigError> {
        self.validate()?;
        Ok(Asam {
            wrapper: Wrapper::new("asam", base, self.policy.clone()),
            rho: self.rho,
            eta: self.eta,
            scaled: self.scaled.clone(),
        })
    }
}

fn is_scaled(group: Option<&ParamGroup>, entry: &ParamEntry) -> bool {
    match group {
        Some(group) => group.matches(&entry.id, Some(entry.path.as_str())),
        None => {
            let name = entry.path.rsplit('.').next().unwrap_or_default();
            !matches!(name, "bias" | "beta")
        }
    }
}

impl<M: Module> ClosureOptimizer<M> for Asam {
    fn step(
        &mut self,
        lr: LearningRate,
        model: M,
        objective: &dyn Objective<M>,
    ) -> Result<Step<M>, StepError<M>> {
        let (rho, eta) = (self.rho, self.eta);
        let scaled = self.scaled.as_ref();
        self.wrapper.step(lr, model, objective, |session, _| {
            let normalisation = session.oracle().parameters()?.map(|(entry, weights)| {
                if is_scaled(scaled, entry) {
                    weights.clone().abs().add_scalar(eta)
                } else {
                    weights.ones_like()
                }
            });
            let epsilon =
                scaled_perturbation(rho, session.gradient(), &normalisation, ASAM_EPSILON);
            session.gradient_at(&epsilon)
        })
    }
}

impl StatefulOptimizer for Asam {
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
