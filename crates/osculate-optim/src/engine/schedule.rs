use std::sync::Arc;

use burn::config::Config;

use crate::config::Check;

/// When a rule refreshes its preconditioner.
///
/// It is a function of the step's number and of the block's phase alone, so a resumed run refreshes
/// in the same steps and every worker does too. With a period above 1, the blocks and factors of a
/// model take turns: the work of a refresh is spread over the period, not done in one step.
#[derive(Config, Debug, Copy, PartialEq)]
pub enum RefreshSchedule {
    /// In one of every `period` steps.
    Every {
        /// Steps between two refreshes.
        period: usize,
    },
    /// At a rate that starts at 1 and falls to `floor`: `clamp(exp(-decay (t - start)), floor, 1)`.
    /// A refresh is made as soon as `1 / rate` steps have passed since the last. This is the
    /// annealed update probability of PSGD, made deterministic.
    Annealed {
        /// The last step with a rate of 1.
        start: usize,
        /// How fast the rate falls.
        decay: f64,
        /// The lowest rate.
        floor: f64,
    },
}

impl RefreshSchedule {
    /// In every step.
    pub const ALWAYS: Self = Self::Every { period: 1 };

    /// The annealing that PSGD's users know: 1 for 500 steps, down to 0.03 at step 4000.
    pub const PSGD_ANNEALED: Self = Self::Annealed {
        start: 500,
        decay: 1e-3,
        floor: 0.03,
    };

    /// Longest annealing that is tabulated, in steps.
    const LONGEST: f64 = 1e7;

    pub(crate) fn check(self, check: Check) -> Check {
        match self {
            Self::Every { period } => check.that(period > 0, "period", period, "at least 1"),
            Self::Annealed {
                start: _,
                decay,
                floor,
            } => check
                .positive("decay", decay)
                .that(
                    floor > 0.0 && floor <= 1.0,
                    "floor",
                    floor,
                    "a number in (0, 1]",
                )
                .that(
                    -floor.ln() / decay <= Self::LONGEST,
                    "decay",
                    decay,
                    "at most ten million steps from rate 1 to the floor",
                ),
        }
    }
}

/// A [`RefreshSchedule`] made ready for questions.
#[derive(Debug, Clone)]
pub struct Refresh {
    /// Refreshes of the annealing up to and with each of its steps.
    annealing: Arc<[u32]>,
    start: u64,
    /// Steps between refreshes after the annealing, and the first of them.
    period: u64,
    anchor: u64,
}

impl Refresh {
    /// Tabulates a valid schedule.
    pub fn new(schedule: RefreshSchedule) -> Self {
        match schedule {
            RefreshSchedule::Every { period } => Self {
                annealing: Arc::from([]),
                start: 0,
                period: period.max(1) as u64,
                anchor: 0,
            },
            RefreshSchedule::Annealed {
                start,
                decay,
                floor,
            } => {
                let length = (-floor.ln() / decay).ceil() as usize;
                let (mut since, mut count) = (0u64, 0u32);
                let mut annealing = Vec::with_capacity(length);
                for step in 0..length {
                    let rate = (-decay * step as f64).exp().clamp(floor, 1.0);
                    since += 1;
                    if since as f64 >= rate.recip() {
                        since = 0;
                        count += 1;
                    }
                    annealing.push(count);
                }
                let period = floor.recip().ceil().max(1.0) as u64;
                let end = (start + length) as u64;
                Self {
                    annealing: annealing.into(),
                    start: start as u64,
                    period,
                    anchor: end + period.saturating_sub(since + 1),
                }
            }
        }
    }

    /// Whether the refresh of this step is due, for the block at `phase`.
    ///
    /// The first step is due for all. From then on a phase runs ahead of the schedule by its
    /// remainder modulo the period at hand, so that phases 0, 1, 2, ... take turns and none waits
    /// for longer than a period.
    pub fn due(&self, step: u64, phase: u64) -> bool {
        if step == 0 {
            return true;
        }
        self.base(step + phase % self.period_at(step))
    }

