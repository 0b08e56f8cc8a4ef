//! The learning rate over a run.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use super::error::TrainerError;

/// The shape of a schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum ScheduleKind {
    /// The peak rate all along, after the warm-up (default: none).
    Constant,
    /// Down along half a cosine after the warm-up (default: 5 % of the run) to the floor (default:
    /// 0.01 of the peak).
    Cosine,
    /// Down in a straight line after the warm-up (default: 5 %) to the floor (default: 0).
    Linear,
    /// The peak rate after the warm-up (default: 5 %) until the last fifth of the run, then down in a straight
    /// line to the floor (default: 0).
    WarmupStableDecay,
    /// Up along a cosine from 1/25 of the peak during the warm-up (default: 30 %), down along a
    /// cosine to the floor (default: 4e-6): the "1cycle" policy as deep-learning libraries have it.
    OneCycle,
    /// Up in a straight line from a tenth of the peak during the warm-up (default: 45 %), down as
    /// long, then from a tenth to the floor (default: 0.001) in what is left: Smith and Topin's
    /// super-convergence, for peak rates several times the usual ones. Momentum is not cycled.
    SuperConvergence,
}

/// The learning rate as a function of the step: nothing of it needs to be saved.
///
/// burn's own schedulers count their steps and refuse rates above 1, which super-convergence and
/// PSGD use.
///
/// ```
/// use osculate_train::trainer::{Schedule, ScheduleKind};
/// let schedule = Schedule { warmup: Some(0.0), ..Schedule::new(ScheduleKind::Cosine) };
/// assert_eq!(schedule.factor(0, 100), 1.0);
/// assert!((schedule.factor(99, 100) - 0.01).abs() < 1e-12);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Schedule {
    /// The shape.
    pub kind: ScheduleKind,
    /// Share of the run, from 0 to 1, in which the rate rises to its peak. `None`: as the shape
    /// says.
    #[serde(default)]
    pub warmup: Option<f64>,
    /// The rate at the end, as a part of the peak. `None`: as the shape says.
    #[serde(default)]
    pub floor: Option<f64>,
}

/// Where the one-cycle policy starts, as a part of the peak.
const ONE_CYCLE_START: f64 = 1.0 / 25.0;
/// Where super-convergence starts, and where its last phase does.
const SUPER_START: f64 = 0.1;

impl Schedule {
    /// A schedule with the defaults of its shape.
    pub fn new(kind: ScheduleKind) -> Self {
        Self {
            kind,
            warmup: None,
            floor: None,
        }
    }

    /// The share of the run that warms up.
    pub fn warmup(&self) -> f64 {
        self.warmup.unwrap_or(match self.kind {
            ScheduleKind::Constant => 0.0,
            ScheduleKind::Cosine | ScheduleKind::Linear | ScheduleKind::WarmupStableDecay => 0.05,
            ScheduleKind::OneCycle => 0.3,
            ScheduleKind::SuperConvergence => 0.45,
        })
    }

    /// The rate at the end, as a part of the peak.
    pub fn floor(&self) -> f64 {
        self.floor.unwrap_or(match self.kind {
            ScheduleKind::Constant => 1.0,
            ScheduleKind::Cosine => 0.01,
            ScheduleKind::Linear | ScheduleKind::WarmupStableDecay => 0.0,
            ScheduleKind::OneCycle => ONE_CYCLE_START * 1e-4,
            ScheduleKind::SuperConvergence => 1e-3,
        })
    }

    /// Checks the settings.
    ///
    /// # Errors
    /// [`TrainerError::Setting`].
    pub fn validate(&self) -> Result<(), TrainerError> {
        let most = if self.kind == ScheduleKind::SuperConvergence {
            0.5
        } else {
            1.0
        };
        TrainerError::check(
            self.warmup().is_finite() && (0.0..=most).contains(&self.warmup()),
            "schedule.warmup",
            self.warmup(),
            "a share of the run from 0 to 1 (to 0.5 in super-convergence)",
        )?;
        TrainerError::check(
            self.kind != ScheduleKind::Constant || self.floor.is_none(),
            "schedule.floor",
            self.floor(),
            "none with a constant schedule",
        )?;
        TrainerError::check(
            self.floor().is_finite() && (0.0..=1.0).contains(&self.floor()),
            "schedule.floor",
            self.floor(),
            "a part of the peak rate from 0 to 1",
        )
    }

