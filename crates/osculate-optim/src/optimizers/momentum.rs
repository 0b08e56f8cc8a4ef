//! The averaged gradient, without a preconditioner.

use burn::config::Config;
use burn::tensor::DType;
use osculate_linalg::BlockPartition;

use super::kronecker::{ema, unless};
use crate::config::{Check, ConfigError};
use crate::engine::{BlockRule, Field, RuleError, Stack, Stepped, constructors};
use crate::parameter::Parameter;
use crate::registry::{OptimizerRow, read, to_value};
use crate::weight_decay::{DecayForm, WeightDecay};

/// Steps along the averaged gradient: SGD with momentum, in the form of an average.
///
/// ```text
/// d = β d + (1 - β) g       from d = g in the first step
/// θ = (θ - lr d) / (1 + lr λ)
/// ```
///
/// With `bias_correction` the average starts at zero instead, and the step is along `d / (1 - β^t)`.
///
/// This is what the step-size policy [`Momo`](crate::Momo) stands on in its paper: it bounds a rate from
/// above by a model of the loss, so that rates far too large for SGD are safe.
///
/// - Learning rate: 0.05 on small networks, 17 times AdamW's 3e-3; that of SGD with momentum `β`, times
///   `1 / (1 - β)`: see [`SgdwConfig`](crate::SgdwConfig). With MoMo 1, the paper's, which it takes down where that is
///   too much.
/// - Cost: 1 gradient evaluation a step.
/// - State: 1 element for each parameter element, and one number for each parameter.
/// - Defaults: those of MoMo's authors.
/// - When not to use it: where curvature differs much from one direction to another, as in transformers;
///   the rate is then that of the steepest one.
///
/// Paper: Schaipp et al., *MoMo*, <https://arxiv.org/abs/2305.07583>.
///
/// ```
/// use burn::nn::{Linear, LinearConfig};
/// use burn::tensor::{Device, Distribution, Tensor};
/// use osculate_optim::{AveragedGradientConfig, ClosureOptimizer};
///
/// let device = Device::flex().autodiff();
/// device.seed(1);
/// let mut model: Linear = LinearConfig::new(4, 3).init(&device);
/// let x = Tensor::<2>::random([8, 4], Distribution::Default, &device);
/// let loss = |model: &Linear| model.forward(x.clone()).square().mean();
/// let mut optimizer = AveragedGradientConfig::new().init()?;
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
pub struct AveragedGradientConfig {
    /// Decay of the average, `β`. Default 0.9.
    #[config(default = 0.9)]
    pub beta: f64,
    /// Starts the average at zero and divides it by `1 - β^t`. Default `false`: it starts at the first
    /// gradient.
    #[config(default = false)]
    pub bias_correction: bool,
    /// Weight decay `λ`, as a proximal step. Default 0.
    #[config(default = 0.0)]
    pub weight_decay: f64,
}

impl AveragedGradientConfig {
    /// Checks the settings.
    ///
    /// # Errors
    /// [`ConfigError`] for a decay outside `[0, 1)`, or a negative or non-finite weight decay.
    pub fn validate(&self) -> Result<(), ConfigError> {
        Check::of("AveragedGradientConfig")
            .decay("beta", self.beta)
            .non_negative("weight_decay", self.weight_decay)
            .finish()
    }

    /// The rule, for [`Driver::of_blocks`](crate::Driver::of_blocks) or
    /// [`PerParameter`](crate::PerParameter).
    ///
    /// # Errors
    /// As [`validate`](Self::validate).
    pub fn rule(&self) -> Result<AveragedGradient, ConfigError> {
        self.validate()?;
        Ok(AveragedGradient {
            config: self.clone(),
        })
    }
}

constructors!(AveragedGradientConfig);

/// The registry's row.
pub(crate) static ROW: OptimizerRow = OptimizerRow {
    name: "averaged-gradient",
    text: "averaged gradient, as MoMo takes it",
    learning_rate: 5e-2,
    gradients: 1.0,
    state: "1",
    defaults: || to_value(&AveragedGradientConfig::new()),
    build: |settings| Ok(read::<AveragedGradientConfig>(settings, "settings")?.init()?),
};

/// The rule of [`AveragedGradientConfig`].
#[derive(Debug, Clone)]
pub struct AveragedGradient {
    config: AveragedGradientConfig,
}

const AVERAGE: &str = "d";
/// The sum of the gradients' weights in the average: 0 before the first one.
const WEIGHT: &str = "weight";

impl BlockRule for AveragedGradient {
    fn name(&self) -> &'static str {
        "averaged-gradient"
    }

    fn partition(&self, parameter: &Parameter) -> BlockPartition {
        BlockPartition::new(&[parameter.num_elements()], usize::MAX)
    }

    fn fields(&self, dims: &[usize], compute: DType) -> Vec<Field> {
        vec![
            Field::new(AVERAGE, dims.iter().product(), compute),
            Field::new(WEIGHT, 1, compute),
        ]
    }

    fn weight_decay(&self) -> WeightDecay {
        WeightDecay::new(self.config.weight_decay, DecayForm::Proximal)
    }

    fn step(&self, stack: &mut Stack<'_>) -> Result<Stepped, RuleError> {
        let beta = self.config.beta;
        let (old, weight) = (stack.state.take(AVERAGE)?, stack.state.take(WEIGHT)?);
        let g = stack.gradient.clone();
        let one = weight.ones_like();
        let d = ema(old, g.clone(), beta);
        let (d, weight, direction) = if self.config.bias_correction {
            let weight = ema(weight, one, beta);
            (d.clone(), weight.clone(), d / weight)
        } else {
            let d = unless(&weight.equal_elem(0.0), d, g);
            (d.clone(), one, d)
        };
        stack.state.put(AVERAGE, d)?;
        stack.state.put(WEIGHT, weight)?;
        Ok(Stepped::along(direction))
    }
}

#[cfg(test)]
mod tests {
    use burn::module::{Module, Param};
    use burn::tensor::{Device, Tensor};

    use super::*;
    use crate::ClosureOptimizer;

    #[derive(Module, Debug)]
    struct Number {
        weight: Param<Tensor<1>>,
    }

    #[test]
    fn averages_start_at_the_first_gradient_or_at_zero() {
        let (lr, decay, beta) = (0.1, 0.5, 0.75);
        let gradients = [2.0, -1.0, 4.0];
        for bias_correction in [false, true] {
            let config = AveragedGradientConfig::new()
                .with_beta(beta)
                .with_bias_correction(bias_correction)
                .with_weight_decay(decay);
            let mut optimizer = config.init().unwrap();
            let device = Device::flex().autodiff();
            let mut model = Number {
                weight: Param::from_tensor(Tensor::from_floats([1.0], &device)),
            };
            let (mut theta, mut sum, mut weight) = (1.0, 0.0, 0.0);
            for (step, g) in gradients.into_iter().enumerate() {
                let loss = |model: &Number| model.weight.val().mul_scalar(g).sum();
                model = optimizer.step(lr, model, &loss).unwrap().model;
                // The average as a weighted sum over all gradients so far.
                let first = step == 0 && !bias_correction;
                let share = if first { 1.0 } else { 1.0 - beta };
                sum = beta * sum + share * g;
                weight = beta * weight + share;
                theta = (theta - lr * sum / weight) / (1.0 + lr * decay);
                let got: f64 = model.weight.val().into_scalar();
                assert!((got - theta).abs() < 1e-6, "{got} instead of {theta}");
            }
        }
    }
}
