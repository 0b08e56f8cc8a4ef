//! What is trained: data, network, loss and the number that says how good the network is.
//!
//! A workload is one type that implements [`Workload`]; each of those that come with the program has
//! its own file here. To race optimizers on a problem of your own, implement the trait and hand the
//! type to [`Workloads::with`]; [`command::run`](crate::command::run) then is a whole program with all
//! commands of `osculate`. A workload with data should also hold some of it out for the search of
//! learning rates, with [`Workload::for_tuning`].
//!
//! ```
//! use burn::nn::{Linear, LinearConfig};
//! use burn::tensor::{Device, Tensor};
//! use osculate_bench::entrant::Entrant;
//! use osculate_bench::trial::{TrialSpec, Watch};
//! use osculate_bench::workload::{About, Metric, Workload, WorkloadError, Workloads};
//! use osculate::prelude::*;
//! use osculate_problems::modules::seeded;
//!
//! /// A straight line through points on a parabola.
//! struct Line;
//!
//! impl Workload for Line {
//!     type Model = Linear;
//!
//!     fn about(&self) -> About {
//!         About::new("line", "Line through a parabola", Metric::loss("squared error"), 60)
//!             .because("shows how a workload is made")
//!     }
//!
//!     fn model(&self, seed: u64, device: &Device) -> Result<Linear, WorkloadError> {
//!         Ok(seeded(LinearConfig::new(1, 1).init(device), seed))
//!     }
//!
//!     fn batch(
//!         &self,
//!         _seed: u64,
//!         _step: usize,
//!         device: &Device,
//!     ) -> Result<Box<dyn Objective<Linear>>, WorkloadError> {
//!         let x = Tensor::<2>::from_data([[0.0], [0.5], [1.0]], device);
//!         let criterion = Criterion::mse(x.clone().square());
//!         let forward = |model: &Linear, x: &Tensor<2>| model.forward(x.clone());
//!         Ok(Box::new(SupervisedBatch::new(x, forward, criterion)))
//!     }
//!
//!     fn measure(&self, model: &Linear, device: &Device) -> Result<f64, WorkloadError> {
//!         let x = Tensor::<2>::from_data([[0.25], [0.75]], device);
//!         let error = model.forward(x.clone()) - x.square();
//!         Ok(f64::from(error.square().mean().into_scalar::<f32>()))
//!     }
//! }
//!
//! // A program of your own: `fn main() -> ExitCode { osculate_bench::command::run(workloads) }`
//! let workloads = Workloads::built_in().with(Line);
//! let entrant: Entrant = "adamw".parse()?;
//! let spec = TrialSpec::new("line", entrant, 0.1, 60);
//! let trial = workloads.get("line")?.train(&spec, &Device::flex(), &Watch::default())?;
//! let last = trial.points.last().and_then(|point| point.metric);
//! assert!(last.is_some_and(|error| error < 0.05), "{last:?}");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod autoencoder;
mod char_lm;
mod cifar;
mod closed_form;
mod delayed_xor;
mod digits;
mod digits_conv;
mod digits_mlp;
mod digits_noise;
mod factorisation;
mod list;
mod logistic;
mod pinn;
mod quadratic;
mod rosenbrock;
mod stage;
mod text;
mod wikitext;

pub use autoencoder::Autoencoder;
pub use char_lm::CharLm;
pub use cifar::Cifar;
pub use delayed_xor::DelayedXor;
pub use digits_conv::DigitsConv;
pub use digits_mlp::DigitsMlp;
pub use digits_noise::DigitsNoise;
pub use factorisation::Factorisation;
pub use list::Workloads;
pub use logistic::Logistic;
pub use pinn::Pinn;
pub use quadratic::Quadratic;
pub use rosenbrock::RosenbrockValley;
pub use wikitext::WikiText;

use std::f64::consts::PI;
use std::fmt::Display;

use burn::module::Module;
use burn::tensor::Device;
use osculate::prelude::{Objective, OneCycle, RateSchedule};
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Why a workload could not give its data, network or measure.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct WorkloadError(String);

impl WorkloadError {
    /// An error with a message for the person at the terminal.
    pub fn new(message: impl Display) -> Self {
        Self(message.to_string())
    }
}

/// Data, network and loss on which optimizers are compared.
///
/// All methods are functions of their arguments: the same seed and step give the same batch on every
/// machine, which is what makes trials repeatable and seeds comparable in pairs.
pub trait Workload: Send + Sync {
    /// The network.
    type Model: Module;

