//! How a loss is evaluated on a module and a fixed batch.

mod accumulated;
mod criterion;
mod distilled;
mod drawing;
mod gradient;
mod recordable;
mod saf;
mod stable_max;
mod supervised;

pub use accumulated::{Accumulated, Part};
pub use criterion::Criterion;
pub use distilled::Distilled;
pub use drawing::Drawing;
pub use gradient::GradientObjective;
pub use recordable::{Batched, Recordable, SupervisedBatch};
pub use saf::{Saf, SafConfig};
pub(crate) use stable_max::stable_parts;
pub use supervised::{Supervised, SupervisedObjective};

use burn::tensor::Tensor;

use crate::error::ObjectiveError;

/// A loss `L(model)` on a fixed batch.
///
/// Every closure `Fn(&M) -> Tensor<1>` is an objective. One step may call it several times, at
/// different weights, and expects the same function each time: the batch must be captured by the
/// closure, not drawn inside it. Dropout is safe, because the device is seeded alike before each
/// call, and so is batch normalisation, because calls are made on models whose running statistics
/// are their own.
///
/// ```
/// use burn::tensor::Tensor;
/// use osculate_curvature::Objective;
///
/// struct Model;
/// fn takes_objective(_: &dyn Objective<Model>) {}
///
/// takes_objective(&|_: &Model| -> Tensor<1> { unimplemented!("the loss of one batch") });
/// ```
pub trait Objective<M> {
    /// The loss, a tensor of one element.
    ///
    /// # Errors
    /// Whatever keeps the loss from being computed. The step is then given up and the model is
    /// handed back as it was.
    fn loss(&self, model: &M) -> Result<Tensor<1>, ObjectiveError>;

    /// The same loss as outputs and a criterion, where it has that form.
    ///
    /// Gauss-Newton and Fisher products and the Gauss-Newton-Bartlett diagonal need it, and
    /// finite differences choose a better step with it.
    fn supervised(&self) -> Option<&dyn SupervisedObjective<M>> {
        None
    }

    /// The supervised objectives whose sum the loss is: itself, where it is one. A loss summed over
    /// several batches has one for each.
    ///
    /// The Gauss-Newton-Bartlett diagonal is the sum of theirs.
    fn supervised_terms(&self) -> Vec<&dyn SupervisedObjective<M>> {
        self.supervised().into_iter().collect()
    }

    /// The same loss as a weighted sum of losses, whose gradients are then taken one by one: see
    /// [`Accumulated`]. Empty where it is one loss.
    fn parts(&self) -> &[Part<M>] {
        &[]
    }

    /// The same loss as a function whose batch is handed over, where it has that form: see
    /// [`Batched`] and [`SupervisedBatch`].
    ///
    /// Exact products need it.
    fn recordable(&self) -> Option<&dyn Recordable<M>> {
        None
    }

    /// The same loss as code that runs the backward pass itself, where it has that form.
    ///
    /// All gradients are then taken from it, and [`loss`](Self::loss) is not called: the loss of an
    /// evaluation is NaN.
    fn gradient(&self) -> Option<&dyn GradientObjective<M>> {
        None
    }

    /// The loss of another batch of the same data, by number, where there are others: see [`Drawing`].
    /// One number always gives the same batch.
    fn draw(&self, _number: u64) -> Option<Result<Box<dyn Objective<M>>, ObjectiveError>> {
        None
    }
}

impl<M, F> Objective<M> for F
where
    F: Fn(&M) -> Tensor<1>,
{
    fn loss(&self, model: &M) -> Result<Tensor<1>, ObjectiveError> {
        Ok(self(model))
    }
}

/// An objective made from a closure that can fail.
///
/// ```
/// use burn::tensor::Tensor;
/// use osculate_curvature::{Fallible, ObjectiveError};
///
/// struct Model;
/// let objective = Fallible(|_: &Model| -> Result<Tensor<1>, ObjectiveError> {
///     Err(ObjectiveError::new("the batch is empty"))
/// });
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Fallible<F>(pub F);

impl<M, F> Objective<M> for Fallible<F>
where
    F: Fn(&M) -> Result<Tensor<1>, ObjectiveError>,
{
    fn loss(&self, model: &M) -> Result<Tensor<1>, ObjectiveError> {
        (self.0)(model)
    }
}
