use burn::config::Config;
use burn::module::Module;
use osculate_curvature::{Objective, ObjectiveError};
use thiserror::Error;

use crate::config::{Check, ConfigError};
use crate::driver::StepErrorCause;
use crate::optimizer::ClosureOptimizer;

/// The learning-rate range test: one short run in which the rate grows from step to step, for any optimizer and
/// model.
///
/// The rate goes from `from` to `to` by one factor a step, and the run ends early where the averaged loss has
/// grown to `stop` times its least value. [`RangeCurve::steepest`] is a rate to start from,
/// [`RangeCurve::largest`] the top of a [`OneCycle`](super::OneCycle).
///
/// - Cost: `steps` steps of the optimizer. Throw model and optimizer away after it.
/// - When not to use it: with a loss of noise larger than its change in a few dozen steps.
///
/// Paper: Smith, *Cyclical Learning Rates for Training Neural Networks*, <https://arxiv.org/abs/1506.01186>.
///
/// ```
/// use burn::nn::{Linear, LinearConfig};
/// use burn::optim::SgdConfig;
/// use burn::tensor::{Device, Distribution, Tensor};
/// use osculate_curvature::Objective;
/// use osculate_optim::{Driver, RangeTest};
///
/// let device = Device::flex().autodiff();
/// device.seed(1);
/// let model: Linear = LinearConfig::new(4, 3).init(&device);
/// let x = Tensor::<2>::random([8, 4], Distribution::Default, &device);
/// let mut sgd = Driver::from(SgdConfig::new().init());
/// let curve = RangeTest::new().run(&mut sgd, model, |_step| {
///     let x = x.clone();
///     let loss = move |model: &Linear| model.forward(x.clone()).square().mean();
///     Ok(Box::new(loss) as Box<dyn Objective<Linear>>)
/// })?;
/// let (steepest, largest) = (curve.steepest(), curve.largest());
/// assert!(steepest.is_some_and(|lr| lr > 1e-3) && largest > steepest);
/// # Ok::<(), osculate_optim::RangeTestError>(())
/// ```
#[derive(Config, Debug, PartialEq)]
pub struct RangeTest {
    /// The first rate. Default 1e-6.
    #[config(default = 1e-6)]
    pub from: f64,
    /// The last. Default 10.
    #[config(default = 10.0)]
    pub to: f64,
    /// Steps from one to the other. Default 100.
    #[config(default = 100)]
    pub steps: usize,
    /// Decay of the loss's average. Default 0.9.
    #[config(default = 0.9)]
    pub smoothing: f64,
    /// The run ends where the average has grown to this many times its least value. Default 4.
    #[config(default = 4.0)]
    pub stop: f64,
}

/// Why there is no curve.
#[derive(Debug, Error)]
pub enum RangeTestError {
    /// A setting is out of its range.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A batch could not be made.
    #[error("the batch of step {step}: {source}")]
    Batch {
        /// The step, from 0.
        step: usize,
        /// Why.
        source: ObjectiveError,
    },
    /// A step was not made, at a rate at which the loss was still falling.
    #[error("step {step}: {cause}")]
    Step {
        /// The step, from 0.
        step: usize,
        /// Why.
        cause: StepErrorCause,
    },
}

/// A step of a range test.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RangePoint {
    /// The rate of the step.
    pub lr: f64,
    /// The loss before it.
    pub loss: f64,
    /// The average of the losses so far.
    pub average: f64,
}

/// The losses of a range test.
#[derive(Debug, Clone, PartialEq)]
pub struct RangeCurve {
    /// The steps with losses that are numbers, in the order of their rates.
    pub points: Vec<RangePoint>,
    /// Whether the loss left the numbers or grew to the end of the test.
    pub diverged: bool,
}

impl RangeTest {
    /// Checks the settings.
    ///
    /// # Errors
    /// [`ConfigError`] for rates that are not positive or do not rise, fewer than 2 steps, a decay outside of
    /// `[0, 1)`, and a stop that is not above 1.
    pub fn validate(&self) -> Result<(), ConfigError> {
        Check::of("RangeTest")
            .positive("from", self.from)
            .that(
                self.to.is_finite() && self.to > self.from,
                "to",
                self.to,
                "a finite number above from",
            )
            .that(self.steps >= 2, "steps", self.steps, "at least 2")
            .decay("smoothing", self.smoothing)
            .that(self.stop > 1.0, "stop", self.stop, "a number above 1")
            .finish()
    }

    /// Runs the test; `batch` gives the objective of each step.
    ///
    /// # Errors
    /// [`RangeTestError`]; rates at which training breaks down are no error.
    pub fn run<'a, M: Module>(
        &self,
        optimizer: &mut dyn ClosureOptimizer<M>,
        mut model: M,
        mut batch: impl FnMut(usize) -> Result<Box<dyn Objective<M> + 'a>, ObjectiveError>,
    ) -> Result<RangeCurve, RangeTestError> {
        self.validate()?;
        let growth = (self.to / self.from).ln() / (self.steps - 1) as f64;
        let mut points: Vec<RangePoint> = Vec::new();
        let (mut sum, mut weight, mut least) = (0.0, 0.0, f64::INFINITY);
        let mut diverged = false;
        for step in 0..self.steps {
            let lr = self.from * (growth * step as f64).exp();
            let objective = batch(step).map_err(|source| RangeTestError::Batch { step, source })?;
            let made = match optimizer.step_with(lr.into(), model, objective.as_ref()) {
                Ok(made) => made,
                // Beyond a rate that was too large a step may not be possible.
                Err(_) if points.last().is_some_and(|last| last.average > least) => {
                    diverged = true;
                    break;
                }
                Err(error) => {
                    let cause = error.cause;
                    return Err(RangeTestError::Step { step, cause });
                }
            };
            model = made.model;
            let loss = made.report.loss();
            if !loss.is_finite() {
                diverged = true;
                break;
            }
            sum = self.smoothing * sum + (1.0 - self.smoothing) * loss;
            weight = self.smoothing * weight + (1.0 - self.smoothing);
            let average = sum / weight;
            points.push(RangePoint { lr, loss, average });
            least = least.min(average);
            if least > 0.0 && average > self.stop * least {
                diverged = true;
                break;
            }
        }
        Ok(RangeCurve { points, diverged })
    }
}

impl RangeCurve {
    /// The rate at which the averaged loss falls fastest for its logarithm; `None` where it never falls.
    pub fn steepest(&self) -> Option<f64> {
        let falls = self.points.windows(2).map(|pair| {
            let fall = pair[0].average - pair[1].average;
            (fall / (pair[1].lr / pair[0].lr).ln(), pair[1].lr)
        });
        let falls = falls.filter(|(fall, _)| *fall > 0.0);
        falls.max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, lr)| lr)
    }

    /// The rate at which the averaged loss is least; `None` for no points.
    pub fn largest(&self) -> Option<f64> {
        let least = self.points.iter();
        let least = least.min_by(|a, b| a.average.total_cmp(&b.average));
        least.map(|point| point.lr)
    }
}
