use burn::tensor::Tensor;

use super::{GradientObjective, Objective, Part, Recordable, SupervisedObjective};
use crate::error::ObjectiveError;

/// The loss of a step's batch, with other batches of the same data at hand.
///
/// Methods that look beyond one batch within a step (Entropy-SGD's inner chain) draw from it. In
/// everything else it is the batch that it was made of.
///
/// The batch of a number must always be the same: a step that failed is made again with the same draws,
/// and a resumed run with those of the uninterrupted one. Take the numbers of a step from its place in the
/// run, not from a generator that moves on.
///
/// ```
/// use burn::nn::{Linear, LinearConfig};
/// use burn::tensor::{Device, Tensor};
/// use osculate_curvature::{Drawing, Objective, ObjectiveError};
///
/// let device = Device::flex().autodiff();
/// let model: Linear = LinearConfig::new(1, 1).init(&device);
/// let batch = |number: u64| -> Result<Box<dyn Objective<Linear>>, ObjectiveError> {
///     let x = Tensor::<2>::full([4, 1], number as f64, &device);
///     Ok(Box::new(move |model: &Linear| model.forward(x.clone()).square().mean()))
/// };
/// // The 8th step's own batch, and those that it may draw.
/// let objective = Drawing::new(batch(8)?, |draw| batch(1000 + 8 * 20 + draw));
/// let drawn = objective.draw(3).expect("it draws")?;
/// assert_ne!(
///     drawn.loss(&model)?.into_scalar::<f32>(),
///     objective.loss(&model)?.into_scalar::<f32>()
/// );
/// # Ok::<(), ObjectiveError>(())
/// ```
pub struct Drawing<'a, M> {
    own: Box<dyn Objective<M> + 'a>,
    others: Box<DrawFn<'a, M>>,
}

type DrawFn<'a, M> = dyn Fn(u64) -> Result<Box<dyn Objective<M>>, ObjectiveError> + 'a;

impl<'a, M> Drawing<'a, M> {
    /// A step's batch, and a function that gives others by number, from 0.
    pub fn new(
        own: Box<dyn Objective<M> + 'a>,
        others: impl Fn(u64) -> Result<Box<dyn Objective<M>>, ObjectiveError> + 'a,
    ) -> Self {
        Self {
            own,
            others: Box::new(others),
        }
    }
}

impl<M> Objective<M> for Drawing<'_, M> {
    fn loss(&self, model: &M) -> Result<Tensor<1>, ObjectiveError> {
        self.own.loss(model)
    }

    fn supervised(&self) -> Option<&dyn SupervisedObjective<M>> {
        self.own.supervised()
    }

    fn supervised_terms(&self) -> Vec<&dyn SupervisedObjective<M>> {
        self.own.supervised_terms()
    }

    fn parts(&self) -> &[Part<M>] {
        self.own.parts()
    }

    fn recordable(&self) -> Option<&dyn Recordable<M>> {
        self.own.recordable()
    }

    fn gradient(&self) -> Option<&dyn GradientObjective<M>> {
        self.own.gradient()
    }

    fn draw(&self, number: u64) -> Option<Result<Box<dyn Objective<M>>, ObjectiveError>> {
        Some((self.others)(number))
    }
}
