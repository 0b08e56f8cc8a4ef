//! The gradient over its squares: AdaGrad and Adam without the root.

use burn::config::Config;
use burn::tensor::{DType, Tensor};
use osculate_linalg::BlockPartition;

use super::kronecker::ema;
use crate::config::{Check, ConfigError};
use crate::engine::{BlockRule, Field, RuleError, Stack, Stepped, constructors};
use crate::parameter::Parameter;
use crate::registry::{OptimizerRow, read, to_value};

/// What keeps small squares from making long steps.
#[derive(Config, Debug, Copy, PartialEq)]
pub enum SquareFloor {
    /// Added to each, as in the authors' code for NumPy, with 1e-8.
    Added(f64),
    /// The least, as in their code for PyTorch, with 0.1: nearly SGD where gradients are small.
    Least(f64),
    /// The least, as a fraction of the mean over the parameter. A scale common to all gradients does not matter
    /// then.
    OfMean(f64),
}

impl SquareFloor {
    fn value(self) -> f64 {
        match self {
            Self::Added(value) | Self::Least(value) | Self::OfMean(value) => value,
        }
    }

    fn over(self, squares: Tensor<2>) -> Tensor<2> {
        match self {
            Self::Added(value) => squares.add_scalar(value),
            Self::Least(value) => squares.clamp_min(value),
            Self::OfMean(value) => {
                let least = squares.clone().mean_dim(1).mul_scalar(value);
                squares.clone().max_pair(least.expand(squares.dims()))
            }
        }
    }
}

/// Steps along the gradient divided by its accumulated squares, without a root: the directions of SANIA
/// AdaGrad-SQR and Adam-SQR, to go under [`Sania`](crate::Sania).
///
/// ```text
/// v = v + g²                                       without beta_2 (AdaGrad-SQR)
/// v = β2 v + (1 - β2) g²,   D = v / (1 - β2^t)     with it (Adam-SQR)
/// q = g,  or with beta_1   m / (1 - β1^t),   m = β1 m + (1 - β1) g
/// u = q / D                                        D with its floor; 0 where D is 0
/// ```
///
/// With the root, as in AdaGrad and Adam, a step has the unit of the rate; without it that of the weights, as
/// Newton's has. Under SANIA's step sizes, with an added floor of 0, the loss along the run is then the same
/// whatever units the weights are measured in: a network whose inputs are rescaled column by column trains alike.
/// Any other floor breaks that, and makes the method usable where gradients are nearly zero: the first AdaGrad-SQR
/// step is along `1 / g`.
///
/// - Cost: 1 gradient evaluation a step.
/// - State: 1 element for each parameter element, 2 with `beta_1`, and two numbers for each parameter.
/// - Defaults: AdaGrad-SQR with the gradient, as in the authors' code; a floor of the mean, ours:
///   lower ones overshoot on networks.
/// - Learning rate: 1, the paper's, under SANIA where all batches can be fitted; elsewhere, and alone, 1e-2, 3 times
///   AdamW's usual 3e-3, for which there is no figure in the study. It has the unit of the loss.
/// - When not to use it: without SANIA; on networks, for which Adam is the safer choice.
///
/// Paper: Abdukhakimov et al., *SANIA*, <https://arxiv.org/abs/2312.17369>.
///
/// ```
/// use burn::nn::{Linear, LinearConfig};
/// use burn::tensor::{Device, Distribution, Tensor};
/// use osculate_optim::{ClosureOptimizer, Sania, SquaredGradientConfig};
///
/// let device = Device::flex().autodiff();
/// device.seed(1);
/// let mut model: Linear = LinearConfig::new(4, 3).init(&device);
/// let x = Tensor::<2>::random([8, 4], Distribution::Default, &device);
/// let loss = |model: &Linear| model.forward(x.clone()).square().mean();
/// let mut optimizer = Sania::new().over(SquaredGradientConfig::new().init()?)?;
/// let mut losses = Vec::new();
/// for _ in 0..10 {
///     let step = optimizer.step(1.0, model, &loss)?;
///     losses.push(step.report.loss());
///     model = step.model;
/// }
/// assert!(losses[9] < losses[0]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Config, Debug)]
pub struct SquaredGradientConfig {
    /// Decay of the averaged squares; without it they are summed. Default: none.
    pub beta_2: Option<f64>,
    /// Decay of the averaged gradient. Default 0: the gradient itself.
    #[config(default = 0.0)]
    pub beta_1: f64,
    /// The floor under the squares. Default `OfMean(1.0)`.
    #[config(default = "SquareFloor::OfMean(1.0)")]
    pub floor: SquareFloor,
}

