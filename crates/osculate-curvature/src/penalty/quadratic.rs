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
///
/// ```
/// # use burn::nn::{Linear, LinearConfig};
/// # use burn::tensor::Device;
/// # let device = Device::flex().autodiff();
/// # let model: Linear = LinearConfig::new(2, 1).with_bias(false).init(&device);
/// # let layout = osculate_curvature::GradientOracle::new(&model, &|m: &Linear| m.weight.val().sum()).layout()?;
/// # let at = osculate_curvature::ParamVec::from_values(&layout, &[0.5, 2.0]);
/// # let model = osculate_curvature::assign(model, &at);
/// use osculate_curvature::{DiagonalOperator, ParamVec, Penalty, QuadraticPenalty};
/// let curvature = DiagonalOperator::new(ParamVec::from_values(&layout, &[2.0, 4.0]));
/// let earlier = ParamVec::from_values(&layout, &[0.0, 1.0]);
/// let found = QuadraticPenalty::new(curvature, earlier)?.evaluate(&model)?;
/// // The weights are (0.5, 2) now.
/// assert!((found.value - 0.5 * (2.0 * 0.25 + 4.0)).abs() < 1e-6);
/// # Ok::<(), osculate_curvature::CurvatureError>(())
/// ```
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
