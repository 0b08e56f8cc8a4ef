//! Settings that every optimizer shares, and how settings are checked.

use std::fmt::Display;

use burn::config::Config;
use thiserror::Error;

/// A setting out of its range.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{config}: {field} = {value} is invalid, expected {expected}")]
pub struct ConfigError {
    /// Name of the configuration.
    pub config: &'static str,
    /// Name of the setting.
    pub field: &'static str,
    /// The value given.
    pub value: String,
    /// What would be valid.
    pub expected: &'static str,
}

/// Checks settings one by one and keeps the first that is wrong.
pub(crate) struct Check {
    config: &'static str,
    result: Result<(), ConfigError>,
}

impl Check {
    pub(crate) fn of(config: &'static str) -> Self {
        Self {
            config,
            result: Ok(()),
        }
    }

    pub(crate) fn that(
        mut self,
        valid: bool,
        field: &'static str,
        value: impl Display,
        expected: &'static str,
    ) -> Self {
        if self.result.is_ok() && !valid {
            self.result = Err(ConfigError {
                config: self.config,
                field,
                value: value.to_string(),
                expected,
            });
        }
        self
    }

    pub(crate) fn non_negative(self, field: &'static str, value: f64) -> Self {
        let valid = value.is_finite() && value >= 0.0;
        self.that(valid, field, value, "a finite number, zero or greater")
    }

    pub(crate) fn positive(self, field: &'static str, value: f64) -> Self {
        let valid = value.is_finite() && value > 0.0;
        self.that(valid, field, value, "a finite number greater than zero")
    }

    /// A decay rate of a moving average.
    pub(crate) fn decay(self, field: &'static str, value: f64) -> Self {
        self.that(
            (0.0..1.0).contains(&value),
            field,
            value,
            "a number in [0, 1)",
        )
    }

    pub(crate) fn policy(self, policy: &StepPolicy) -> Self {
        match policy.clip_norm {
            Some(norm) => self.positive("policy.clip_norm", norm),
            None => self,
        }
    }

    pub(crate) fn finish(self) -> Result<(), ConfigError> {
        self.result
    }
}

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
/// use osculate_optim::{NonFinitePolicy, StepPolicy};
/// let policy = StepPolicy::new()
///     .with_non_finite(NonFinitePolicy::Error)
///     .with_clip_norm(Some(1.0));
/// assert_eq!(policy.seed, 0);
/// ```
#[derive(Config, Debug, PartialEq)]
pub struct StepPolicy {
    /// What to do with a gradient that is not finite. Default `Skip`.
    #[config(default = "NonFinitePolicy::Skip")]
    pub non_finite: NonFinitePolicy,
    /// Largest Euclidean norm, over all parameters together, of the gradient that reaches the
    /// update rule; a longer one is scaled down. Computed on the device. Default: no clipping.
    pub clip_norm: Option<f64>,
    /// Seed of the run. The device's generator is seeded anew in every step, whatever the program
    /// has seeded it with: draw what belongs to a batch before the step. Each step derives from it and from its own number the seed of the device's
    /// generator (the dropout mask) and of its probes, so that a resumed run draws the same numbers
    /// and every worker the same probes. Default 0.
    #[config(default = 0)]
    pub seed: u64,
}

impl Default for StepPolicy {
    fn default() -> Self {
        Self::new()
    }
}
