use burn::config::Config;

use super::{DecayForm, WeightDecay};
use crate::config::ConfigError;
use crate::driver::Driver;
use crate::registry::{OptimizerRow, base_of, over_base, read, to_value};

/// Norm-constrained steps over any optimizer, in the place of weight decay: matrices keep the norm that they began
/// with.
///
/// ```text
/// θ = R normalised(θ - lr R normalised(u)),   R = |θ|          for parameters of rank 2 and more
/// θ = θ - lr u                                                for all others, and where R is 0
/// ```
///
/// Weight decay and rate together settle the norm of a matrix that a normalisation follows, and with it how far a
/// step turns it. Here the norm is given and a step turns by an angle of about `lr`, whatever the optimizer's own
/// length. It is [`DecayForm::Hyperball`]: it takes the place of the optimizer's own decay, but of that inside of
/// burn's optimizers, which is to be 0. Embeddings and heads are kept out of it by a group with a weight decay of 0.
///
/// - Cost: three norms for each matrix. State: none.
/// - Learning rate: an angle: 0.003 to 0.03, the same for all optimizers, whatever AdamW's is. The study has no figure
///   for it.
/// - When not to use it: for networks without normalisation, whose norms mean something; for matrices that begin
///   near zero and have to grow.
///
/// Source: Wen et al., *Fantastic Pretraining Optimizers and Where to Find Them 2.1: Hyperball Optimization*, 2025.
///
/// ```
/// use burn::nn::{Linear, LinearConfig};
/// use burn::tensor::{Device, Distribution, Tensor};
/// use osculate_optim::{ClosureOptimizer, Hyperball, SoapConfig};
///
/// let device = Device::flex().autodiff();
/// device.seed(1);
/// let mut model: Linear = LinearConfig::new(4, 3).init(&device);
/// let x = Tensor::<2>::random([8, 4], Distribution::Default, &device);
/// let loss = |model: &Linear| (model.forward(x.clone()) - 0.5).square().mean();
/// let norm = |model: &Linear| model.weight.val().square().sum().sqrt().into_scalar::<f32>();
/// let mut optimizer = Hyperball::new().over(SoapConfig::new().init()?)?;
/// let (mut losses, first) = (Vec::new(), norm(&model));
/// for _ in 0..10 {
///     let step = optimizer.step(0.03, model, &loss)?;
///     losses.push(step.report.loss());
///     model = step.model;
/// }
/// assert!(losses[9] < losses[0]);
/// assert!((norm(&model) / first - 1.0).abs() < 1e-5);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Config, Debug, PartialEq)]
pub struct Hyperball {}

impl Hyperball {
    /// The constraint over any optimizer of the crate, or a burn one.
    ///
    /// # Errors
    /// None at present.
    pub fn over(&self, base: impl Into<Driver>) -> Result<Driver, ConfigError> {
        let base: Driver = base.into();
        base.with_weight_decay(WeightDecay::new(1.0, DecayForm::Hyperball))
    }
}

/// The registry's row.
pub(crate) static ROW: OptimizerRow = OptimizerRow {
    name: "hyperball",
    text: "steps that keep the norms of matrices",
    learning_rate: 3e-3,
    gradients: 1.0,
    state: "the base's",
    defaults: || over_base(to_value(&Hyperball::new())?, "soap"),
    build: |settings| Ok(read::<Hyperball>(settings, "settings")?.over(base_of(settings)?)?),
};
