use burn::config::Config;

use super::{RateSchedule, cosine, line};
use crate::config::{Check, ConfigError};

/// The 1cycle policy: up to a rate several times the usual one and down again, in a run that is several times
/// shorter than usual (super-convergence).
///
/// ```text
/// steps 0 .. p T - 1           from lr / start_divisor up to lr
/// steps p T - 1 .. T - 1       down to lr / (start_divisor end_divisor)
/// ```
///
/// along half cosines, `p` being `rising` and `T` `steps`. With `three_phases` the way down to the start is as
/// long as that up, and what is left of the run goes from there to the end; with `linear` in straight lines it
/// is the triangle of the paper. Momentum is not cycled against it: burn's optimizers have theirs fixed.
///
/// - Defaults: those of PyTorch's `OneCycleLR`: `rising` 0.3, `start_divisor` 25, `end_divisor` 1e4.
/// - Rate: 3 to 30 times the optimizer's own; a large rate regularises, so lower weight decay and dropout.
/// - When not to use it: in runs whose length is not known, and with methods that bound their own steps.
///
/// Paper: Smith and Topin, *Super-Convergence*, <https://arxiv.org/abs/1708.07120>.
///
/// ```
/// use osculate_optim::{OneCycle, RateSchedule};
/// let triangle = OneCycle::new(3.0, 100)
///     .with_rising(0.45)
///     .with_start_divisor(30.0)
///     .with_three_phases(true)
///     .with_linear(true);
/// triangle.validate()?;
/// assert!((triangle.rate(0) - 0.1).abs() < 1e-12 && (triangle.rate(44) - 3.0).abs() < 1e-12);
/// assert!((triangle.rate(88) - 0.1).abs() < 1e-12 && triangle.rate(99) < 1e-4);
/// # Ok::<(), osculate_optim::ConfigError>(())
/// ```
#[derive(Config, Debug, PartialEq)]
pub struct OneCycle {
    /// The largest rate.
    pub lr: f64,
    /// Steps of the run.
    pub steps: u64,
    /// Share of the run in which the rate rises. Default 0.3.
    #[config(default = 0.3)]
    pub rising: f64,
    /// The first rate is the largest by this. Default 25.
    #[config(default = 25.0)]
    pub start_divisor: f64,
    /// The last rate is the first by this. Default 1e4.
    #[config(default = 1e4)]
    pub end_divisor: f64,
    /// Goes down to the first rate in as many steps as up, and then to the last. Default `false`.
    #[config(default = false)]
    pub three_phases: bool,
    /// Goes in straight lines. Default `false`: along half cosines.
    #[config(default = false)]
    pub linear: bool,
}

impl RateSchedule for OneCycle {
    fn validate(&self) -> Result<(), ConfigError> {
        let most = if self.three_phases { 0.5 } else { 1.0 };
        Check::of("OneCycle")
            .positive("lr", self.lr)
            .that(self.steps > 0, "steps", self.steps, "at least 1")
            .that(
                self.rising > 0.0 && self.rising <= most,
                "rising",
                self.rising,
                "a share in (0, 1], with three phases in (0, 0.5]",
            )
            .that(
                self.start_divisor.is_finite() && self.start_divisor >= 1.0,
                "start_divisor",
                self.start_divisor,
                "a finite number, at least 1",
            )
            .that(
                self.end_divisor.is_finite() && self.end_divisor >= 1.0,
                "end_divisor",
                self.end_divisor,
                "a finite number, at least 1",
            )
            .finish()
    }

    fn rate(&self, step: u64) -> f64 {
        let last = self.steps.saturating_sub(1);
        let (step, last) = (step.min(last) as f64, last as f64);
        let start = self.lr / self.start_divisor;
        let end = start / self.end_divisor;
        let top = (self.rising * self.steps as f64 - 1.0).clamp(0.0, last);
        let bottom = (2.0 * top).min(last);
        let (from, to, a, b) = match self.three_phases {
            _ if step <= top => (0.0, top, start, self.lr),
            false => (top, last, self.lr, end),
            true if step <= bottom => (top, bottom, self.lr, start),
            true => (bottom, last, start, end),
        };
        let part = match to > from {
            true => (step - from) / (to - from),
            false => 1.0,
        };
        match self.linear {
            true => line(a, b, part),
            false => cosine(a, b, part),
        }
    }
}