    /// Name, reasons, measure and length of training.
    fn about(&self) -> About;

    /// The network before training, with the weights of a seed, on an autodiff device.
    ///
    /// # Errors
    /// [`WorkloadError`] where it cannot be made.
    fn model(&self, seed: u64, device: &Device) -> Result<Self::Model, WorkloadError>;

    /// The loss of the batch of a step, counted from 0, on an autodiff device.
    ///
    /// Hand over a [`SupervisedBatch`](osculate::prelude::SupervisedBatch) where the loss is one of
    /// [`Criterion`](osculate::prelude::Criterion): methods with Gauss-Newton products need it, and
    /// Hessian products are exact with it.
    ///
    /// # Errors
    /// [`WorkloadError`] where there is no data.
    fn batch(
        &self,
        seed: u64,
        step: usize,
        device: &Device,
    ) -> Result<Box<dyn Objective<Self::Model>>, WorkloadError>;

    /// What tells the data of a folder from others, such as a checksum: a study is refused to go on
    /// with other data. `None` where the data is part of the program.
    fn fingerprint(&self) -> Option<String> {
        None
    }

    /// The number that [`About::metric`] names, of a network without autodiff, on a device without.
    ///
    /// # Errors
    /// [`WorkloadError`] where it cannot be computed.
    fn measure(&self, model: &Self::Model, device: &Device) -> Result<f64, WorkloadError>;

    /// The same workload for the search of learning rates: trained on a part of the training data and
    /// measured on the rest, so that rates are not chosen on what reported runs are measured on. `None`
    /// where nothing is held out because there is no data, as of a function in closed form.
    fn for_tuning(&self) -> Option<Box<dyn Workload<Model = Self::Model>>> {
        None
    }

    /// The loss whose Hessian's largest eigenvalues are reported of the trained network. `None` leaves
    /// them out. The first batch where nothing is said.
    ///
    /// # Errors
    /// As [`batch`](Workload::batch).
    fn curvature_batch(
        &self,
        device: &Device,
    ) -> Result<Option<Box<dyn Objective<Self::Model>>>, WorkloadError> {
        self.batch(0, 0, device).map(Some)
    }
}

/// What a workload is, and how long it is trained.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct About {
    /// Name on the command line and in file names: lower-case letters, digits and hyphens.
    pub name: String,
    /// Heading.
    pub title: String,
    /// Why it is among the workloads.
    pub reason: String,
    /// The data, and where it comes from.
    pub data: String,
    /// What is measured of a network.
    pub metric: Metric,
    /// Steps of a run.
    pub steps: usize,
    /// Course of the learning rate.
    pub schedule: Schedule,
    /// Which value of the metric counts as reached.
    pub target: TargetRule,
}

impl About {
    /// A description with the schedule [`Schedule::Cosine`] and AdamW's target.
    pub fn new(
        name: impl Into<String>,
        title: impl Into<String>,
        metric: Metric,
        steps: usize,
    ) -> Self {
        Self {
            name: name.into(),
            title: title.into(),
            reason: String::new(),
            data: String::new(),
            metric,
            steps,
            schedule: Schedule::Cosine,
            target: TargetRule::Baseline,
        }
    }

    /// Says why the workload is there.
    pub fn because(mut self, reason: impl Into<String>) -> Self {
        self.reason = reason.into();
        self
    }

    /// Says what the data is.
    pub fn on(mut self, data: impl Into<String>) -> Self {
        self.data = data.into();
        self
    }

    /// Replaces the course of the learning rate.
    pub fn with_schedule(mut self, schedule: Schedule) -> Self {
        self.schedule = schedule;
        self
    }

    /// Replaces the rule of the target.
    pub fn with_target(mut self, target: TargetRule) -> Self {
        self.target = target;
        self
    }
}

/// A number that is measured of a network.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Metric {
    /// What it is.
    pub name: String,
    /// Whether more is better.
    pub higher_is_better: bool,
    /// Whether it is shown in per cent.
    pub percent: bool,
    /// Whether it is shown on a logarithmic axis.
    pub logarithmic: bool,
}

