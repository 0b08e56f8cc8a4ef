use burn::module::Module;

use super::{Penalty, PenaltyValue};
use crate::error::CurvatureError;
use crate::objective::Objective;
use crate::operator::{CurvatureOperator, Hessian, HessianConfig};
use crate::oracle::GradientOracle;

/// Which function of the gradient's norm is penalised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GradientNorm {
    /// `½ |g|²`, whose gradient is `H g`: what gradient descent of a large step does implicitly.
    HalfSquared,
    /// `|g|`, whose gradient is `H g / |g|`: to first order, sharpness-aware minimisation with the
    /// radius as the weight.
    Norm,
}

/// A penalty on the norm of the gradient of an objective.
///
/// Cost: one gradient and one Hessian product, exact where the objective's batch is handed over.
///
/// Papers: Barrett, Dherin, <https://arxiv.org/abs/2009.11162>; Zhao, Zhang, Hu,
/// <https://arxiv.org/abs/2202.03599>.
///
/// Like all norms of gradients it depends on how the function is parametrised: layers that trade scale
/// change it and leave the function alone.
///
/// ```
/// # use burn::nn::{Linear, LinearConfig};
/// # use burn::tensor::Device;
/// # let device = Device::flex().autodiff();
/// # let model: Linear = LinearConfig::new(2, 1).with_bias(false).init(&device);
/// # let layout = osculate_curvature::GradientOracle::new(&model, &|m: &Linear| m.weight.val().sum()).layout()?;
/// # let at = osculate_curvature::ParamVec::from_values(&layout, &[0.5, 2.0]);
/// # let model = osculate_curvature::assign(model, &at);
/// use osculate_curvature::{GradientNorm, GradientNormPenalty, Penalty};
/// // Half of the squared weights, at (0.5, 2): the gradient is the weights.
/// let loss = |model: &Linear| model.weight.val().square().sum().mul_scalar(0.5);
/// let found = GradientNormPenalty::new(&loss, GradientNorm::HalfSquared).evaluate(&model)?;
/// assert!((found.value - 0.5 * 4.25).abs() < 1e-3);
/// assert!(found.gradient.to_values().iter().zip([0.5, 2.0]).all(|(a, b)| (a - b).abs() < 1e-2));
/// # Ok::<(), osculate_curvature::CurvatureError>(())
/// ```
pub struct GradientNormPenalty<'a, M> {
    objective: &'a dyn Objective<M>,
    kind: GradientNorm,
    config: HessianConfig,
}

impl<'a, M> GradientNormPenalty<'a, M> {
    /// Penalises the gradient of this objective.
    pub fn new(objective: &'a dyn Objective<M>, kind: GradientNorm) -> Self {
        Self {
            objective,
            kind,
            config: HessianConfig::default(),
        }
    }

    /// The same with other settings of the Hessian product.
    pub fn with_config(self, config: HessianConfig) -> Self {
        Self { config, ..self }
    }
}

impl<M: Module> Penalty<M> for GradientNormPenalty<'_, M> {
    fn evaluate(&self, model: &M) -> Result<PenaltyValue, CurvatureError> {
        let oracle = GradientOracle::new(model, self.objective);
        let gradient = oracle.clean()?.gradient.to_compute_dtype();
        let norm = gradient.norm();
        let product = Hessian::with_config(&oracle, self.config)?
            .apply(&gradient)?
            .value;
        let (value, gradient) = match self.kind {
            GradientNorm::HalfSquared => (0.5 * norm * norm, product),
            // At a stationary point the norm has no gradient; zero is in its subdifferential.
            GradientNorm::Norm if norm == 0.0 => (0.0, product.scale(0.0)),
            GradientNorm::Norm => (norm, product.scale(1.0 / norm)),
        };
        Ok(PenaltyValue {
            value,
            gradient,
            cost: oracle.cost(),
        })
    }
}
