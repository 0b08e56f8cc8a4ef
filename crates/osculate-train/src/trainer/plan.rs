//! Which batches belong to which step.

use super::config::{Length, TrainerConfig};
use super::error::TrainerError;

/// The batches of one step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct StepBatches {
    pub(crate) epoch: u64,
    pub(crate) first: usize,
    pub(crate) count: usize,
}

/// A run cut into steps.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    batches: usize,
    accumulate: usize,
    steps: u64,
}

impl Plan {
    pub(crate) fn new(config: &TrainerConfig, batches: usize) -> Result<Self, TrainerError> {
        if batches == 0 {
            return Err(TrainerError::TaskInvalid {
                what: "the data has no batch".to_string(),
                expected: "at least one batch in a pass",
            });
        }
        let mut plan = Self {
            batches,
            accumulate: config.accumulate,
            steps: 0,
        };
        plan.steps = match config.length {
            Length::Steps(steps) => steps,
            Length::Epochs(epochs) => {
                let steps = epochs.checked_mul(plan.steps_per_epoch());
                steps.ok_or_else(|| TrainerError::Setting {
                    name: "length",
                    value: format!("{epochs} passes"),
                    expected: "passes whose steps can be counted",
                })?
            }
        };
        Ok(plan)
    }

    /// Batches in a pass.
    pub(crate) fn batches(&self) -> u64 {
        self.batches as u64
    }

    /// Steps in the whole run.
    pub(crate) fn steps(&self) -> u64 {
        self.steps
    }

    fn steps_per_epoch(&self) -> u64 {
        self.batches.div_ceil(self.accumulate) as u64
    }

    /// The batches of step `step`, from 0.
    pub(crate) fn at(&self, step: u64) -> StepBatches {
        let first = (step % self.steps_per_epoch()) as usize * self.accumulate;
        StepBatches {
            epoch: step / self.steps_per_epoch(),
            first,
            count: self.accumulate.min(self.batches - first),
        }
    }

    /// The pass to which the last of `made` steps belongs.
    pub(crate) fn epoch_of(&self, made: u64) -> u64 {
        made.saturating_sub(1) / self.steps_per_epoch()
    }

    /// Passes made after `made` steps.
    pub(crate) fn passes(&self, made: u64) -> f64 {
        made as f64 / self.steps_per_epoch() as f64
    }

    /// Whether a pass is complete after `made` steps.
    pub(crate) fn ends_epoch(&self, made: u64) -> bool {
        made.is_multiple_of(self.steps_per_epoch())
    }
}

#[cfg(test)]
mod tests {
    use osculate_optim::registry::OptimizerKind;

    use super::*;

    #[test]
    fn every_batch_of_a_pass_is_used_once() {
        for accumulate in 1..6 {
            let mut config = TrainerConfig::new(OptimizerKind::ADAMW);
            config.accumulate = accumulate;
            config.length = Length::Epochs(3);
            let plan = Plan::new(&config, 7).unwrap();
            let mut seen = Vec::new();
            for step in 0..plan.steps() {
                let StepBatches {
                    epoch,
                    first,
                    count,
                } = plan.at(step);
                assert!((1..=accumulate).contains(&count));
                assert_eq!(plan.epoch_of(step + 1), epoch);
                seen.extend((first..first + count).map(|index| (epoch, index)));
                assert_eq!(plan.ends_epoch(step + 1), first + count == 7);
            }
            let all: Vec<_> = (0..3).flat_map(|e| (0..7).map(move |i| (e, i))).collect();
            assert_eq!(seen, all);
        }
    }

    #[test]
    fn steps_beyond_counting_are_an_error() {
        let mut config = TrainerConfig::new(OptimizerKind::ADAMW);
        config.length = Length::Epochs(u64::MAX);
        assert!(Plan::new(&config, 1).is_ok());
        let error = Plan::new(&config, 2).unwrap_err().to_string();
        assert!(error.starts_with("length"), "{error}");
    }

    #[test]
    fn no_batches_are_an_error() {
        assert!(Plan::new(&TrainerConfig::new(OptimizerKind::ADAMW), 0).is_err());
    }
}