impl Metric {
    /// A fraction of which more is better, shown in per cent.
    pub fn accuracy(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            higher_is_better: true,
            percent: true,
            logarithmic: false,
        }
    }

    /// A positive number of which less is better, shown on a logarithmic axis.
    pub fn loss(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            higher_is_better: false,
            percent: false,
            logarithmic: true,
        }
    }

    /// The same on a linear axis.
    pub fn linear(mut self) -> Self {
        self.logarithmic = false;
        self
    }

    /// Whether a value has come as far as another.
    pub fn reaches(&self, value: f64, target: f64) -> bool {
        if self.higher_is_better {
            value >= target
        } else {
            value <= target
        }
    }

    /// The better of two values.
    pub fn better(&self, a: f64, b: f64) -> f64 {
        if self.higher_is_better == (a > b) {
            a
        } else {
            b
        }
    }

    /// The value with its unit, for people.
    pub fn show(&self, value: f64) -> String {
        if self.percent {
            format!("{:.1}", 100.0 * value)
        } else if value == 0.0 || (0.01..1000.0).contains(&value.abs()) {
            format!("{value:.3}")
        } else {
            format!("{value:.2e}")
        }
    }

    /// The name with a value and its unit.
    pub fn phrase(&self, value: f64) -> String {
        let unit = if self.percent { " %" } else { "" };
        format!("{} {}{unit}", self.name, self.show(value))
    }

    /// The name with its unit.
    pub fn heading(&self) -> String {
        if self.percent {
            format!("{}, %", self.name)
        } else {
            self.name.clone()
        }
    }
}

/// Course of the learning rate, as a part of its peak.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Schedule {
    /// Down along a cosine, to a hundredth.
    Cosine,
    /// Up along a line over a tenth of the steps, then down along a cosine, to a hundredth.
    WarmUpCosine,
    /// The peak all the time.
    Constant,
    /// Up to the peak and down again, to almost nothing: [`OneCycle`].
    OneCycle,
}

impl Schedule {
    /// The factor in a step, counted from 0, of so many.
    pub fn factor(self, step: usize, steps: usize) -> f64 {
        const WARM_UP: f64 = 0.1;
        const LEAST: f64 = 0.01;
        let cosine = |part: f64| LEAST + (1.0 - LEAST) * 0.5 * (1.0 + (PI * part.min(1.0)).cos());
        let steps = steps.max(1) as f64;
        match self {
            Schedule::Constant => 1.0,
            Schedule::OneCycle => OneCycle::new(1.0, steps as u64).rate(step as u64),
            Schedule::Cosine => cosine(step as f64 / steps),
            Schedule::WarmUpCosine => {
                let at = (step as f64 + 1.0) / steps;
                if at < WARM_UP {
                    at / WARM_UP
                } else {
                    cosine((at - WARM_UP) / (1.0 - WARM_UP))
                }
            }
        }
    }
}

/// Which value of the metric counts as reached.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TargetRule {
    /// What tuned AdamW reaches within the first three quarters of its run: the median over the seeds of
    /// its best value there.
    Baseline,
    /// What all runs of the baseline end at or beyond: the least good of its last values.
    BaselineEnd,
    /// This value.
    Value(f64),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schedules_end_at_a_hundredth() {
        for schedule in [Schedule::Cosine, Schedule::WarmUpCosine] {
            let last = schedule.factor(999, 1000);
            assert!((0.01..0.011).contains(&last), "{schedule:?}: {last}");
        }
        assert_eq!(Schedule::Cosine.factor(0, 100), 1.0);
        assert_eq!(Schedule::WarmUpCosine.factor(4, 100), 0.5);
        assert!((Schedule::WarmUpCosine.factor(9, 100) - 1.0).abs() < 1e-12);
        assert_eq!(Schedule::Constant.factor(7, 8), 1.0);
        assert_eq!(Schedule::OneCycle.factor(29, 100), 1.0);
        assert!(Schedule::OneCycle.factor(99, 100) < 1e-5);
    }

    #[test]
    fn metrics_know_which_way_is_up() {
        let accuracy = Metric::accuracy("test accuracy");
        assert!(accuracy.reaches(0.96, 0.95) && !accuracy.reaches(0.94, 0.95));
        assert_eq!(accuracy.better(0.2, 0.3), 0.3);
        assert_eq!(accuracy.show(0.9567), "95.7");
        let loss = Metric::loss("loss");
        assert!(loss.reaches(0.1, 0.2) && !loss.reaches(f64::NAN, 0.2));
        assert_eq!(loss.better(0.2, 0.3), 0.2);
        assert_eq!(loss.show(1.2345e-5), "1.23e-5");
    }
}
