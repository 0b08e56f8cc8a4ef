use burn::module::Module;

use super::second_difference::along;
use super::{Penalty, PenaltyValue};
use crate::error::CurvatureError;
use crate::estimate::ProbeDistribution;
use crate::objective::Objective;
use crate::oracle::GradientOracle;

/// A penalty on the trace of the Hessian, by Hutchinson's estimate `zᵀ H z` over random signs.
///
/// Its gradient `T[z, z]` is a second difference of gradients along `z`. Change the seed at every
/// step: estimate and gradient are then unbiased up to the difference's error. On networks of kinks
/// (ReLU) third derivatives vanish almost everywhere, and this penalty says nothing about the
/// training that it would cause: use smooth activations.
///
/// Cost: one gradient, and two for each probe.
pub struct TracePenalty<'a, M> {
    objective: &'a dyn Objective<M>,
    probes: usize,
    seed: u64,
}

impl<'a, M> TracePenalty<'a, M> {
    /// Penalises the trace of this objective's Hessian, estimated by `probes` probes of this seed.
    ///
    /// # Errors
    /// [`CurvatureError::InvalidSetting`] for no probes.
    pub fn new(
        objective: &'a dyn Objective<M>,
        probes: usize,
        seed: u64,
    ) -> Result<Self, CurvatureError> {
        CurvatureError::check(probes > 0, "probes", probes, "at least one probe")?;
        Ok(Self {
            objective,
            probes,
            seed,
        })
    }
}

impl<M: Module> Penalty<M> for TracePenalty<'_, M> {
    fn evaluate(&self, model: &M) -> Result<PenaltyValue, CurvatureError> {
        let oracle = GradientOracle::new(model, self.objective);
        let layout = oracle.layout()?;
        let share = 1.0 / self.probes as f64;
        let mut value = 0.0;
        let mut gradient = oracle.clean()?.gradient.to_compute_dtype().scale(0.0);
        for index in 0..self.probes {
            let z = ProbeDistribution::Rademacher.draw(&layout, self.seed, index as u64);
            let (product, change) = along(&oracle, &z)?;
            value += share * z.to_compute_dtype().dot(&product);
            gradient = gradient.axpy(share, &change);
        }
        Ok(PenaltyValue {
            value,
            gradient,
            cost: oracle.cost(),
        })
    }
}
