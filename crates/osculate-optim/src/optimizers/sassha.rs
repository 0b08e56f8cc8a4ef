//! SASSHA: sharpness-aware AdaHessian.

use burn::config::Config;

use super::adahessian::{AdaHessianConfig, TemporalAveraging};
use crate::Driver;
use crate::config::ConfigError;
use crate::gradient::Sam;
use crate::registry::{OptimizerRow, read, to_value};

/// Sharpness-aware minimisation over a lazy AdaHessian with a tamed denominator.
///
/// ```text
/// ε = rho ∇L(θ) / |∇L(θ)|
/// g = ∇L(θ + ε)                           D = |H(θ + ε) z|   every `period` steps
/// m = β1 m + (1 - β1) g                   v = β2 v + (1 - β2) D   in the same steps
/// u = m̂ / (v̂^k + ε'),   m̂ = m / (1 - β1^t),  v̂ = v / (1 - β2^r)   after r refreshes
/// θ = θ - lr (u + λ θ)
/// ```
///
/// Gradient and curvature are those of the perturbed weights. It is a configuration, not a rule:
/// [`Sam`] over an [`AdaHessianConfig`] with lazy moments, the average of `D` itself in the place of
/// that of `D²`, and no averaging within a parameter.
///
/// The authors' code differs in two ways. It corrects the bias of `v` for steps, although `v` counts
/// refreshes, so that steps grow too long as a period goes on. And its double backward sees weights that
/// were already restored, so that its `D` belongs to no point. This is what the paper describes.
///
/// - Learning rate: 0.15, the authors' for image classification, 50 times AdamW's 3e-3; the study has no figure for
///   it. The square root makes it depend less on the network than AdaHessian's.
/// - Cost: 2 gradient evaluations a step, and a Hessian product every `period` steps: 2.2.
/// - State: 2 elements for each parameter element; while a step runs, two vectors more.
/// - Defaults: the authors' code and its scripts for CIFAR. They take a `rho` of 0.25 for vision
///   transformers, of 0.02 for a small GPT-2 (with `k` = 0.8), and of 0.01 for fine-tuning.
/// - When not to use it: where gradients are the bottleneck and the model does not overfit.
///
/// Paper: Shin et al., *SASSHA*, <https://arxiv.org/abs/2502.18153>.
///
/// ```
/// use burn::nn::{Linear, LinearConfig};
/// use burn::tensor::{Device, Distribution, Tensor};
/// use osculate_optim::{ClosureOptimizer, SasshaConfig};
///
/// let device = Device::flex().autodiff();
/// device.seed(1);
/// let mut model: Linear = LinearConfig::new(4, 3).init(&device);
/// let x = Tensor::<2>::random([8, 4], Distribution::Default, &device);
/// let loss = |model: &Linear| model.forward(x.clone()).square().mean();
/// let mut optimizer = SasshaConfig::new().init()?;
/// let mut losses = Vec::new();
/// for _ in 0..10 {
///     let step = optimizer.step(0.15, model, &loss)?;
///     losses.push(step.report.loss());
///     model = step.model;
/// }
/// assert!(losses[9] < losses[0]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Config, Debug)]
pub struct SasshaConfig {
    /// Radius of the perturbation. Default 0.2.
    #[config(default = 0.2)]
    pub rho: f64,
    /// Decay of the first moment. Default 0.9.
    #[config(default = 0.9)]
    pub beta_1: f64,
    /// Decay of the averaged curvature. Default 0.999.
    #[config(default = 0.999)]
    pub beta_2: f64,
    /// Added to the denominator. Default 1e-4.
    #[config(default = 1e-4)]
    pub epsilon: f64,
    /// Decoupled weight decay. Default 5e-4.
    #[config(default = 5e-4)]
    pub weight_decay: f64,
    /// Steps between two Hessian-vector products. Default 10.
    #[config(default = 10)]
    pub period: usize,
    /// Power of the averaged curvature in the denominator, from 0 to 1. Default 0.5.
    #[config(default = 0.5)]
    pub hessian_power: f64,
}

