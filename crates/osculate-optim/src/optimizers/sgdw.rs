//! SGD with momentum and decoupled weight decay.

use burn::config::Config;
use burn::tensor::DType;
use osculate_linalg::BlockPartition;

use crate::config::{Check, ConfigError};
use crate::engine::{BlockRule, Field, RuleError, Stack, Stepped, constructors};
use crate::parameter::Parameter;
use crate::registry::{OptimizerRow, read, to_value};
use crate::weight_decay::{DecayForm, WeightDecay};

/// SGD with momentum whose weight decay is no part of the gradient: SGDW.
///
/// ```text
/// m = μ m + g                          u = m,   or   g + μ m   (Nesterov)
/// θ = (1 - lr λ) θ - lr u              without `base_lr`
/// θ = (1 - (lr / base_lr) λ) θ - lr u  with it
/// ```
///
/// The paper's decay does not shrink with the base rate, only with its schedule `lr / base_lr`: for its `λ`
/// set `base_lr` to the rate that the schedule starts from. Without it `λ` is in units of the learning rate,
/// as AdamW's is here and in most libraries: `λ_paper = base_lr λ`. burn's SGD has an L2 penalty only, whose
/// gradient goes through the momentum: at a constant rate `λ` is to be about that penalty, `1 / (1 - μ)` times
/// for the same pull in the end.
///
/// The paper has the rate inside of the buffer (`m = μ m + lr g`), its code outside, as here; the two differ
/// while the rate changes.
///
/// - Cost: 1 gradient evaluation a step.
/// - State: 1 element for each parameter element.
/// - Defaults: momentum 0.9 as in the paper; `λ` 5e-4, the usual penalty for image classification.
/// - Learning rate: that of SGD with momentum: 0.05 on small networks, 17 times AdamW's 3e-3. In the study of
///   `docs/study` SGD's best rate was 17 times AdamW's best on the same workload (median of eight; 0.17 to 53
///   times).
/// - When not to use it: where gradients of layers differ in size by orders of magnitude, as in transformers.
///
/// Paper: Loshchilov and Hutter, *Decoupled Weight Decay Regularization*,
/// <https://arxiv.org/abs/1711.05101>.
///
/// ```
/// use burn::nn::{Linear, LinearConfig};
/// use burn::tensor::{Device, Distribution, Tensor};
/// use osculate_optim::{ClosureOptimizer, SgdwConfig};
///
/// let device = Device::flex().autodiff();
/// device.seed(1);
/// let mut model: Linear = LinearConfig::new(4, 3).init(&device);
/// let x = Tensor::<2>::random([8, 4], Distribution::Default, &device);
/// let loss = |model: &Linear| model.forward(x.clone()).square().mean();
/// let mut optimizer = SgdwConfig::new().with_weight_decay(1e-2).init()?;
/// let mut losses = Vec::new();
/// for _ in 0..10 {
///     let step = optimizer.step(0.05, model, &loss)?;
///     losses.push(step.report.loss());
///     model = step.model;
/// }
/// assert!(losses[9] < losses[0]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Config, Debug)]
pub struct SgdwConfig {
    /// Decay of the gradients' sum, `μ`. Default 0.9.
    #[config(default = 0.9)]
    pub momentum: f64,
    /// Steps along the sum looked ahead by one gradient. Default `false`.
    #[config(default = false)]
    pub nesterov: bool,
    /// Weight decay `λ`. Default 5e-4.
    #[config(default = 5e-4)]
    pub weight_decay: f64,
    /// The rate that the schedule starts from, for a decay in the paper's units. Default: none, a decay in
    /// units of the learning rate.
    pub base_lr: Option<f64>,
}

impl SgdwConfig {
    /// Checks the settings.
    ///
    /// # Errors
    /// [`ConfigError`] for a momentum outside `[0, 1)`, a negative or non-finite weight decay, or a base rate
    /// that is not positive.
    pub fn validate(&self) -> Result<(), ConfigError> {
        Check::of("SgdwConfig")
            .decay("momentum", self.momentum)
            .non_negative("weight_decay", self.weight_decay)
            .positive("base_lr", self.base_lr.unwrap_or(1.0))
            .finish()
    }

    /// The rule, for [`Driver::of_blocks`](crate::Driver::of_blocks) or
    /// [`PerParameter`](crate::PerParameter).
    ///
    /// # Errors
    /// As [`validate`](Self::validate).
    pub fn rule(&self) -> Result<Sgdw, ConfigError> {
        self.validate()?;
        Ok(Sgdw {
            config: self.clone(),
        })
    }
}

constructors!(SgdwConfig);

/// The registry's row.
pub(crate) static ROW: OptimizerRow = OptimizerRow {
    name: "sgdw",
    text: "SGD with momentum and decoupled weight decay",
    learning_rate: 5e-2,
    gradients: 1.0,
    state: "1",
    defaults: || to_value(&SgdwConfig::new()),
    build: |settings| Ok(read::<SgdwConfig>(settings, "settings")?.init()?),
};

/// The rule of [`SgdwConfig`].
#[derive(Debug, Clone)]
pub struct Sgdw {
    config: SgdwConfig,
}

const MOMENTUM: &str = "m";

impl BlockRule for Sgdw {
    fn name(&self) -> &'static str {
        "sgdw"
    }

    fn partition(&self, parameter: &Parameter) -> BlockPartition {
        BlockPartition::new(&[parameter.num_elements()], usize::MAX)
    }

    fn fields(&self, dims: &[usize], compute: DType) -> Vec<Field> {
        vec![Field::new(MOMENTUM, dims.iter().product(), compute)]
    }

    fn weight_decay(&self) -> WeightDecay {
        let rate = self.config.weight_decay / self.config.base_lr.unwrap_or(1.0);
        WeightDecay::new(rate, DecayForm::Before)
    }

    fn step(&self, stack: &mut Stack<'_>) -> Result<Stepped, RuleError> {
        let (mu, g) = (self.config.momentum, stack.gradient.clone());
        let m = stack.state.take(MOMENTUM)?.mul_scalar(mu) + g.clone();
        stack.state.put(MOMENTUM, m.clone())?;
        Ok(Stepped::along(match self.config.nesterov {
            true => g + m.mul_scalar(mu),
            false => m,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_out_of_range_are_errors() {
        let negative = SgdwConfig::new().with_weight_decay(-1e-4).init();
        assert_eq!(negative.unwrap_err().field, "weight_decay");
        let zero = SgdwConfig::new().with_base_lr(Some(0.0)).init();
        assert_eq!(zero.unwrap_err().field, "base_lr");
    }
}
