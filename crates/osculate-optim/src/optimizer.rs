//! How every optimizer is used.

use std::path::Path;

use burn::lr_scheduler::module_lr_scheduler::ModuleLearningRate;
use burn::module::Module;
use osculate_curvature::Objective;

use crate::driver::{StepError, StepErrorCause, StepReport};
use crate::record::{RecordError, StateRecord};

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
    /// Name of the method, in lower case, with what it is over: `sam(soap)`.
    fn name(&self) -> &str;

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
/// use osculate_optim::{ClosureOptimizer, Sam};
///
/// let device = Device::flex().autodiff();
/// let mut model: Linear = LinearConfig::new(2, 1).init(&device);
/// let mut optimizer = Sam::new(0.1).over(SgdConfig::new().init())?;
/// let x = Tensor::<2>::from_data([[1.0, 2.0], [3.0, -1.0]], &device);
///
/// let mut losses = Vec::new();
/// for _ in 0..10 {
///     let loss = |model: &Linear| model.forward(x.clone()).square().mean();
///     let step = optimizer.step(0.05, model, &loss)?;
///     losses.push(step.report.loss());
///     model = step.model;
/// }
/// assert!(losses[9] < losses[0]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait ClosureOptimizer<M: Module>: StatefulOptimizer {
    /// Makes one step on the loss of one batch, at the given rates. [`step`](Self::step) takes them in
    /// every form.
    ///
    /// The objective is evaluated on copies of the model: batch normalisation's running statistics
    /// move as in one clean pass, and all evaluations see the same dropout mask.
    ///
    /// # Errors
    /// [`StepError`] holds the model unchanged, with the reason: the objective failed or panicked,
    /// the gradient is not finite under [`NonFinitePolicy::Error`](crate::NonFinitePolicy::Error),
    /// the learning rate is invalid, a group matches nothing, or a loaded state does not fit the model.
    fn step_with(
        &mut self,
        lr: ModuleLearningRate,
        model: M,
        objective: &dyn Objective<M>,
    ) -> Result<Step<M>, StepError<M>>;

    /// Makes one step on the loss of one batch, at a rate or at what burn's schedulers give, groups
    /// included.
    ///
    /// ```
    /// use burn::lr_scheduler::cosine::CosineAnnealingLrSchedulerConfig;
    /// use burn::module::ParamGroup;
    /// use burn::nn::{Linear, LinearConfig};
    /// use burn::tensor::{Device, Tensor};
    /// use osculate_optim::{ClosureOptimizer, SoapConfig};
    ///
    /// let device = Device::flex().autodiff();
    /// let model: Linear = LinearConfig::new(2, 1).init(&device);
    /// let x = Tensor::<2>::ones([4, 2], &device);
    /// let loss = |model: &Linear| model.forward(x.clone()).square().mean();
    /// let mut scheduler = CosineAnnealingLrSchedulerConfig::new(0.01, 100)
    ///     .init()?
    ///     .with_group(ParamGroup::from_path("bias"), 0.0);
    /// let mut optimizer = SoapConfig::new().init()?;
    /// let bias = model.bias.as_ref().map(|bias| bias.to_data());
    /// let step = optimizer.step(scheduler.step(), model, &loss)?;
    /// assert_eq!(step.model.bias.map(|bias| bias.to_data()), bias);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`step_with`](Self::step_with).
    fn step(
        &mut self,
        lr: impl Into<ModuleLearningRate>,
        model: M,
        objective: &dyn Objective<M>,
    ) -> Result<Step<M>, StepError<M>>
    where
        Self: Sized,
    {
        self.step_with(lr.into(), model, objective)
    }

    /// The model to evaluate, and to save for inference: under an [`Averaging`](crate::Averaging) one
    /// with averaged weights, a copy otherwise.
    ///
    /// # Errors
    /// [`StepErrorCause::State`] where a loaded average does not fit the model.
    fn evaluation_model(&self, model: &M) -> Result<M, StepErrorCause> {
        Ok(model.clone())
    }
}

impl<O: StatefulOptimizer + ?Sized> StatefulOptimizer for Box<O> {
    fn name(&self) -> &str {
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
    fn step_with(
        &mut self,
        lr: ModuleLearningRate,
        model: M,
        objective: &dyn Objective<M>,
    ) -> Result<Step<M>, StepError<M>> {
        self.as_mut().step_with(lr, model, objective)
    }

    fn evaluation_model(&self, model: &M) -> Result<M, StepErrorCause> {
        self.as_ref().evaluation_model(model)
    }
}
