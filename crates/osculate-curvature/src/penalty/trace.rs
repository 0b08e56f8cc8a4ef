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
///
/// ```
/// # use burn::nn::{Linear, LinearConfig};
/// # use burn::tensor::Device;
/// # let device = Device::flex().autodiff();
/// # let model: Linear = LinearConfig::new(2, 1).with_bias(false).init(&device);
/// # let layout = osculate_curvature::GradientOracle::new(&model, &|m: &Linear| m.weight.val().sum()).layout()?;
/// # let at = osculate_curvature::ParamVec::from_values(&layout, &[0.5, 2.0]);
/// # let model = osculate_curvature::assign(model, &at);
/// use osculate_curvature::{Penalty, TracePenalty};
/// let cubes = |model: &Linear| model.weight.val().powi_scalar(3).sum();
/// let found = TracePenalty::new(&cubes, 1, 0)?.evaluate(&model)?;
/// // The Hessian is diag(6 w), at (0.5, 2), and every derivative of its trace 6.
/// assert!((found.value - 15.0).abs() < 0.05);
/// assert!(found.gradient.to_values().iter().all(|g| (g - 6.0).abs() < 0.1));
/// # Ok::<(), osculate_curvature::CurvatureError>(())
/// ```
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
