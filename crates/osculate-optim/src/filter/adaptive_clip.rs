use burn::config::Config;
use burn::module::ParamGroup;
use burn::tensor::Tensor;
use osculate_curvature::ParamVec;

use super::{FilterContext, GradientFilter, by_output, over};
use crate::config::{Check, ConfigError};
use crate::engine::RuleError;
use crate::registry::{OptimizerRow, base_of, over_sgd, read, to_value};

/// Adaptive gradient clipping: no output's gradient is longer than a part of its weights.
///
/// ```text
/// g_o = g_o min(1, factor max(|w_o|, epsilon) / max(|g_o|, 1e-6))
/// ```
///
/// over the inputs and the kernel of the output `o`; a vector is one output's. Outputs are told from inputs by
/// the layer's type: [`Parameter::orientation`](crate::Parameter::orientation).
///
/// - Cost: four passes over the elements.
/// - State: the optimizer's.
/// - Defaults: `factor` 0.01 and `epsilon` 1e-3, the authors' for batches of 4096; smaller batches bear a larger
///   factor, up to 0.16.
/// - Learning rate: the optimizer's own; larger ones diverge later.
/// - When not to use it: on the last layer, which the authors leave out: name it in `except`. Over methods that
///   normalise their steps (Muon, sign descent) it changes next to nothing.
///
/// Paper: Brock et al., *High-Performance Large-Scale Image Recognition Without Normalization*,
/// <https://arxiv.org/abs/2102.06171>.
///
/// ```
/// use burn::nn::{Linear, LinearConfig};
/// use burn::optim::SgdConfig;
/// use burn::tensor::{Device, Distribution, Int, Tensor};
/// use osculate_curvature::{Criterion, Supervised};
/// use osculate_optim::{ClosureOptimizer, AdaptiveClip};
///
/// let device = Device::flex().autodiff();
/// device.seed(1);
/// let mut model: Linear = LinearConfig::new(4, 3).init(&device);
/// let x = Tensor::<2>::random([6, 4], Distribution::Default, &device);
/// let y = Tensor::<1, Int>::from_data([0, 1, 2, 0, 1, 2], &device);
/// let batch = Supervised::new(
///     move |model: &Linear| model.forward(x.clone()),
///     Criterion::cross_entropy(y),
/// );
/// let mut optimizer = AdaptiveClip::new().over(SgdConfig::new().init())?;
/// let mut losses = Vec::new();
/// for _ in 0..10 {
///     let step = optimizer.step(0.5, model, &batch)?;
///     losses.push(step.report.loss());
///     model = step.model;
/// }
/// assert!(losses[9] < losses[0]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Config, Debug)]
pub struct AdaptiveClip {
    /// Longest gradient as a part of the weights' length. Default 0.01.
    #[config(default = 0.01)]
    pub factor: f64,
    /// Weights count as at least this long, so that those that start at zero can move. Default 1e-3.
    #[config(default = 1e-3)]
    pub epsilon: f64,
    /// Parameters that are left alone. Default: none.
    pub except: Option<ParamGroup>,
}

over!(AdaptiveClip);

/// Gradients count as at least this long, as in the authors' code.
const SHORTEST: f64 = 1e-6;

impl AdaptiveClip {
    /// Checks the settings.
    ///
    /// # Errors
    /// [`ConfigError`] for a number that is not positive.
    pub fn validate(&self) -> Result<(), ConfigError> {
        Check::of("AdaptiveClip")
            .positive("factor", self.factor)
            .positive("epsilon", self.epsilon)
            .finish()
    }
}

/// The registry's row.
pub(crate) static ROW: OptimizerRow = OptimizerRow {
    name: "adaptive-clip",
    text: "each output's gradient clipped by its weights",
    learning_rate: 5e-2,
    gradients: 1.0,
    state: "the base's",
    defaults: || over_sgd(to_value(&AdaptiveClip::new())?),
    build: |settings| Ok(read::<AdaptiveClip>(settings, "settings")?.over(base_of(settings)?)?),
};

impl GradientFilter for AdaptiveClip {
    fn name(&self) -> &'static str {
        "adaptive-clip"
    }

    fn validate(&self) -> Result<(), ConfigError> {
        self.validate()
    }

    fn filter(
        &self,
        context: &FilterContext<'_>,
        gradient: &ParamVec,
    ) -> Result<ParamVec, RuleError> {
        let clipped = context.map(gradient, |parameter, g, w| {
            let n = parameter.num_elements();
            let (g, w) = (by_output(parameter, g), by_output(parameter, w));
            let lengths = |x: Tensor<3>| x.square().sum_dim(0).sum_dim(2).sqrt();
            let longest = lengths(w).clamp_min(self.epsilon).mul_scalar(self.factor);
            let ratio = longest / lengths(g.clone()).clamp_min(SHORTEST);
            (g * ratio.clamp_max(1.0)).reshape([n])
        });
        let mut kept = gradient.tensors().iter();
        Ok(clipped.map(|(entry, clipped)| {
            let (own, except) = (kept.next(), self.except.as_ref());
            match (own, except) {
                (Some(own), Some(except)) if except.matches(&entry.id, Some(&entry.path)) => {
                    own.clone()
                }
                _ => clipped.clone(),
            }
        }))
    }
}
