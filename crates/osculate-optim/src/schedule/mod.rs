//! Learning rates over a run, as burn's schedulers, where burn has none.

mod cosine_restarts;
mod one_cycle;
mod range_test;
mod warmup_stable_decay;

pub use cosine_restarts::CosineRestarts;
pub use one_cycle::OneCycle;
pub use range_test::{RangeCurve, RangePoint, RangeTest, RangeTestError};
pub use warmup_stable_decay::WarmupStableDecay;

use std::f64::consts::PI;
use std::fmt::Debug;

use burn::lr_scheduler::{LrScheduler, LrSchedulerRecord};

use crate::config::{Check, ConfigError};

/// A learning rate as a function of the step, counted from 0: nothing of it needs to be saved but the step.
///
/// [`scheduler`](Self::scheduler) makes one a burn scheduler, which goes wherever burn's own do: into a
/// training loop, into burn's `Learner`, and with groups into a
/// [`ModuleLrScheduler`](burn::lr_scheduler::module_lr_scheduler::ModuleLrScheduler). Unlike burn's ramps,
/// which end at 1, rates may be as large as wanted.
///
/// ```
/// use burn::lr_scheduler::module_lr_scheduler::ModuleLrScheduler;
/// use burn::module::ParamGroup;
/// use osculate_optim::{OneCycle, RateSchedule};
///
/// let one_cycle = OneCycle::new(3.0, 100);
/// assert_eq!(one_cycle.rate(29), 3.0);
/// let scheduler = one_cycle.scheduler()?;
/// let mut scheduler = ModuleLrScheduler::from(scheduler).with_group(ParamGroup::from_path("bias"), 0.1);
/// assert!((scheduler.step().base() - 3.0 / 25.0).abs() < 1e-12);
/// # Ok::<(), osculate_optim::ConfigError>(())
/// ```
pub trait RateSchedule: Debug + Clone + Send + Sync + 'static {
    /// Checks the settings.
    ///
    /// # Errors
    /// [`ConfigError`] for a setting that is out of its range.
    fn validate(&self) -> Result<(), ConfigError>;

    /// The rate of a step, counted from 0. After the last step of a schedule that ends it stays what it was.
    fn rate(&self, step: u64) -> f64;

    /// A burn scheduler, at step 0.
    ///
    /// # Errors
    /// As [`validate`](Self::validate).
    fn scheduler(&self) -> Result<ScheduledRate<Self>, ConfigError> {
        self.validate()?;
        Ok(ScheduledRate {
            schedule: self.clone(),
            step: 0,
        })
    }
}

/// A [`RateSchedule`] as a burn scheduler: it counts steps, and its record is their number.
#[derive(Debug, Clone)]
pub struct ScheduledRate<S> {
    schedule: S,
    step: u64,
}

const STEP: &str = "step";

impl<S: RateSchedule> LrScheduler for ScheduledRate<S> {
    fn step(&mut self) -> f64 {
        let rate = self.schedule.rate(self.step);
        self.step += 1;
        rate
    }

    fn to_record(&self) -> LrSchedulerRecord {
        LrSchedulerRecord::new().with_scalar(STEP, self.step)
    }

    fn load_record(&mut self, record: LrSchedulerRecord) {
        // burn's trait has no way to refuse a record: one of another scheduler changes nothing.
        if let Some(step) = record.scalar(STEP) {
            self.step = step;
        }
    }
}

/// The normalised weight decay for a run: `norm sqrt(batch / (samples epochs))`, with which one `norm` suits
/// runs of any length and batch size. Under warm restarts `epochs` are those of the present period.
///
/// The authors find norms of 0.025 to 0.05 good. The result is decay *uncoupled* from the base rate:
/// divide by it for optimizers that multiply decay by the learning rate, as those of burn and of this crate do.
///
/// Paper: Loshchilov and Hutter, *Decoupled Weight Decay Regularization*, <https://arxiv.org/abs/1711.05101>.
///
/// ```
/// let decay = osculate_optim::normalised_weight_decay(0.025, 128, 50_000, 100)?;
/// assert!((decay - 1.264911e-4).abs() < 1e-10);
/// // Over AdamW with a peak rate of 1e-3.
/// let for_adamw = decay / 1e-3;
/// # assert!(for_adamw < 0.13);
/// # Ok::<(), osculate_optim::ConfigError>(())
/// ```
///
/// # Errors
/// [`ConfigError`] for a norm that is negative or not finite, and for numbers of 0.
pub fn normalised_weight_decay(
    norm: f64,
    batch: usize,
    samples: usize,
    epochs: usize,
) -> Result<f64, ConfigError> {
    Check::of("normalised_weight_decay")
        .non_negative("norm", norm)
        .that(batch > 0, "batch", batch, "at least 1")
        .that(samples > 0, "samples", samples, "at least 1")
        .that(epochs > 0, "epochs", epochs, "at least 1")
        .finish()?;
    Ok(norm * (batch as f64 / (samples as f64 * epochs as f64)).sqrt())
}

/// From `a` to `b` in a straight line, for a part between 0 and 1.
fn line(a: f64, b: f64, part: f64) -> f64 {
    a + (b - a) * part
}

/// From `a` to `b` along half a cosine.
fn cosine(a: f64, b: f64, part: f64) -> f64 {
    b + (a - b) / 2.0 * (1.0 + (PI * part).cos())
}

#[cfg(test)]
mod tests;
