use std::sync::Arc;

use burn::config::Config;
use burn::tensor::{Shape, Tensor};
use osculate_curvature::{ParamEntry, ParamLayout, ParamVec};

use super::{StepSize, StepSizeContext, over};
use crate::driver::step_seed;
use crate::engine::RuleError;
use crate::registry::{OptimizerRow, base_of, over_base, read, to_value};
use crate::vector_state::scalar_dtype;

/// Random scaling: every step is multiplied by one number drawn from the exponential distribution of mean 1.
///
/// ```text
/// s ~ Exp(1)          θ = θ - s lr (u + λ θ)
/// ```
///
/// Over [`SgdwConfig`](crate::SgdwConfig) it is the exponentiated SGDM that online learning yields: the
/// authors' `Δ = β (Δ - η g)`, `θ = θ + s Δ` is momentum `β` at the rate `η β`; their regularised
/// `β / (1 + η μ)` takes `β`'s place in both. The number is one for all parameters and for all workers, a
/// function of the run's seed and of the step, so that a resumed run draws it again.
///
/// It buys a theorem, the best rate of convergence without smoothness, and not accuracy: the authors find it
/// to train like the method below.
///
/// - Cost: one product with a number. State: none.
/// - Learning rate: half the method's own or less near the edge of stability: one step in twenty is three
///   times as long.
/// - When not to use it: where training is noisy enough; it only adds to the noise.
///
/// Paper: Zhang and Cutkosky, *Random Scaling and Momentum for Non-smooth Non-convex Optimization*,
/// <https://arxiv.org/abs/2405.09742>.
///
/// ```
/// use burn::nn::{Linear, LinearConfig};
/// use burn::tensor::{Device, Distribution, Tensor};
/// use osculate_optim::{ClosureOptimizer, RandomScale, SgdwConfig};
///
/// let device = Device::flex().autodiff();
/// device.seed(1);
/// let mut model: Linear = LinearConfig::new(4, 3).init(&device);
/// let x = Tensor::<2>::random([8, 4], Distribution::Default, &device);
/// let loss = |model: &Linear| model.forward(x.clone()).square().mean();
/// let mut optimizer = RandomScale::new().over(SgdwConfig::new().init()?)?;
/// let mut losses = Vec::new();
/// for _ in 0..10 {
///     let step = optimizer.step(0.02, model, &loss)?;
///     assert!(step.report.step_size_factor().is_some_and(|s| s > 0.0));
///     losses.push(step.report.loss());
///     model = step.model;
/// }
/// assert!(losses[9] < losses[0]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Config, Debug, PartialEq)]
pub struct RandomScale {}

over!(RandomScale);

/// The registry's row.
pub(crate) static ROW: OptimizerRow = OptimizerRow {
    name: "random-scale",
    text: "steps of random length, of mean 1",
    learning_rate: 2e-2,
    gradients: 1.0,
    state: "the base's",
    defaults: || over_base(to_value(&RandomScale::new())?, "sgdw"),
    build: |settings| Ok(read::<RandomScale>(settings, "settings")?.over(base_of(settings)?)?),
};

/// Keeps the draws apart from the run's other ones.
const STREAM: u64 = 0x4558_504F;

impl StepSize for RandomScale {
    fn name(&self) -> &'static str {
        "random-scale"
    }

    fn needs_loss(&self) -> bool {
        false
    }

    fn scales_decay(&self) -> bool {
        true
    }

    fn factor(&self, context: &mut StepSizeContext<'_>) -> Result<Tensor<1>, RuleError> {
        let device = context.loss.device();
        let pair = ParamEntry {
            path: "random-scale".to_string(),
            id: 0.into(),
            shape: Shape::from([2]),
            dtype: scalar_dtype(&device),
            device,
        };
        let seed = step_seed(context.seed ^ STREAM, context.step);
        let normal = ParamVec::gaussian(&Arc::new(ParamLayout::new(vec![pair])), seed);
        // Half the sum of two squared normal numbers is exponential.
        Ok(normal.tensors()[0].clone().square().sum().mul_scalar(0.5))
    }
}
