use burn::config::Config;

use super::{RateSchedule, cosine};
use crate::config::{Check, ConfigError};

/// Cosine annealing with warm restarts (SGDR): down along half a cosine, again and again, in periods that
/// grow.
///
/// ```text
/// lr_t = floor + (lr - floor) / 2 (1 + cos(π t / T))       t steps into a period of T
/// T    = growth T                                          at each restart
/// ```
///
/// Each period starts at `lr`; the step after its last is the next one's first, so the rate comes close to the
/// floor and does not reach it. (The published code advances before its first use and so starts below `lr` in
/// the first period alone.)
///
/// - Defaults: `growth` 2 and a floor of 0, the authors'.
/// - Rate: the optimizer's own.
/// - When not to use it: where only the last weights count and the length of the run is known: one cosine
///   over all of it ends lower. Weights are best kept at the ends of periods:
///   [`ends_period`](Self::ends_period).
///
/// Paper: Loshchilov and Hutter, *SGDR*, <https://arxiv.org/abs/1608.03983>.
///
/// ```
/// use osculate_optim::{CosineRestarts, RateSchedule};
/// let schedule = CosineRestarts::new(0.1, 10);
/// assert_eq!((schedule.rate(0), schedule.rate(10), schedule.rate(30)), (0.1, 0.1, 0.1));
/// assert!((schedule.rate(20) - 0.05).abs() < 1e-12);
/// assert!(schedule.ends_period(9) && schedule.ends_period(29) && !schedule.ends_period(19));
/// ```
#[derive(Config, Debug, PartialEq)]
pub struct CosineRestarts {
    /// The rate at the start of each period.
    pub lr: f64,
    /// Steps of the first period.
    pub period: u64,
    /// Growth of the periods, a whole number. Default 2.
    #[config(default = 2)]
    pub growth: u64,
    /// The rate at which periods would end. Default 0.
    #[config(default = 0.0)]
    pub floor: f64,
}

impl CosineRestarts {
    /// Whether a step, counted from 0, is the last of its period.
    pub fn ends_period(&self, step: u64) -> bool {
        let (at, period) = self.place(step);
        at + 1 == period
    }

    /// The place within a period, and the period's length.
    fn place(&self, step: u64) -> (u64, u64) {
        let (mut at, mut period) = (step, self.period.max(1));
        if self.growth <= 1 {
            return (at % period, period);
        }
        while at >= period {
            at -= period;
            period = period.saturating_mul(self.growth);
        }
        (at, period)
    }
}

impl RateSchedule for CosineRestarts {
    fn validate(&self) -> Result<(), ConfigError> {
        Check::of("CosineRestarts")
            .positive("lr", self.lr)
            .that(self.period > 0, "period", self.period, "at least 1")
            .that(self.growth > 0, "growth", self.growth, "at least 1")
            .that(
                (0.0..=self.lr).contains(&self.floor),
                "floor",
                self.floor,
                "a rate from 0 to lr",
            )
            .finish()
    }

    fn rate(&self, step: u64) -> f64 {
        let (at, period) = self.place(step);
        cosine(self.lr, self.floor, at as f64 / period as f64)
    }
}