    /// The rate of step `step` (from 0) of `steps`, as a part of the peak.
    pub fn factor(&self, step: u64, steps: u64) -> f64 {
        let rising = (self.warmup() * steps as f64).round() as u64;
        let floor = self.floor();
        // Where the step is between the first step of a phase (0) and its last (1).
        let through = |from: u64, to: u64| {
            let last = to.saturating_sub(from + 1);
            if last == 0 {
                0.0
            } else {
                (step.saturating_sub(from) as f64 / last as f64).min(1.0)
            }
        };
        let warmed = || (step + 1) as f64 / rising as f64;
        match self.kind {
            ScheduleKind::Constant
            | ScheduleKind::Cosine
            | ScheduleKind::Linear
            | ScheduleKind::WarmupStableDecay
                if step < rising =>
            {
                warmed()
            }
            ScheduleKind::Constant => 1.0,
            ScheduleKind::Cosine => cosine(1.0, floor, through(rising, steps)),
            ScheduleKind::Linear => line(1.0, floor, through(rising, steps)),
            ScheduleKind::WarmupStableDecay => {
                let falls = (steps - steps / 5).max(rising);
                match step < falls {
                    true => 1.0,
                    false => line(1.0, floor, through(falls.saturating_sub(1), steps)),
                }
            }
            ScheduleKind::OneCycle if step < rising => cosine(ONE_CYCLE_START, 1.0, warmed()),
            ScheduleKind::OneCycle => cosine(1.0, floor, through(rising, steps)),
            ScheduleKind::SuperConvergence if step < rising => line(SUPER_START, 1.0, warmed()),
            ScheduleKind::SuperConvergence if step < 2 * rising => {
                line(1.0, SUPER_START, through(rising, 2 * rising))
            }
            ScheduleKind::SuperConvergence => {
                line(SUPER_START, floor, through((2 * rising).min(steps), steps))
            }
        }
    }
}

fn line(from: f64, to: f64, part: f64) -> f64 {
    from + (to - from) * part
}

fn cosine(from: f64, to: f64, part: f64) -> f64 {
    let weight = 0.5 * (1.0 + (std::f64::consts::PI * part).cos());
    to + (from - to) * weight
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> [Schedule; 6] {
        [
            ScheduleKind::Constant,
            ScheduleKind::Cosine,
            ScheduleKind::Linear,
            ScheduleKind::WarmupStableDecay,
            ScheduleKind::OneCycle,
            ScheduleKind::SuperConvergence,
        ]
        .map(Schedule::new)
    }

    #[test]
    fn each_schedule_reaches_its_peak_and_its_floor() {
        for schedule in all() {
            schedule.validate().unwrap();
            let factors: Vec<f64> = (0..1000).map(|step| schedule.factor(step, 1000)).collect();
            let peak = factors.iter().copied().fold(0.0, f64::max);
            assert!((peak - 1.0).abs() < 1e-12, "{schedule:?}: peak {peak}");
            let end = factors[999];
            assert!(
                (end - schedule.floor()).abs() < 1e-12,
                "{schedule:?}: end {end}"
            );
            let jump = factors.windows(2).map(|pair| (pair[1] - pair[0]).abs());
            // The warm-up over 50 steps is the steepest part of the shapes with defaults.
            let jump = jump.fold(0.0, f64::max);
            assert!(jump <= 0.0201, "{schedule:?}: jumps by {jump}");
        }
    }

    #[test]
    fn known_points() {
        let cosine = Schedule {
            kind: ScheduleKind::Cosine,
            warmup: Some(0.1),
            floor: Some(0.0),
        };
        assert!((cosine.factor(4, 101) - 0.5).abs() < 1e-12);
        assert!((cosine.factor(55, 101) - 0.5).abs() < 1e-12);
        let schedule = Schedule::new(ScheduleKind::SuperConvergence);
        assert!((schedule.factor(44, 100) - 1.0).abs() < 1e-12);
        assert!((schedule.factor(89, 100) - 0.1).abs() < 1e-12);
        let stable = Schedule::new(ScheduleKind::WarmupStableDecay);
        assert_eq!(
            (stable.factor(50, 1000), stable.factor(799, 1000)),
            (1.0, 1.0)
        );
        assert!((stable.factor(899, 1000) - 0.5).abs() < 1e-12);
        let one_cycle = Schedule::new(ScheduleKind::OneCycle);
        assert!(one_cycle.factor(0, 1000) < 0.0401);
    }

    #[test]
    fn runs_of_one_step_and_of_warm_up_alone_are_finite() {
        for mut schedule in all() {
            assert!(schedule.factor(0, 1) > 0.0);
            schedule.warmup = Some(0.5);
            for steps in 1..5 {
                for step in 0..steps {
                    assert!(schedule.factor(step, steps).is_finite());
                }
            }
        }
    }

    #[test]
    fn shares_out_of_range_are_refused() {
        let mut schedule = Schedule::new(ScheduleKind::Cosine);
        schedule.warmup = Some(1.5);
        assert!(schedule.validate().is_err());
        schedule.warmup = Some(f64::NAN);
        assert!(schedule.validate().is_err());
    }
}
