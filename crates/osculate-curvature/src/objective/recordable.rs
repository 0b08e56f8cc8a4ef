use burn::module::Module;
use burn::tensor::Tensor;
use osculate_jvp::{AnyTensor, Bound, JvpError, Mode, Program, Tensors};

use super::{Criterion, Objective, SupervisedObjective};
use crate::error::ObjectiveError;

/// An objective whose batch is known, so that its operations can be recorded and differentiated
/// exactly.
///
/// A closure keeps its tensors to itself: while it is recorded, they would meet tensors that have
/// no value. [`Batched`] and [`SupervisedBatch`] hold the batch beside the function instead.
pub trait Recordable<M> {
    /// Records the loss of `model`, or of any model of the same shapes, with layers that train or
    /// do not as `mode` says.
    ///
    /// # Errors
    /// As [`Program::record`].
    fn record_loss_in(&self, mode: Mode, model: &M) -> Result<Program, JvpError>;

    /// Records the outputs of a supervised objective; `None` for any other.
    ///
    /// # Errors
    /// As [`Program::record`].
    fn record_outputs_in(&self, mode: Mode, model: &M) -> Option<Result<Program, JvpError>>;

    /// The loss in evaluation mode.
    ///
    /// # Errors
    /// As [`Program::record`].
    fn record_loss(&self, model: &M) -> Result<Program, JvpError> {
        self.record_loss_in(Mode::Evaluation, model)
    }

    /// The outputs in evaluation mode.
    ///
    /// # Errors
    /// As [`Program::record`].
    fn record_outputs(&self, model: &M) -> Option<Result<Program, JvpError>> {
        self.record_outputs_in(Mode::Evaluation, model)
    }

    /// The recorded loss at the weights of `model` and at this batch.
    ///
    /// # Errors
    /// As [`Program::bind`].
    fn bind_loss(&self, program: &Program, model: &M) -> Result<Bound, JvpError>;

    /// The recorded outputs at the weights of `model` and at this batch.
    ///
    /// # Errors
    /// As [`Program::bind`].
    fn bind_outputs(&self, program: &Program, model: &M) -> Result<Bound, JvpError>;
}

/// A loss of a model and of a batch that is handed over: an objective whose curvature products are
/// exact.
///
/// The function must use the tensors that it receives and no captured ones. Integers and masks are
/// handed over like everything else, and other modules as [`Held`](crate::Held); see [`Tensors`] for
/// batches of one's own type. `Tensor::detach` is not seen by a recording: use
/// [`detach`](crate::detach).
///
/// ```
/// use burn::nn::{Linear, LinearConfig};
/// use burn::tensor::{Device, Tensor, activation::tanh};
/// use osculate_curvature::{Batched, CurvatureOperator, GradientOracle, Hessian, ParamVec, Provenance};
///
/// let device = Device::flex().autodiff();
/// let model: Linear = LinearConfig::new(3, 2).init(&device);
/// let x = Tensor::<2>::ones([5, 3], &device);
/// let objective = Batched::new(x, |model: &Linear, x: &Tensor<2>| {
///     tanh(model.forward(x.clone())).square().mean()
/// });
/// let oracle = GradientOracle::new(&model, &objective);
/// let hessian = Hessian::new(&oracle)?;
/// let product = hessian.apply(&ParamVec::gaussian(&hessian.layout(), 0))?;
/// assert_eq!(product.provenance, Provenance::Exact);
/// # Ok::<(), osculate_curvature::CurvatureError>(())
/// ```
#[derive(Debug, Clone)]
pub struct Batched<I, F> {
    inputs: I,
    loss: F,
}

impl<I, F> Batched<I, F> {
    /// Combines a batch with a loss of model and batch.
    pub fn new<M>(inputs: I, loss: F) -> Self
    where
        I: Tensors,
        F: Fn(&M, &I) -> Tensor<1>,
    {
        Self { inputs, loss }
    }

    /// The batch.
    pub fn inputs(&self) -> &I {
        &self.inputs
    }
}

impl<M, I, F> Objective<M> for Batched<I, F>
where
    M: Module,
    I: Tensors,
    F: Fn(&M, &I) -> Tensor<1>,
{
    fn loss(&self, model: &M) -> Result<Tensor<1>, ObjectiveError> {
        Ok((self.loss)(model, &self.inputs))
    }

    fn recordable(&self) -> Option<&dyn Recordable<M>> {
        Some(self)
    }
}

