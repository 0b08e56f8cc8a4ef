use burn::optim::GradientsParams;

use crate::error::ObjectiveError;

/// A loss whose own code runs the backward pass and hands out gradients: a training step of burn's
/// `Learner`, for instance.
///
/// It stands in for [`Objective::loss`](super::Objective::loss), which such a loss does not have.
/// The same rules hold: one step may ask several times, at different weights, and expects the same
/// function each time.
pub trait GradientObjective<M> {
    /// The gradients of the loss at the weights of `model`, keyed by the identities of its
    /// parameters.
    ///
    /// # Errors
    /// Whatever keeps the gradients from being computed.
    fn gradients(&self, model: &M) -> Result<GradientsParams, ObjectiveError>;
}
