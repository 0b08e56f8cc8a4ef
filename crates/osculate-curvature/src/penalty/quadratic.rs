use burn::module::Module;

use super::{Penalty, PenaltyValue};
use crate::error::CurvatureError;
use crate::operator::CurvatureOperator;
use crate::params::ParamVec;

/// The quadratic `½ (θ - θ*)ᵀ A (θ - θ*)` around earlier weights: a loss that is no longer at hand,
/// kept as its curvature.
///
/// With the curvature of earlier tasks it lets a network learn the next one without forgetting them;
/// for losses that are quadratic, and the whole Hessian, one after the other is then the same as all
/// at once. `A` must not depend on the data any more: a [`LowRank`](crate::LowRank),
/// a [`DiagonalOperator`](crate::DiagonalOperator) (elastic weight consolidation, which forgets
/// correlations), a [`DenseOperator`](crate::DenseOperator), or a sum of them.
///
/// Cost: one product of `A`.
///
/// Papers: Kirkpatrick et al., <https://arxiv.org/abs/1612.00796>, for the diagonal; *On Sequential
/// Loss Approximation for Continual Learning* for the whole Hessian.
#[derive(Debug, Clone)]
pub struct QuadraticPenalty<A> {
    operator: A,
    centre: ParamVec,
}

impl<A: CurvatureOperator> QuadraticPenalty<A> {
    /// The quadratic with this curvature around these weights.
    ///
    /// # Errors
    /// [`CurvatureError::LayoutMismatch`] where they are of different spaces.
    pub fn new(operator: A, centre: ParamVec) -> Result<Self, CurvatureError> {
        operator.layout().check(centre.layout())?;
        Ok(Self {
            operator,
            centre: centre.to_compute_dtype(),
        })
    }
}

impl<M: Module, A: CurvatureOperator> Penalty<M> for QuadraticPenalty<A> {
    fn evaluate(&self, model: &M) -> Result<PenaltyValue, CurvatureError> {
        let weights = ParamVec::of_module(model, self.centre.layout());
        let deviation = weights.to_compute_dtype().sub(&self.centre);
        let product = self.operator.apply(&deviation)?;
        Ok(PenaltyValue {
            value: 0.5 * deviation.dot(&product.value),
            gradient: product.value,
            cost: product.cost,
        })
    }
}
