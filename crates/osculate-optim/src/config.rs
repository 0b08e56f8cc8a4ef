//! How settings are checked.

use std::fmt::Display;

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

    pub(crate) fn finish(self) -> Result<(), ConfigError> {
        self.result
    }
}

/// Gives what goes over optimizers the constructor that puts it there, by a checked method of
/// [`Driver`](crate::Driver).
macro_rules! over_base {
    ($role:ident, $checked:ident, $what:literal, $refused:literal) => {
        impl $role {
            #[doc = concat!("This ", $what, " over any optimizer of the crate, or a burn one.")]
            ///
            /// # Errors
            #[doc = concat!("[`ConfigError`](crate::ConfigError) for an invalid setting, ", $refused, ".")]
            pub fn over(
                &self,
                base: impl Into<$crate::Driver>,
            ) -> Result<$crate::Driver, $crate::ConfigError> {
                self.validate()?;
                let base: $crate::Driver = base.into();
                base.$checked(stringify!($role), self.clone())
            }
        }
    };
}

pub(crate) use over_base;
