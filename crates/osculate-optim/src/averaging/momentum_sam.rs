use burn::config::Config;
use osculate_curvature::ParamVec;

use super::{Averaging, AveragingContext, over};
use crate::config::{Check, ConfigError};
use crate::engine::RuleError;
use crate::gradient::perturbation;
use crate::registry::{OptimizerRow, base_of, over_sgd, read, to_value};
use crate::vector_state::{VectorField, VectorState};

/// Momentum-SAM: the gradient ahead of the weights along the momentum, at no gradient more.
///
/// The module holds `y`, where gradients are taken; the optimizer's own iterate `w` is what is evaluated. With
/// the optimizer's displacement `δ = -lr u`:
///
/// ```text
/// w = w + δ
/// y = w + rho δ / |δ|
/// ```
///
/// Under heavy-ball momentum `δ` is `-lr v`, so `y` is the authors' `w - rho v / |v|`. The norm is over all
/// parameters together. Decay acts at `y`.
///
/// - Cost: 1 gradient evaluation a step, and a few passes over the parameters.
/// - State: 1 element for each parameter element (`w`), beside the optimizer's.
/// - Defaults: `rho` 0.3 in the registry, that of the authors' code. `rho` 0 is the optimizer itself.
/// - Learning rate: the optimizer's own.
/// - When not to use it: over an optimizer without momentum, where it goes on along the last batch's gradient,
///   away from SAM's point; where [`Sam`](crate::Sam)'s second gradient can be paid for.
///
/// Paper: Becker et al., *Momentum-SAM: Sharpness Aware Minimization without Computational Overhead*,
/// <https://arxiv.org/abs/2401.12033>.
///
/// ```
/// use burn::nn::{Linear, LinearConfig};
/// use burn::optim::{SgdConfig, momentum::MomentumConfig};
/// use burn::tensor::{Device, Distribution, Tensor};
/// use osculate_optim::{ClosureOptimizer, MomentumSam};
///
/// let device = Device::flex().autodiff();
/// device.seed(1);
/// let mut model: Linear = LinearConfig::new(4, 3).init(&device);
/// let x = Tensor::<2>::random([8, 4], Distribution::Default, &device);
/// let loss = |model: &Linear| model.forward(x.clone()).square().mean();
/// let sgd = SgdConfig::new().with_momentum(Some(MomentumConfig::new().with_dampening(0.0)));
/// let mut optimizer = MomentumSam::new(0.05).over(sgd.init())?;
/// let mut first = None;
/// for _ in 0..20 {
///     let step = optimizer.step(0.05, model, &loss)?;
///     first.get_or_insert(step.report.loss());
///     model = step.model;
/// }
/// let evaluated = optimizer.evaluation_model(&model)?;
/// assert!(f64::from(loss(&evaluated).into_scalar::<f32>()) < first.unwrap_or(0.0));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Config, Debug, PartialEq)]
pub struct MomentumSam {
    /// Length of the perturbation.
    pub rho: f64,
}

over!(MomentumSam);

impl MomentumSam {
    /// Checks the settings.
    ///
    /// # Errors
    /// [`ConfigError`] for a negative or non-finite `rho`.
    pub fn validate(&self) -> Result<(), ConfigError> {
        Check::of("MomentumSam")
            .non_negative("rho", self.rho)
            .finish()
    }
}

/// The registry's row.
pub(crate) static ROW: OptimizerRow = OptimizerRow {
    name: "momentum-sam",
    text: "the gradient ahead along the momentum",
    learning_rate: 5e-2,
    gradients: 1.0,
    state: "the base's + 1",
    defaults: || over_sgd(to_value(&MomentumSam::new(0.3))?),
    build: |settings| Ok(read::<MomentumSam>(settings, "settings")?.over(base_of(settings)?)?),
};

const ITERATE: &str = "iterate";

impl Averaging for MomentumSam {
    fn name(&self) -> &'static str {
        "momentum-sam"
    }

    fn fields(&self) -> &'static [VectorField] {
        const { &[VectorField::wide(ITERATE)] }
    }

    fn validate(&self) -> Result<(), ConfigError> {
        self.validate()
    }

    fn step(&self, context: &mut AveragingContext<'_>) -> Result<ParamVec, RuleError> {
        let before = context.state.start_at(ITERATE, context.weights)?;
        // In this order a radius of 0 leaves the weights that the optimizer stepped to, bit for bit.
        let iterate = context.moved.sub(&context.weights.sub(&before));
        let ahead = perturbation(self.rho, &context.moved.sub(context.weights));
        let next = iterate.add(&ahead);
        context.state.put(ITERATE, iterate)?;
        Ok(next)
    }

    fn evaluation(&self, weights: &ParamVec, state: &VectorState) -> Result<ParamVec, RuleError> {
        state.or_first(ITERATE, weights)
    }
}

#[cfg(test)]
mod tests {
    use burn::optim::SgdConfig;
    use burn::optim::momentum::MomentumConfig;
    use burn::tensor::{DType, Device};
    use osculate_problems::closed_form::{ClosedForm, P3, TensorProblem};

    use super::*;
    use crate::optimizer::ClosureOptimizer;

    /// Against heavy ball written out: `v = 0.9 v + g(w - rho v / |v|)`, `w = w - 0.05 v`.
    #[test]
    fn the_gradient_is_taken_ahead_along_the_momentum() {
        let device = Device::flex().autodiff();
        let momentum = MomentumConfig::new().with_momentum(0.9).with_dampening(0.0);
        let sgd = SgdConfig::new().with_momentum(Some(momentum)).init();
        let mut optimizer = MomentumSam::new(0.3).over(sgd).unwrap();
        let mut point = P3.point(&P3.start(), &device, DType::F64);
        let (mut w, mut v) = (P3.start(), vec![0.0; 3]);
        for _ in 0..4 {
            let length = v.iter().map(|x| x * x).sum::<f64>().sqrt() + 1e-12;
            let at: Vec<f64> = w
                .iter()
                .zip(&v)
                .map(|(w, v)| w - 0.3 * v / length)
                .collect();
            let gradient = P3.gradient(&at);
            for ((w, v), g) in w.iter_mut().zip(&mut v).zip(gradient) {
                *v = 0.9 * *v + g;
                *w -= 0.05 * *v;
            }
            let loss = |point: &_| P3.tensor_loss(point);
            point = optimizer.step(0.05, point, &loss).unwrap().model;
            let evaluated = optimizer.evaluation_model(&point).unwrap();
            for (found, wanted) in P3.flatten(&evaluated).into_iter().zip(&w) {
                assert!((found - wanted).abs() < 1e-7, "{found} {wanted}");
            }
        }
        assert!(MomentumSam::new(-0.1).validate().is_err());
        assert!(MomentumSam::new(f64::NAN).validate().is_err());
    }
}