impl SquaredGradientConfig {
    /// Checks the settings.
    ///
    /// # Errors
    /// [`ConfigError`] for a decay outside `[0, 1)`, and a floor that is negative or not finite.
    pub fn validate(&self) -> Result<(), ConfigError> {
        Check::of("SquaredGradientConfig")
            .decay("beta_1", self.beta_1)
            .decay("beta_2", self.beta_2.unwrap_or(0.0))
            .non_negative("floor", self.floor.value())
            .finish()
    }

    /// The rule, for [`Driver::of_blocks`](crate::Driver::of_blocks) or
    /// [`PerParameter`](crate::PerParameter).
    ///
    /// # Errors
    /// As [`validate`](Self::validate).
    pub fn rule(&self) -> Result<SquaredGradient, ConfigError> {
        self.validate()?;
        Ok(SquaredGradient {
            config: self.clone(),
        })
    }
}

constructors!(SquaredGradientConfig);

/// The registry's row for AdaGrad-SQR.
pub(crate) static ROW_ADAGRAD: OptimizerRow = OptimizerRow {
    name: "adagrad-sqr",
    text: "AdaGrad without the root, for SANIA",
    learning_rate: 1e-2,
    gradients: 1.0,
    state: "1",
    defaults: || to_value(&SquaredGradientConfig::new()),
    build: |settings| Ok(read::<SquaredGradientConfig>(settings, "settings")?.init()?),
};

/// The registry's row for Adam-SQR.
pub(crate) static ROW_ADAM: OptimizerRow = OptimizerRow {
    name: "adam-sqr",
    text: "Adam without the root, for SANIA",
    defaults: || to_value(&SquaredGradientConfig::new().with_beta_2(Some(0.999))),
    ..ROW_ADAGRAD
};

/// The rule of [`SquaredGradientConfig`].
#[derive(Debug, Clone)]
pub struct SquaredGradient {
    config: SquaredGradientConfig,
}

const SQUARES: &str = "v";
const AVERAGE: &str = "m";
/// The averages of the constant 1 by which both are to be divided.
const BIAS: &str = "bias";

impl BlockRule for SquaredGradient {
    fn name(&self) -> &'static str {
        match self.config.beta_2 {
            None => "adagrad-sqr",
            Some(_) => "adam-sqr",
        }
    }

    fn partition(&self, parameter: &Parameter) -> BlockPartition {
        BlockPartition::new(&[parameter.num_elements()], usize::MAX)
    }

    fn fields(&self, dims: &[usize], compute: DType) -> Vec<Field> {
        let n = dims.iter().product();
        let mut fields = vec![
            Field::new(SQUARES, n, compute),
            Field::new(BIAS, 2, compute),
        ];
        if self.config.beta_1 > 0.0 {
            fields.push(Field::new(AVERAGE, n, compute));
        }
        fields
    }

    fn step(&self, stack: &mut Stack<'_>) -> Result<Stepped, RuleError> {
        let g = stack.gradient.clone();
        let bias = stack.state.take(BIAS)?;
        let one = Tensor::ones([g.dims()[0], 1], (&g.device(), g.dtype()));
        let (first, second) = (bias.clone().narrow(1, 0, 1), bias.narrow(1, 1, 1));
        let first = ema(first, one.clone(), self.config.beta_1);

        let v = stack.state.take(SQUARES)?;
        let (v, second, squares) = match self.config.beta_2 {
            None => {
                let v = v + g.clone().square();
                (v.clone(), second, v)
            }
            Some(beta) => {
                let (v, second) = (ema(v, g.clone().square(), beta), ema(second, one, beta));
                (v.clone(), second.clone(), v / second)
            }
        };
        let q = match self.config.beta_1 > 0.0 {
            true => {
                let m = ema(stack.state.take(AVERAGE)?, g, self.config.beta_1);
                stack.state.put(AVERAGE, m.clone())?;
                m / first.clone()
            }
            false => g,
        };
        stack.state.put(SQUARES, v)?;
        stack.state.put(BIAS, Tensor::cat(vec![first, second], 1))?;
        let floored = self.config.floor.over(squares);
        let none = floored.clone().equal_elem(0.0);
        Ok(Stepped::along((q / floored).mask_fill(none, 0.0)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_out_of_range_are_errors() {
        let config = SquaredGradientConfig::new();
        let negative = config.clone().with_floor(SquareFloor::Least(-0.1)).init();
        assert_eq!(negative.unwrap_err().field, "floor");
        let one = config.with_beta_2(Some(1.0)).init();
        assert_eq!(one.unwrap_err().field, "beta_2");
    }
}