    /// How many refreshes of the block at `phase` were due before this step, for methods that
    /// alternate between two kinds. Exact for `Every`, and for phase 0; while an annealing goes on, a later
    /// phase's turn can fall between two of its lengths and be counted with the next.
    pub fn index(&self, step: u64, phase: u64) -> u64 {
        if step == 0 {
            return 0;
        }
        let step = step + phase % self.period_at(step);
        let Some(into) = step.checked_sub(self.start) else {
            return step;
        };
        let count = match self.annealing.get(into as usize) {
            Some(&count) => u64::from(count),
            None => {
                let annealed = self.annealing.last().copied().unwrap_or(0);
                let later = step
                    .checked_sub(self.anchor)
                    .map(|past| past / self.period + 1);
                u64::from(annealed) + later.unwrap_or(0)
            }
        };
        self.start + count - u64::from(self.base(step))
    }

    /// The steps between refreshes around this step, rounded up.
    fn period_at(&self, step: u64) -> u64 {
        let Some(into) = step.checked_sub(self.start) else {
            return 1;
        };
        let into = into as usize;
        let Some(&count) = self.annealing.get(into) else {
            return self.period;
        };
        // The stretch of equal counts is the time from one refresh to the next.
        let first = self.annealing.partition_point(|&other| other < count);
        let next = self.annealing.partition_point(|&other| other <= count);
        if next < self.annealing.len() {
            (next - first).max(1) as u64
        } else {
            self.period
        }
    }

    fn base(&self, step: u64) -> bool {
        let Some(into) = step.checked_sub(self.start) else {
            return true;
        };
        let into = into as usize;
        match self.annealing.get(into) {
            Some(&count) => count > into.checked_sub(1).map_or(0, |last| self.annealing[last]),
            None => step >= self.anchor && (step - self.anchor).is_multiple_of(self.period),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn annealing_follows_the_rate() {
        let refresh = Refresh::new(RefreshSchedule::PSGD_ANNEALED);
        let due: Vec<u64> = (0..6000).filter(|&step| refresh.due(step, 0)).collect();
        assert_eq!(due.len(), 1317);
        let late: Vec<u64> = due
            .into_iter()
            .filter(|&step| step >= 500)
            .take(8)
            .collect();
        assert_eq!(late, [500, 502, 504, 506, 508, 510, 512, 514]);
    }

    #[test]
    fn slots_take_turns_evenly() {
        let refresh = Refresh::new(RefreshSchedule::Every { period: 5 });
        for step in 1..40 {
            let due = (0..10).filter(|&phase| refresh.due(step, phase)).count();
            assert_eq!(due, 2, "step {step}");
        }
        for phase in 0..10 {
            let steps: Vec<u64> = (5..30).filter(|&step| refresh.due(step, phase)).collect();
            assert_eq!(steps.len(), 5);
            assert!(steps.windows(2).all(|pair| pair[1] - pair[0] == 5));
        }
    }

    #[test]
    fn refreshes_are_numbered() {
        let schedules = [
            RefreshSchedule::ALWAYS,
            RefreshSchedule::Every { period: 7 },
            RefreshSchedule::PSGD_ANNEALED,
        ];
        for schedule in schedules {
            let refresh = Refresh::new(schedule);
            // While an annealing goes on, the turn of a later phase can fall between two of its lengths.
            let phases = match schedule {
                RefreshSchedule::Every { .. } => 0..9,
                RefreshSchedule::Annealed { .. } => 0..1,
            };
            for phase in phases {
                let due = (0..6000).filter(|&step| refresh.due(step, phase));
                for (index, step) in due.enumerate() {
                    assert_eq!(
                        refresh.index(step, phase),
                        index as u64,
                        "{schedule:?}, phase {phase}, step {step}"
                    );
                }
            }
        }
    }

    #[test]
    fn a_period_of_one_is_always_due() {
        let refresh = Refresh::new(RefreshSchedule::ALWAYS);
        assert!((0..5).all(|step| (0..5).all(|phase| refresh.due(step, phase))));
    }
}
