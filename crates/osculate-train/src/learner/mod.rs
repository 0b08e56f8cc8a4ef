//! osculate's optimizers in burn's `Learner` and `SupervisedTraining`.
//!
//! There are three ways in:
//!
//! - [`Osculate`], a training strategy, runs any closure optimizer for any model of a `Learner`, on one
//!   device, without a change to the model. One line of the program changes.
//! - [`InStep`] wraps the model instead, so that the optimizer runs inside burn's own loops, those for
//!   several devices among them.
//! - Methods that need gradients only are burn optimizers too:
//!   `SoapConfig::new().module_optimizer(&model)` goes into `Learner::new`.
//!
//! ```no_run
//! use burn::optim::AdamWConfig;
//! use burn::train::{Learner, LearnerModel, LearningResult, SupervisedTraining, TrainStep};
//! use osculate_optim::Sam;
//! use osculate_train::learner::Osculate;
//!
//! fn train<M>(
//!     training: SupervisedTraining<M>,
//!     model: M,
//! ) -> Result<LearningResult<M>, osculate_optim::ConfigError>
//! where
//!     M: LearnerModel,
//!     <M as TrainStep>::Input: Clone,
//! {
//!     let sam = Sam::new(0.05).over(AdamWConfig::new().init())?;
//!     let training = training.with_training_strategy(Osculate::new(sam).into());
//!     // The optimizer that the learner is given here makes no steps under the strategy.
//!     Ok(training.launch(Learner::new(model, AdamWConfig::new().init(), 1e-3)))
//! }
//! ```

mod checkpoint;
mod epoch;
mod error;
mod in_step;
mod metric;
mod monitor;
mod objective;
mod probe;
mod strategy;

pub use checkpoint::{CheckpointError, Checkpoints, Found, OptimizerStore, RecordStore};
pub use error::LearnerError;
pub use in_step::InStep;
pub use metric::{Quantity, StepMetric};
pub use monitor::{Monitor, Observed};
pub use objective::SupervisedModel;
pub use probe::CurvatureProbe;
pub use strategy::Osculate;
