//! A training step as an objective.

use std::cell::RefCell;

use burn::module::Module;
use burn::optim::{GradientsAccumulator, GradientsParams};
use burn::tensor::Tensor;
use burn::train::{LearnerModel, TrainStep};
use osculate_curvature::{
    GradientObjective, Objective, ObjectiveError, Recordable, SupervisedObjective,
};

/// A model whose loss is a criterion of its outputs: what Gauss-Newton methods
/// (`SophiaConfig::g()`) need to know beyond [`TrainStep`], and what makes Hessian products exact.
///
/// ```
/// use burn::module::Module;
/// use burn::nn::loss::CrossEntropyLossConfig;
/// use burn::nn::{Linear, LinearConfig};
/// use burn::tensor::{Device, Int, Tensor};
/// use burn::train::{ClassificationOutput, TrainOutput, TrainStep};
/// use osculate_curvature::{Criterion, Objective, SupervisedBatch};
/// use osculate_train::learner::SupervisedModel;
///
/// #[derive(Clone)]
/// struct Batch {
///     images: Tensor<2>,
///     labels: Tensor<1, Int>,
/// }
///
/// #[derive(Module, Debug)]
/// struct Net {
///     layer: Linear,
/// }
///
/// impl TrainStep for Net {
///     type Input = Batch;
///     type Output = ClassificationOutput;
///     // As for burn alone.
/// #   fn step(&self, batch: Batch) -> TrainOutput<ClassificationOutput> {
/// #       let output = self.layer.forward(batch.images);
/// #       let loss = CrossEntropyLossConfig::new()
/// #           .init(&output.device())
/// #           .forward(output.clone(), batch.labels.clone());
/// #       TrainOutput::new(
/// #           self,
/// #           loss.backward(),
/// #           ClassificationOutput::new(loss, output, batch.labels),
/// #       )
/// #   }
/// }
///
/// impl SupervisedModel for Net {
///     fn supervised(batch: &Batch) -> Box<dyn Objective<Self>> {
///         Box::new(SupervisedBatch::new(
///             batch.images.clone(),
///             |net: &Net, images: &Tensor<2>| net.layer.forward(images.clone()),
///             Criterion::cross_entropy(batch.labels.clone()),
///         ))
///     }
/// }
/// ```
pub trait SupervisedModel: TrainStep + Module {
    /// The loss of [`TrainStep::step`] on a batch, as a
    /// [`Supervised`](osculate_curvature::Supervised) or
    /// [`SupervisedBatch`](osculate_curvature::SupervisedBatch) objective.
    ///
    /// Gradients still come from [`TrainStep::step`]. The objective is asked for outputs, for the
    /// criterion, and by exact products, which compare it with the gradient and go on by finite
    /// differences where it is another function. [`Osculate`](super::Osculate) compares the two gradients
    /// at its first step: [`Monitor::supervised_distance`](super::Monitor::supervised_distance).
    fn supervised(input: &<Self as TrainStep>::Input) -> Box<dyn Objective<Self>>;
}

/// What an objective made of training steps answers when it is asked for its loss.
pub(super) fn no_loss() -> ObjectiveError {
    ObjectiveError::new("a training step hands out gradients and no loss")
}

/// Makes the supervised form of a model's batches.
pub(super) type SupervisedFn<M> = fn(&<M as TrainStep>::Input) -> Box<dyn Objective<M>>;

/// The sum of a model's training steps on one or several batches.
pub(super) struct StepObjective<M: LearnerModel> {
    inputs: Vec<<M as TrainStep>::Input>,
    /// The supervised form of each batch, or nothing.
    supervised: Vec<Box<dyn Objective<M>>>,
    /// What the first pass put out, for the metrics.
    outputs: RefCell<Option<Vec<<M as TrainStep>::Output>>>,
}

impl<M: LearnerModel> StepObjective<M> {
    /// The batches of one step.
    pub(super) fn new(
        inputs: Vec<<M as TrainStep>::Input>,
        supervised: Option<SupervisedFn<M>>,
    ) -> Self {
        let supervised = supervised.map(|supervised| inputs.iter().map(supervised).collect());
        Self {
            inputs,
            supervised: supervised.unwrap_or_default(),
            outputs: RefCell::new(None),
        }
    }

    /// The first batch alone.
    pub(super) fn first(&self, supervised: Option<SupervisedFn<M>>) -> Self
    where
        <M as TrainStep>::Input: Clone,
    {
        Self::new(self.inputs.iter().take(1).cloned().collect(), supervised)
    }

    /// The supervised form of the whole step, where it is made on one batch.
    pub(super) fn only(&self) -> Option<&dyn Objective<M>> {
        match self.supervised.as_slice() {
            [batch] => Some(batch.as_ref()),
            _ => None,
        }
    }

    /// Outputs of the first pass, one for each batch.
    pub(super) fn take_outputs(&self) -> Vec<<M as TrainStep>::Output> {
        self.outputs.take().unwrap_or_default()
    }
}

impl<M> Objective<M> for StepObjective<M>
where
    M: LearnerModel,
    <M as TrainStep>::Input: Clone,
{
    fn loss(&self, _model: &M) -> Result<Tensor<1>, ObjectiveError> {
        Err(no_loss())
    }

    fn supervised(&self) -> Option<&dyn SupervisedObjective<M>> {
        self.only()?.supervised()
    }

    fn supervised_terms(&self) -> Vec<&dyn SupervisedObjective<M>> {
        // Some of them would be another loss than all.
        let terms = self.supervised.iter().map(|batch| batch.supervised());
        terms.collect::<Option<_>>().unwrap_or_default()
    }

    fn recordable(&self) -> Option<&dyn Recordable<M>> {
        self.only()?.recordable()
    }

    fn gradient(&self) -> Option<&dyn GradientObjective<M>> {
        Some(self)
    }
}

impl<M> GradientObjective<M> for StepObjective<M>
where
    M: LearnerModel,
    <M as TrainStep>::Input: Clone,
{
    fn gradients(&self, model: &M) -> Result<GradientsParams, ObjectiveError> {
        // Of one batch nothing is to be added up, which would visit the model again.
        if let [input] = self.inputs.as_slice() {
            let made = TrainStep::step(model, input.clone());
            self.outputs.borrow_mut().get_or_insert(vec![made.item]);
            return Ok(made.grads);
        }
        let mut sum = GradientsAccumulator::new();
        let mut outputs = Vec::with_capacity(self.inputs.len());
        for input in &self.inputs {
            let made = TrainStep::step(model, input.clone());
            sum.accumulate(model, made.grads);
            outputs.push(made.item);
        }
        self.outputs.borrow_mut().get_or_insert(outputs);
        Ok(sum.grads())
    }
}
