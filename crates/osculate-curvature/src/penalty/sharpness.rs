use burn::module::Module;

use super::second_difference::along;
use super::{Penalty, PenaltyValue};
use crate::error::CurvatureError;
use crate::objective::Objective;
use crate::operator::{Hessian, HessianConfig};
use crate::oracle::GradientOracle;
use crate::spectrum::{LanczosConfig, lanczos};

/// A penalty on the largest eigenvalue of the Hessian.
///
/// Its gradient is `T[v, v]` for the eigenvector `v`, a second difference of gradients along it. Where
/// the largest eigenvalue is multiple it has no gradient, and this is that of one of its branches.
///
/// Cost: one gradient, the Lanczos run, and two gradients.
///
/// ```
/// # use burn::nn::{Linear, LinearConfig};
/// # use burn::tensor::Device;
/// # let device = Device::flex().autodiff();
/// # let model: Linear = LinearConfig::new(2, 1).with_bias(false).init(&device);
/// # let layout = osculate_curvature::GradientOracle::new(&model, &|m: &Linear| m.weight.val().sum()).layout()?;
/// # let at = osculate_curvature::ParamVec::from_values(&layout, &[0.5, 2.0]);
/// # let model = osculate_curvature::assign(model, &at);
/// use osculate_curvature::{Penalty, SharpnessPenalty};
/// let cubes = |model: &Linear| model.weight.val().powi_scalar(3).sum();
/// let found = SharpnessPenalty::new(&cubes).evaluate(&model)?;
/// // The Hessian is diag(6 w), at (0.5, 2).
/// assert!((found.value - 12.0).abs() < 0.05);
/// assert!((found.gradient.to_values()[1] - 6.0).abs() < 0.1);
/// # Ok::<(), osculate_curvature::CurvatureError>(())
/// ```
pub struct SharpnessPenalty<'a, M> {
    objective: &'a dyn Objective<M>,
    lanczos: LanczosConfig,
}

impl<'a, M> SharpnessPenalty<'a, M> {
    /// Penalises the sharpness of this objective, found by at most 20 Lanczos steps to a residual of
    /// 1e-3.
    pub fn new(objective: &'a dyn Objective<M>) -> Self {
        Self {
            objective,
            lanczos: LanczosConfig {
                largest: 1,
                steps: 20,
                ..LanczosConfig::default()
            },
        }
    }

    /// The same with other settings of Lanczos' method. It always looks for one pair, the largest.
    pub fn with_lanczos(self, config: LanczosConfig) -> Self {
        Self {
            lanczos: LanczosConfig {
                largest: 1,
                smallest: 0,
                ..config
            },
            ..self
        }
    }
}

impl<M: Module> Penalty<M> for SharpnessPenalty<'_, M> {
    fn evaluate(&self, model: &M) -> Result<PenaltyValue, CurvatureError> {
        let oracle = GradientOracle::new(model, self.objective);
        let hessian = Hessian::with_config(&oracle, HessianConfig::default())?;
        let found = lanczos(&hessian, &self.lanczos)?;
        let Some(top) = found.largest.first() else {
            return Err(CurvatureError::NoGradient);
        };
        let (_, gradient) = along(&oracle, &top.vector)?;
        Ok(PenaltyValue {
            value: top.value,
            gradient,
            cost: oracle.cost(),
        })
    }
}
