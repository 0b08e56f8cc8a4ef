use burn::config::Config;
use osculate_curvature::ProbeDistribution;

use super::Sophia;
use crate::config::{Check, ConfigError, StepPolicy};
use crate::diagonal::curvature::{CurvatureSource, SourceKind};
use crate::record::StateStore;

/// Which estimate of the diagonal [`Sophia`] uses.
#[derive(Config, Debug, Copy, PartialEq, Eq)]
pub enum SophiaEstimator {
    /// Sophia-H: `u ⊙ H u` for a standard normal probe `u`, signed. Works with any loss.
    Hutchinson,
    /// Sophia-G: Gauss-Newton-Bartlett, from targets that the model draws. Never negative; needs a
    /// [`Supervised`](osculate_curvature::Supervised) objective.
    GaussNewtonBartlett,
}

/// The steps in which [`Sophia`] makes an estimate, for a period `k`.
#[derive(Config, Debug, Copy, PartialEq, Eq)]
pub enum SophiaSchedule {
    /// Before the update of the steps 1, `k` + 1, 2`k` + 1, ...: the paper's.
    BeforeUpdate,
    /// After the update of the same steps: optax's. The first step is a sign step.
    AfterUpdate,
    /// After the update of the steps `k`, 2`k`, ...: that of the authors' code. The first `k` steps
    /// are sign steps.
    AfterPeriod,
}

/// [`Sophia`] configuration. [`SophiaConfig::h`] and [`SophiaConfig::g`] give the defaults of the
/// two variants.
#[derive(Config, Debug)]
pub struct SophiaConfig {
    /// Which estimate of the diagonal is used.
    pub estimator: SophiaEstimator,
    /// The curvature's weight in the denominator. Default 0.01 for Sophia-H and 0.05 for Sophia-G.
    /// Tune it so that the report's win rate is between 0.1 and 0.5.
    pub gamma: f64,
    /// Decay of the gradient's average. Default 0.96.
    #[config(default = 0.96)]
    pub beta_1: f64,
    /// Decay of the curvature's average. Default 0.99.
    #[config(default = 0.99)]
    pub beta_2: f64,
    /// Smallest denominator. Default 1e-12.
    #[config(default = 1e-12)]
    pub epsilon: f64,
    /// Decoupled weight decay. Default 0.2.
    #[config(default = 0.2)]
    pub weight_decay: f64,
    /// Steps between two estimates. Default 10.
    #[config(default = 10)]
    pub period: usize,
    /// In which steps the estimate is made. Default `BeforeUpdate`, as in the paper.
    #[config(default = "SophiaSchedule::BeforeUpdate")]
    pub schedule: SophiaSchedule,
    /// Divides the gradient's average by `1 - β1^t`, as optax and levanter do. The paper and the
    /// authors' code do not. Default `false`.
    #[config(default = false)]
    pub bias_correction: bool,
    /// Settings of the step that do not depend on the method.
    #[config(default = "StepPolicy::new()")]
    pub policy: StepPolicy,
}

impl SophiaConfig {
    /// Sophia-H with its defaults.
    pub fn h() -> Self {
        Self::new(SophiaEstimator::Hutchinson, 0.01)
    }

    /// Sophia-G with its defaults.
    pub fn g() -> Self {
        Self::new(SophiaEstimator::GaussNewtonBartlett, 0.05)
    }

    /// Replaces the curvature's weight.
    pub fn with_gamma(mut self, gamma: f64) -> Self {
        self.gamma = gamma;
        self
    }

    /// Checks the settings.
    ///
    /// # Errors
    /// [`ConfigError`] for a decay outside `[0, 1)`, a period of 0, a negative or non-finite
    /// number, or an invalid policy.
    pub fn validate(&self) -> Result<(), ConfigError> {
        Check::of("SophiaConfig")
            .non_negative("gamma", self.gamma)
            .decay("beta_1", self.beta_1)
            .decay("beta_2", self.beta_2)
            .positive("epsilon", self.epsilon)
            .non_negative("weight_decay", self.weight_decay)
            .that(self.period > 0, "period", self.period, "at least 1")
            .policy(&self.policy)
            .finish()
    }

    /// Makes the optimizer.
    ///
    /// # Errors
    /// As [`validate`](Self::validate).
    pub fn init(&self) -> Result<Sophia, ConfigError> {
        self.validate()?;
        let kind = match self.estimator {
            SophiaEstimator::Hutchinson => SourceKind::Hutchinson(ProbeDistribution::Gaussian),
            SophiaEstimator::GaussNewtonBartlett => SourceKind::GaussNewtonBartlett,
        };
        Ok(Sophia {
            config: self.clone(),
            source: CurvatureSource::new(kind),
            state: StateStore::default(),
            steps: 0,
            age: 0,
        })
    }

    /// Whether an estimate is due before, or after, the update of the step with this number.
    pub(super) fn due(&self, steps: u64, before_update: bool) -> bool {
        let period = self.period as u64;
        match self.schedule {
            SophiaSchedule::BeforeUpdate => before_update && steps.is_multiple_of(period),
            SophiaSchedule::AfterUpdate => !before_update && steps.is_multiple_of(period),
            SophiaSchedule::AfterPeriod => !before_update && steps % period == period - 1,
        }
    }
}