impl SasshaConfig {
    /// The optimizer, over closures. burn's own optimizers see neither perturbed weights nor curvature.
    ///
    /// # Errors
    /// [`ConfigError`] for a decay outside `[0, 1)`, a power outside `[0, 1]`, a period of 0, or a
    /// negative or non-finite number.
    pub fn init(&self) -> Result<Driver, ConfigError> {
        let adahessian = AdaHessianConfig::new()
            .with_beta_1(self.beta_1)
            .with_beta_2(self.beta_2)
            .with_epsilon(self.epsilon)
            .with_weight_decay(self.weight_decay)
            .with_period(self.period)
            .with_hessian_power(self.hessian_power)
            .with_spatial_averaging(false)
            .with_temporal_averaging(TemporalAveraging::Mean)
            .with_lazy_moment(true);
        // The settings have the same names here and there.
        let own = |error| ConfigError {
            config: "SasshaConfig",
            ..error
        };
        let base = adahessian.init().map_err(own)?;
        Sam::new(self.rho).over(base).map_err(own)
    }
}

/// The registry's row.
pub(crate) static ROW: OptimizerRow = OptimizerRow {
    name: "sassha",
    text: "AdaHessian at sharpness-aware gradients",
    learning_rate: 0.15,
    gradients: 2.2,
    state: "2",
    defaults: || to_value(&SasshaConfig::new()),
    build: |settings| Ok(read::<SasshaConfig>(settings, "settings")?.init()?),
};

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use burn::tensor::{DType, Device};
    use osculate_curvature::ParamVec;
    use osculate_problems::closed_form::{ClosedForm, P3, P3Point, TensorProblem};

    use super::*;
    use crate::{ClosureOptimizer, Hutchinson};

    /// Computed independently, in double precision, with the bias corrected for refreshes.
    const EXPECTED: [[f64; 3]; 5] = [
        [0.9552963122750985, -1.61625019239122, 0.5114192405181],
        [0.8965004423681486, -1.315502549144033, 0.5141902149563504],
        [0.8291832389990436, -1.0680912459382186, 0.5083305634897158],
        [0.7505077994195289, -0.8767079713407621, 0.4936577229989435],
        [0.6573981723593219, -0.7143881595737673, 0.47222221318368546],
    ];
    /// Probes of the first, third and fifth step.
    const PROBES: [[f64; 3]; 3] = [[1.0, -1.0, 1.0], [1.0, 1.0, -1.0], [-1.0, 1.0, 1.0]];

    #[test]
    fn refreshes_are_counted_and_taken_at_the_perturbed_weights() {
        let device = Device::flex().autodiff();
        let probes = Hutchinson::rademacher().with_probes(Arc::new(|layout, step| {
            ParamVec::from_values(layout, &PROBES[step as usize / 2])
        }));
        let config = SasshaConfig::new().with_period(2).with_weight_decay(0.01);
        let mut optimizer = config.init().unwrap().with_curvature(probes);
        let loss = |point: &P3Point| P3.tensor_loss(point);
        let mut point = P3.point(&P3.start(), &device, DType::F64);
        for (step, want) in EXPECTED.iter().enumerate() {
            point = optimizer.step(0.15, point, &loss).unwrap().model;
            for (got, want) in P3.flatten(&point).iter().zip(want) {
                assert!((got - want).abs() <= 1e-5, "step {step}: {got} for {want}");
            }
        }
    }

    #[test]
    fn errors_name_this_configuration() {
        let error = SasshaConfig::new().with_period(0).init().unwrap_err();
        assert_eq!((error.config, error.field), ("SasshaConfig", "period"));
        let error = SasshaConfig::new().with_rho(-1.0).init().unwrap_err();
        assert_eq!((error.config, error.field), ("SasshaConfig", "rho"));
    }
}
