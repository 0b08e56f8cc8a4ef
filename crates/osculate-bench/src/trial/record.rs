use osculate::prelude::StepReport;
use serde::{Deserialize, Serialize};

use super::{Curvature, Environment};
use crate::entrant::Entrant;

/// Most steps of a run, and most measurements in it.
pub(crate) const MOST_STEPS: usize = 100_000_000;

/// What is to be run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TrialSpec {
    /// Name of the workload.
    pub workload: String,
    /// The optimizer.
    pub entrant: Entrant,
    /// Peak learning rate.
    pub lr: f64,
    /// Seed of weights, batches and probes.
    pub seed: u64,
    /// Steps.
    pub steps: usize,
    /// Measurements of the network, evenly spread over the run, the one before the first step not
    /// counted.
    pub measurements: usize,
    /// Whether the Hessian's largest eigenvalues at the end are wanted.
    pub curvature: bool,
    /// Whether the run is part of a search, which must not see what reported runs are measured on.
    pub tuning: bool,
}

impl TrialSpec {
    /// Seed 0, 40 measurements, no curvature.
    pub fn new(workload: impl Into<String>, entrant: Entrant, lr: f64, steps: usize) -> Self {
        Self {
            workload: workload.into(),
            entrant,
            lr,
            seed: 0,
            steps,
            measurements: 40,
            curvature: false,
            tuning: false,
        }
    }

    /// Makes it part of a search.
    pub fn for_tuning(mut self) -> Self {
        self.tuning = true;
        self
    }

    /// Replaces the seed.
    pub fn with_seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Asks for the Hessian's largest eigenvalues at the end.
    pub fn with_curvature(mut self, curvature: bool) -> Self {
        self.curvature = curvature;
        self
    }

    /// Whether a result of the other is a result of this.
    pub fn is_same(&self, other: &Self) -> bool {
        let plain = |spec: &Self| {
            (
                spec.workload.clone(),
                spec.seed,
                spec.steps,
                spec.measurements,
                spec.curvature,
                spec.tuning,
            )
        };
        same_rate(self.lr, other.lr)
            && plain(self) == plain(other)
            && self.entrant.is_same(&other.entrant)
    }

    /// Whether the network is measured after so many steps.
    pub(super) fn measures_after(&self, made: usize) -> bool {
        let marks = |steps: usize| steps * self.measurements.max(1) / self.steps.max(1);
        made == self.steps || marks(made) > marks(made.saturating_sub(1))
    }
}

/// Whether two learning rates are the same. JSON may have moved the last digit.
pub(super) fn same_rate(own: f64, other: f64) -> bool {
    (own - other).abs() <= 1e-12 * own.abs()
}

/// A run as it stood when the network was measured.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// Steps made.
    pub step: usize,
    /// Gradient evaluations spent.
    pub evaluations: f64,
    /// Seconds spent in steps by the clock on the wall; measurements and the making of batches are left
    /// out.
    pub seconds: f64,
    /// Seconds of all cores together spent in steps, on devices that are CPUs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_seconds: Option<f64>,
    /// Mean training loss since the measurement before; `None` before the first step, and where it is no
    /// finite number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub train_loss: Option<f64>,
    /// The workload's metric; `None` where it is no finite number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metric: Option<f64>,
}

/// What came of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// All steps were made.
    Finished,
    /// The loss or the metric was no longer a finite number.
    Diverged,
    /// A step could not be made.
    Failed {
        /// Why.
        message: String,
    },
    /// The person at the terminal stopped it.
    Interrupted,
}

/// How the Hessian products of a run's steps were made.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Products {
    /// Steps that made exact products.
    pub exact_steps: usize,
    /// Steps that made them by finite differences.
    pub difference_steps: usize,
    /// Largest estimated error of a finite difference, a norm in the unit of the product.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub largest_error: Option<f64>,
    /// Largest age of the curvature in use, in steps.
    pub largest_age: usize,
    /// Why products were no exact ones of the Hessian, of the last step where they were not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fallback: Option<String>,
}

impl Products {
    /// With a step's report; `before` is what is known of the steps before it.
    pub(super) fn with(before: Option<Self>, report: &StepReport) -> Option<Self> {
        let age = report.curvature_age().unwrap_or(0);
        let Some(made) = report.provenance() else {
            return before.map(|before| Self {
                largest_age: before.largest_age.max(age),
                ..before
            });
        };
        let before = before.unwrap_or_default();
        let error = made.error().filter(|error| error.is_finite());
        Some(Self {
            exact_steps: before.exact_steps + usize::from(made.is_exact()),
            difference_steps: before.difference_steps + usize::from(!made.is_exact()),
            largest_error: before
                .largest_error
                .into_iter()
                .chain(error)
                .reduce(f64::max),
            largest_age: before.largest_age.max(age),
            fallback: report.fallback().map(str::to_string).or(before.fallback),
        })
    }
}

/// One run and all that was measured.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Trial {
    /// What was run.
    pub spec: TrialSpec,
    /// Where; `None` of a run that panicked outside of its steps.
    #[serde(default)]
    pub environment: Option<Environment>,
    /// What came of it.
    pub outcome: Outcome,
    /// The run over time, from before the first step.
    pub points: Vec<Point>,
    /// Mean seconds of a step, the first left out: the mean counts what a method does only now and
    /// then.
    pub step_seconds: f64,
    /// Trainable numbers.
    pub parameters: usize,
    /// Bytes of the parameters.
    pub parameter_bytes: usize,
    /// Bytes of the optimizer's state at the end.
    pub state_bytes: usize,
    /// Largest resident memory of the process during the run, in bytes, where the system tells.
    pub peak_memory: Option<u64>,
    /// Parameters left out over all steps because a gradient was not finite.
    pub skipped: usize,
    /// How the method's Hessian products were made; `None` of methods without, and in older results.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub products: Option<Products>,
    /// The Hessian at the final weights, where it was asked for and the run finished.
    pub curvature: Option<Curvature>,
    /// Why the Hessian could not be measured.
    pub curvature_error: Option<String>,
}

impl Trial {
    /// A run of which nothing is known yet.
    pub fn new(spec: TrialSpec) -> Self {
        Self {
            spec,
            environment: None,
            outcome: Outcome::Finished,
            points: Vec::new(),
            step_seconds: 0.0,
            parameters: 0,
            parameter_bytes: 0,
            state_bytes: 0,
            peak_memory: None,
            skipped: 0,
            products: None,
            curvature: None,
            curvature_error: None,
        }
    }

    /// Why the record cannot be what a run has left, if it cannot.
    pub fn defect(&self) -> Option<String> {
        let made = self.points.last().map_or(0, |point| point.step);
        let forward = |pair: &[Point]| pair[0].step < pair[1].step;
        if !self.points.windows(2).all(forward) {
            return Some("its points are not in order".to_string());
        }
        match self.outcome {
            Outcome::Finished if made != self.spec.steps => Some(format!(
                "it is called finished after {made} of {} steps",
                self.spec.steps
            )),
            Outcome::Interrupted => Some("it was interrupted".to_string()),
            _ => None,
        }
    }
}
