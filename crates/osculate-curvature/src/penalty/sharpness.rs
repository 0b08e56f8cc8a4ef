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
