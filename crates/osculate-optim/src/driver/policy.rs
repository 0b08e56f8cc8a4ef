//! Settings of a step that do not depend on the method.

use burn::config::Config;

use crate::config::{Check, ConfigError};

/// What to do with a gradient that holds a NaN or an infinity.
#[derive(Config, Debug, Copy, PartialEq, Eq)]
pub enum NonFinitePolicy {
    /// Leave that parameter and its state as they were, go on with the others, and count it in the
    /// report. The test is made on the device.
    Skip,
    /// Give the step up with an error that names the parameters. Reads the flags back.
    Error,
    /// Do not look.
    Propagate,
}

/// Settings of a step that do not depend on the method.
///
/// ```
/// use osculate_optim::{NonFinitePolicy, SoapConfig, StepPolicy};
/// let policy = StepPolicy::new()
///     .with_non_finite(NonFinitePolicy::Error)
///     .with_clip_norm(Some(1.0));
/// assert_eq!(policy.seed, 0);
/// let optimizer = SoapConfig::new().init()?.with_policy(policy)?;
/// # Ok::<(), osculate_optim::ConfigError>(())
/// ```
#[derive(Config, Debug, PartialEq)]
pub struct StepPolicy {
    /// What to do with a gradient that is not finite. Default `Skip`.
    #[config(default = "NonFinitePolicy::Skip")]
    pub non_finite: NonFinitePolicy,
    /// Largest Euclidean norm, over all parameters together, of the gradient that reaches the
    /// update rule; a longer one is scaled down. Computed on the device. Default: no clipping.
    pub clip_norm: Option<f64>,
    /// Seed of the run. Each step derives from it and from its own number the seed of its probes and that
    /// of the noise that the objective draws on the device (dropout masks, latents), so that a resumed run
    /// draws the same numbers and every worker the same probes.
    ///
    /// Default 0, with which the noise starts from the device's own generator: the first step draws from it
    /// once, and the state's record keeps what was drawn, if that step's objective has noise. Two optimizers,
    /// and two runs under two seeds of the device, see other noise. A seed that is chosen here or with
    /// [`Driver::with_seed`](crate::Driver::with_seed) decides the noise alone.
    ///
    /// What the program draws between steps follows from what it would have drawn without them, and never
    /// repeats (see [`RandomStream`](osculate_curvature::RandomStream)). To resume with the same noise
    /// there, seed the device where the state is saved and where it is loaded.
    #[config(default = 0)]
    pub seed: u64,
}

impl Default for StepPolicy {
    fn default() -> Self {
        Self::new()
    }
}

impl StepPolicy {
    /// Checks the settings.
    ///
    /// # Errors
    /// [`ConfigError`] for a clipping norm that is not positive.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let check = Check::of("StepPolicy");
        match self.clip_norm {
            Some(norm) => check.positive("clip_norm", norm),
            None => check,
        }
        .finish()
    }
}

/// The seed of a step: a function of the run's seed and the step's number, never of what was drawn
/// before.
pub(crate) fn step_seed(seed: u64, step: u64) -> u64 {
    // An odd multiplier keeps neighbouring steps and seeds apart; the probes mix it further.
    seed.rotate_left(32) ^ step.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}
