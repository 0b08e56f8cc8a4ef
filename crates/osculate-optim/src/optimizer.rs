//! The door through which every optimizer is used.

use std::path::Path;

use burn::module::Module;
use burn::optim::LearningRate;
use osculate_curvature::Objective;

use crate::error::{StepError, StepErrorCause};
use crate::record::{RecordError, StateRecord};
use crate::report::StepReport;

/// A step that was made.
#[derive(Debug)]
pub struct Step<M> {
    /// The model with its new weights.
    pub model: M,
    /// What the step did.
    pub report: StepReport,
}

/// An optimizer's state, which does not depend on the model's type.
pub trait StatefulOptimizer {
    /// Name of the method, in lower case.
    fn name(&self) -> &'static str;

    /// The whole state, keyed by parameter path, element types kept. Reads the state back.
    fn to_record(&self) -> StateRecord;

    /// Replaces the state. A run that goes on from it is bit for bit the run that was interrupted.
    ///
    /// # Errors
    /// [`RecordError`] for the record of another optimizer; the state is then unchanged.
    fn load_record(&mut self, record: StateRecord) -> Result<(), RecordError>;

    /// Bytes that the state occupies.
    fn state_bytes(&self) -> usize;

    /// Writes the state to a file, under a temporary name first.
    ///
    /// # Errors
    /// [`RecordError::File`].
    fn save(&self, path: &Path) -> Result<(), RecordError> {
        self.to_record().save(path)
    }

    /// Reads the state from a file.
    ///
    /// # Errors
    /// [`RecordError::File`], and as [`load_record`](Self::load_record).
    fn load(&mut self, path: &Path) -> Result<(), RecordError> {
        self.load_record(StateRecord::load(path)?)
    }
}

/// An optimizer that evaluates the loss itself, as often and wherever it needs to.
///
/// ```
/// use burn::nn::{Linear, LinearConfig};
/// use burn::optim::SgdConfig;
/// use burn::tensor::{Device, Tensor};
/// use osculate_optim::{ClosureOptimizer, SamConfig};
///
/// let device = Device::flex().autodiff();
/// let mut model: Linear = LinearConfig::new(2, 1).init(&device);
/// let mut optimizer = SamConfig::new().with_rho(0.1).init(SgdConfig::new().init())?;
/// let x = Tensor::<2>::from_data([[1.0, 2.0], [3.0, -1.0]], &device);
///
/// for _ in 0..10 {
///     let loss = |model: &Linear| model.forward(x.clone()).square().mean();
///     let step = optimizer.step(0.05, model, &loss)?;
///     model = step.model;
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait ClosureOptimizer<M: Module>: StatefulOptimizer {
    /// Makes one step on the loss of one batch.
    ///
    /// The objective is evaluated on copies of the model: batch normalisation's running statistics
    /// move as in one clean pass, and all evaluations see the same dropout mask.
    ///
    /// # Errors
    /// [`StepError`] holds the model unchanged, with the reason: the objective failed or panicked,
    /// the gradient is not finite under [`NonFinitePolicy::Error`](crate::NonFinitePolicy::Error),
    /// the learning rate is invalid, or a loaded state does not fit the model.
    fn step(
        &mut self,
        lr: LearningRate,
        model: M,
        objective: &dyn Objective<M>,
    ) -> Result<Step<M>, StepError<M>>;
}

impl<O: StatefulOptimizer + ?Sized> StatefulOptimizer for Box<O> {
    fn name(&self) -> &'static str {
        self.as_ref().name()
    }

    fn to_record(&self) -> StateRecord {
        self.as_ref().to_record()
    }

    fn load_record(&mut self, record: StateRecord) -> Result<(), RecordError> {
        self.as_mut().load_record(record)
    }

    fn state_bytes(&self) -> usize {
        self.as_ref().state_bytes()
    }
}

impl<M: Module, O: ClosureOptimizer<M> + ?Sized> ClosureOptimizer<M> for Box<O> {
    fn step(
        &mut self,
        lr: LearningRate,
        model: M,
        objective: &dyn Objective<M>,
    ) -> Result<Step<M>, StepError<M>> {
        self.as_mut().step(lr, model, objective)
    }
}

/// Runs a step on a borrowed model and hands the model back where it failed.
pub(crate) fn guard<M>(
    lr: LearningRate,
    model: M,
    step: impl FnOnce(&M) -> Result<Step<M>, StepErrorCause>,
) -> Result<Step<M>, StepError<M>> {
    let made = if lr.is_finite() && lr >= 0.0 {
        step(&model)
    } else {
        Err(StepErrorCause::LearningRate { value: lr })
    };
    made.map_err(|cause| StepError { model, cause })
}