impl<M, I, F> Recordable<M> for Batched<I, F>
where
    M: Module,
    I: Tensors,
    F: Fn(&M, &I) -> Tensor<1>,
{
    fn record_loss_in(&self, mode: Mode, model: &M) -> Result<Program, JvpError> {
        Program::record_in(mode, model, &self.inputs, &self.loss)
    }

    fn record_outputs_in(&self, _mode: Mode, _model: &M) -> Option<Result<Program, JvpError>> {
        None
    }

    fn bind_loss(&self, program: &Program, model: &M) -> Result<Bound, JvpError> {
        program.bind(model, &self.inputs)
    }

    fn bind_outputs(&self, program: &Program, model: &M) -> Result<Bound, JvpError> {
        program.bind(model, &self.inputs)
    }
}

/// A supervised objective whose inputs are handed over: [`Supervised`](super::Supervised) with
/// exact products.
///
/// ```no_run
/// use burn::nn::{Linear, LinearConfig};
/// use burn::tensor::{Device, Int, Tensor};
/// use osculate_curvature::{Criterion, SupervisedBatch};
///
/// let device = Device::default().autodiff();
/// let images = Tensor::<2>::ones([2, 4], &device);
/// let labels = Tensor::<1, Int>::from_data([0, 2], &device);
/// let objective = SupervisedBatch::new(
///     images,
///     |model: &Linear, images: &Tensor<2>| model.forward(images.clone()),
///     Criterion::cross_entropy(labels),
/// );
/// ```
#[derive(Debug, Clone)]
pub struct SupervisedBatch<I, F> {
    inputs: I,
    forward: F,
    criterion: Criterion,
}

impl<I, F> SupervisedBatch<I, F> {
    /// Combines inputs, a forward pass that gives outputs of shape `[samples, outputs]`, and a
    /// criterion that holds the targets.
    pub fn new<M>(inputs: I, forward: F, criterion: Criterion) -> Self
    where
        I: Tensors,
        F: Fn(&M, &I) -> Tensor<2>,
    {
        Self {
            inputs,
            forward,
            criterion,
        }
    }

    /// The inputs.
    pub fn inputs(&self) -> &I {
        &self.inputs
    }
}

impl<M, I, F> SupervisedObjective<M> for SupervisedBatch<I, F>
where
    I: Tensors,
    F: Fn(&M, &I) -> Tensor<2>,
{
    fn outputs(&self, model: &M) -> Tensor<2> {
        (self.forward)(model, &self.inputs)
    }

    fn criterion(&self) -> &Criterion {
        &self.criterion
    }
}

impl<M, I, F> Objective<M> for SupervisedBatch<I, F>
where
    M: Module,
    I: Tensors,
    F: Fn(&M, &I) -> Tensor<2>,
{
    fn loss(&self, model: &M) -> Result<Tensor<1>, ObjectiveError> {
        self.criterion
            .loss(self.outputs(model))
            .map_err(|error| ObjectiveError::new(error.to_string()))
    }

    fn supervised(&self) -> Option<&dyn SupervisedObjective<M>> {
        Some(self)
    }

    fn recordable(&self) -> Option<&dyn Recordable<M>> {
        Some(self)
    }
}

impl<M, I, F> Recordable<M> for SupervisedBatch<I, F>
where
    M: Module,
    I: Tensors,
    F: Fn(&M, &I) -> Tensor<2>,
{
    fn record_loss_in(&self, mode: Mode, model: &M) -> Result<Program, JvpError> {
        let inputs = (self.inputs.clone(), self.criterion.clone());
        Program::record_in(mode, model, &inputs, |model, (inputs, criterion)| {
            criterion.unchecked_loss((self.forward)(model, inputs))
        })
    }

    fn record_outputs_in(&self, mode: Mode, model: &M) -> Option<Result<Program, JvpError>> {
        Some(Program::record_in(mode, model, &self.inputs, &self.forward))
    }

    fn bind_loss(&self, program: &Program, model: &M) -> Result<Bound, JvpError> {
        program.bind(model, &(self.inputs.clone(), self.criterion.clone()))
    }

    fn bind_outputs(&self, program: &Program, model: &M) -> Result<Bound, JvpError> {
        program.bind(model, &self.inputs)
    }
}

impl Tensors for Criterion {
    fn map_tensors(&self, f: &mut dyn FnMut(AnyTensor) -> AnyTensor) -> Self {
        match self {
            Criterion::CrossEntropy { targets } => Criterion::CrossEntropy {
                targets: targets.map_tensors(f),
            },
            Criterion::SmoothedCrossEntropy { targets, smoothing } => {
                Criterion::SmoothedCrossEntropy {
                    targets: targets.map_tensors(f),
                    smoothing: *smoothing,
                }
            }
            Criterion::StableMax { targets } => Criterion::StableMax {
                targets: targets.map_tensors(f),
            },
            Criterion::Mse { targets } => Criterion::Mse {
                targets: targets.map_tensors(f),
            },
            Criterion::BceWithLogits { targets } => Criterion::BceWithLogits {
                targets: targets.map_tensors(f),
            },
        }
    }
}
