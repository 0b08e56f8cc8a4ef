use burn::config::Config;

use super::{RateSchedule, line};
use crate::config::{Check, ConfigError};

/// Warm-up, a constant rate, and a decay at the end (WSD): a run can be prolonged from before its decay.
///
/// ```text
/// lr (t + 1) / warmup                          in the first warmup steps
/// lr                                           until
/// lr (1 - part) or lr (1 - sqrt(part))         in the last decay steps, to the floor
/// ```
///
/// - Defaults: `1 - sqrt`, the better shape in the second paper, to a floor of 0. A decay over 10 to 20 % of the
///   run does as well as a cosine over all of it.
/// - Rate: half of the best one of a cosine, because it stays at its peak.
/// - When not to use it: in short runs, in which the decay is most of what trains.
///
/// Papers: Hu et al., *MiniCPM*, <https://arxiv.org/abs/2404.06395>; Hägele et al., *Scaling Laws and
/// Compute-Optimal Training Beyond Fixed Training Durations*, <https://arxiv.org/abs/2405.18392>.
///
/// ```
/// use osculate_optim::{RateSchedule, WarmupStableDecay};
/// let schedule = WarmupStableDecay::new(0.1, 100).with_warmup(10).with_decay(20);
/// schedule.validate()?;
/// assert_eq!((schedule.rate(4), schedule.rate(50)), (0.05, 0.1));
/// assert!((schedule.rate(84) - 0.05).abs() < 1e-12 && schedule.rate(99) == 0.0);
/// # Ok::<(), osculate_optim::ConfigError>(())
/// ```
#[derive(Config, Debug, PartialEq)]
pub struct WarmupStableDecay {
    /// The rate between warm-up and decay.
    pub lr: f64,
    /// Steps of the run.
    pub steps: u64,
    /// Steps of the warm-up. Default 0.
    #[config(default = 0)]
    pub warmup: u64,
    /// Steps of the decay, the last of the run. Default 0.
    #[config(default = 0)]
    pub decay: u64,
    /// Decays in a straight line instead of along `1 - sqrt`. Default `false`.
    #[config(default = false)]
    pub linear: bool,
    /// The rate of the last step of a decay. Default 0.
    #[config(default = 0.0)]
    pub floor: f64,
}

impl RateSchedule for WarmupStableDecay {
    fn validate(&self) -> Result<(), ConfigError> {
        let ramps = self.warmup.saturating_add(self.decay);
        Check::of("WarmupStableDecay")
            .positive("lr", self.lr)
            .that(self.steps > 0, "steps", self.steps, "at least 1")
            .that(
                ramps <= self.steps,
                "warmup + decay",
                ramps,
                "no more than the steps of the run",
            )
            .that(
                (0.0..=self.lr).contains(&self.floor),
                "floor",
                self.floor,
                "a rate from 0 to lr",
            )
            .finish()
    }

    fn rate(&self, step: u64) -> f64 {
        let step = step.min(self.steps.saturating_sub(1));
        let falls = self.steps.saturating_sub(self.decay);
        if step < self.warmup {
            return self.lr * (step + 1) as f64 / self.warmup as f64;
        }
        if step < falls {
            return self.lr;
        }
        let part = (step - falls + 1) as f64 / self.decay as f64;
        let part = if self.linear { part } else { part.sqrt() };
        line(self.lr, self.floor, part)
    }
}
