use burn::tensor::Tensor;

use super::{Criterion, Objective};
use crate::error::ObjectiveError;

/// A loss that is a criterion of the model's outputs.
pub trait SupervisedObjective<M> {
    /// The model's outputs, one row for each sample (for each token, in language models): shape
    /// `[samples, outputs]`.
    fn outputs(&self, model: &M) -> Tensor<2>;

    /// The criterion, with the targets of this batch.
    fn criterion(&self) -> &Criterion;
}

/// An objective made of a forward pass and a [`Criterion`].
///
/// ```no_run
/// use burn::nn::{Linear, LinearConfig};
/// use burn::tensor::{Device, Int, Tensor};
/// use osculate_curvature::{Criterion, Supervised};
///
/// let device = Device::default().autodiff();
/// let model: Linear = LinearConfig::new(4, 3).init(&device);
/// let images = Tensor::<2>::ones([2, 4], &device);
/// let labels = Tensor::<1, Int>::from_data([0, 2], &device);
/// let objective = Supervised::new(
///     move |model: &Linear| model.forward(images.clone()),
///     Criterion::cross_entropy(labels),
/// );
/// ```
#[derive(Debug, Clone)]
pub struct Supervised<F> {
    forward: F,
    criterion: Criterion,
}

impl<F> Supervised<F> {
    /// Combines a forward pass, which gives outputs of shape `[samples, outputs]`, with a
    /// criterion that holds the targets.
    pub fn new<M>(forward: F, criterion: Criterion) -> Self
    where
        F: Fn(&M) -> Tensor<2>,
    {
        Self { forward, criterion }
    }
}

impl<M, F> SupervisedObjective<M> for Supervised<F>
where
    F: Fn(&M) -> Tensor<2>,
{
    fn outputs(&self, model: &M) -> Tensor<2> {
        (self.forward)(model)
    }

    fn criterion(&self) -> &Criterion {
        &self.criterion
    }
}

impl<M, F> Objective<M> for Supervised<F>
where
    F: Fn(&M) -> Tensor<2>,
{
    fn loss(&self, model: &M) -> Result<Tensor<1>, ObjectiveError> {
        let outputs = self.outputs(model);
        self.criterion
            .loss(outputs)
            .map_err(|error| ObjectiveError::new(error.to_string()))
    }

    fn supervised(&self) -> Option<&dyn SupervisedObjective<M>> {
        Some(self)
    }
}
