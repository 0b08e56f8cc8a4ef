//! Muon: momentum, orthogonalised.

use burn::config::Config;
use burn::optim::AdamWConfig;
use burn::tensor::{DType, Tensor};
use osculate_linalg::{BlockPartition, polar_express, quintic_newton_schulz};
use serde_json::json;

use crate::config::{Check, ConfigError};
use crate::engine::{BlockRule, Field, RuleError, Stack, Stepped, constructors};
use crate::parameter::{Orientation, Parameter};
use crate::registry::{OptimizerRow, to_value};
use crate::weight_decay::{DecayForm, WeightDecay};

/// How [`MuonConfig`] orthogonalises.
#[derive(Config, Debug, Copy, PartialEq, Eq)]
pub enum MuonOrthogonalizer {
    /// The polar express: the best polynomial for each step. Singular values come to 1.
    PolarExpress,
    /// The fixed quintic of the reference. Singular values come to about `[0.68, 1.13]`.
    NewtonSchulz,
}

/// How [`MuonConfig`] scales the update of a layer with a matrix of `out` outputs and `in` inputs.
///
/// Which side is which is known from the layer: burn's `Linear` keeps its weight as `[in, out]`, its
/// convolutions as `[out, in, ..]`, whose inputs are then `in` times the size of the kernel.
///
/// ```
/// use osculate_optim::{MuonConfig, MuonScale};
/// assert_eq!(MuonConfig::new().scale, MuonScale::Shape);
/// ```
#[derive(Config, Debug, Copy, PartialEq, Eq)]
pub enum MuonScale {
    /// `√max(1, out / in)`, the reference's.
    Shape,
    /// `0.2 √max(out, in)`: the root mean square of an update is about 0.2, as AdamW's is, so AdamW's
    /// learning rates and weight decays can be kept.
    MatchAdam,
}

/// Momentum, orthogonalised: steps along `U Vᵀ` for the singular vectors `U Σ Vᵀ` of the averaged
/// gradient.
///
/// ```text
/// m = μ m + (1 - μ) g
/// w = μ m + (1 - μ) g   (Nesterov)   or   m
/// u = s orthogonalised(w) min(1, |w| / 1e-7)
/// θ = (1 - lr λ) θ - lr u
/// ```
///
/// The last factor of `u` is 1 but for a momentum that has faded: it stands for the 1e-7 that the
/// reference adds to the norm by which it divides. Without it a weight whose gradient has become zero
/// would go on at full length for ever.
///
/// A parameter of rank 3 or more is a matrix of its first dimension by all others, and is scaled as
/// one (the reference takes the last two dimensions for the scale of a convolution, which are those
/// of its kernel). A vector is a matrix of one column, as of a layer with one input: its update is
/// `w / |w| √n`.
///
/// - Learning rate: 0.02 with the default scale, 7 times AdamW's 3e-3; AdamW's own with `MatchAdam`. In the study of
///   `docs/study` its best rate was 2.1 times AdamW's best on the same workload (median of eight; 0.067 to 6.7
///   times).
/// - Cost: 15 matrix products a step with 5 iterations, on the shorter side.
/// - State: 1 element for each parameter element.
/// - Defaults: the reference's, but for the polar express.
/// - When not to use it: for embeddings, output layers, biases and norms, which it is not made for;
///   [`Driver::for_selected`](crate::Driver::for_selected) gives those another optimizer.
///
/// Source: Jordan et al., *Muon*, <https://kellerjordan.github.io/posts/muon/>; the scale that
/// matches AdamW: Liu et al., <https://arxiv.org/abs/2502.16982>; the polar express: Amsel et al.,
/// <https://arxiv.org/abs/2505.16932>.
///
/// ```
/// use burn::nn::{Linear, LinearConfig};
/// use burn::tensor::{Device, Distribution, Tensor};
/// use osculate_optim::{ClosureOptimizer, MuonConfig};
///
/// let device = Device::flex().autodiff();
/// device.seed(1);
/// let mut model: Linear = LinearConfig::new(4, 3).init(&device);
/// let x = Tensor::<2>::random([8, 4], Distribution::Default, &device);
/// let loss = |model: &Linear| model.forward(x.clone()).square().mean();
/// let mut optimizer = MuonConfig::new().with_weight_decay(0.1).init()?;
/// let mut losses = Vec::new();
/// for _ in 0..10 {
///     let step = optimizer.step(0.02, model, &loss)?;
///     losses.push(step.report.loss());
///     model = step.model;
/// }
/// assert!(losses[9] < losses[0]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Config, Debug)]
pub struct MuonConfig {
    /// Decay of the gradient's average. Default 0.95.
    #[config(default = 0.95)]
    pub momentum: f64,
    /// Steps from the average looked ahead by one gradient. Default `true`.
    #[config(default = true)]
    pub nesterov: bool,
    /// How the average is orthogonalised. Default `PolarExpress`.
    #[config(default = "MuonOrthogonalizer::PolarExpress")]
    pub orthogonalizer: MuonOrthogonalizer,
    /// Iterations of it. Default 5.
    #[config(default = 5)]
    pub iterations: usize,
    /// How the update is scaled. Default `Shape`.
    #[config(default = "MuonScale::Shape")]
    pub scale: MuonScale,
    /// Decoupled weight decay. Default 0.
    #[config(default = 0.0)]
    pub weight_decay: f64,
    /// Keeps the average in `bf16`. Default `false`.
    #[config(default = false)]
    pub half_momentum: bool,
}

impl MuonConfig {
    /// Checks the settings.
    ///
    /// # Errors
    /// [`ConfigError`] for a decay outside `[0, 1)`, no iteration, or a negative weight decay.
    pub fn validate(&self) -> Result<(), ConfigError> {
        Check::of("MuonConfig")
            .decay("momentum", self.momentum)
            .that(
                self.iterations > 0,
                "iterations",
                self.iterations,
                "at least 1",
            )
            .non_negative("weight_decay", self.weight_decay)
            .finish()
    }

    /// The rule, for [`Driver::of_blocks`](crate::Driver::of_blocks) or
    /// [`PerParameter`](crate::PerParameter).
    ///
    /// # Errors
    /// As [`validate`](Self::validate).
    pub fn rule(&self) -> Result<Muon, ConfigError> {
        self.validate()?;
        Ok(Muon {
            config: self.clone(),
        })
    }
}

constructors!(MuonConfig);

/// AdamW's learning rate beside Muon's, as a part of it: of 0.3 and 0.5, which differ little on other
/// networks, the better on a transformer of characters.
pub(super) const REST_LR: f64 = 0.5;

/// The registry's row: Muon for matrices, AdamW for the rest.
pub(crate) static ROW: OptimizerRow = OptimizerRow {
    name: "muon",
    text: "orthogonal steps for matrices, AdamW beside",
    learning_rate: 2e-2,
    gradients: 1.0,
    state: "1",
    defaults: || {
        Ok(json!({
            "muon": to_value(&MuonConfig::new())?,
            "rest": { "adamw": to_value(&AdamWConfig::new().with_weight_decay(1e-2))? },
            "rest_lr": REST_LR,
            "except": [],
        }))
    },
    build: crate::registry::build_muon,
};

/// The rule of [`MuonConfig`].
#[derive(Debug, Clone)]
pub struct Muon {
    config: MuonConfig,
}

const MOMENTUM: &str = "m";

/// Norm of the momentum below which steps fade: what the reference adds to the norm that it divides by.
const FLOOR: f64 = 1e-7;

impl BlockRule for Muon {
    fn name(&self) -> &'static str {
        "muon"
    }

    fn partition(&self, parameter: &Parameter) -> BlockPartition {
        // A vector has a dimension of its own, since a bias has no inputs to be told from outputs.
        match parameter.shape.as_slice() {
            [] | [_] => BlockPartition::new(&[parameter.num_elements()], usize::MAX),
            [rows, columns @ ..] => {
                BlockPartition::new(&[*rows, columns.iter().product()], usize::MAX)
            }
        }
    }

    fn fields(&self, dims: &[usize], compute: DType) -> Vec<Field> {
        let dtype = if self.config.half_momentum {
            DType::BF16
        } else {
            compute
        };
        vec![Field::new(MOMENTUM, dims.iter().product(), dtype)]
    }

    fn weight_decay(&self) -> WeightDecay {
        WeightDecay::new(self.config.weight_decay, DecayForm::Before)
    }

    fn is_oriented(&self) -> bool {
        true
    }

    fn step(&self, stack: &mut Stack<'_>) -> Result<Stepped, RuleError> {
        let mu = self.config.momentum;
        let fresh = stack.gradient.clone().mul_scalar(1.0 - mu);
        let m = stack.state.take(MOMENTUM)?.mul_scalar(mu) + fresh.clone();
        stack.state.put(MOMENTUM, m.clone())?;
        let w = if self.config.nesterov {
            m.mul_scalar(mu) + fresh
        } else {
            m
        };

        let [rows, columns] = match *stack.dims {
            [rows, columns] => [rows, columns],
            _ => [stack.block_len(), 1],
        };
        let [outputs, inputs] = match (stack.dims.len(), stack.orientation) {
            (2, Orientation::InOut) => [columns, rows],
            _ => [rows, columns],
        };
        let [k, n] = w.dims();
        let norm = w.clone().square().sum_dim(1).sqrt();
        let fade = norm.mul_scalar(FLOOR.recip()).clamp_max(1.0);
        let direction = self.orthogonalized(w.reshape([k, rows, columns]));
        let direction = direction
            .reshape([k, n])
            .mul_scalar(self.scale(outputs, inputs));
        Ok(Stepped::along(direction * fade))
    }
}

impl Muon {
    fn scale(&self, outputs: usize, inputs: usize) -> f64 {
        let (outputs, inputs) = (outputs as f64, inputs as f64);
        match self.config.scale {
            MuonScale::Shape => (outputs / inputs).max(1.0).sqrt(),
            MuonScale::MatchAdam => 0.2 * outputs.max(inputs).sqrt(),
        }
    }

    fn orthogonalized(&self, w: Tensor<3>) -> Tensor<3> {
        match self.config.orthogonalizer {
            MuonOrthogonalizer::PolarExpress => polar_express(w, self.config.iterations),
            MuonOrthogonalizer::NewtonSchulz => quintic_newton_schulz(w, self.config.iterations),
        }
    }
}

#[cfg(test)]
mod tests {
    use burn::module::{Module, Param};
    use burn::nn::conv::{Conv2d, Conv2dConfig};
    use burn::nn::{Linear, LinearConfig};
    use burn::tensor::Device;

    use super::*;
    use crate::ClosureOptimizer;

    /// The reference's update of an `[out, in]` matrix, in plain loops.
    fn reference(gradient: &[Vec<f64>]) -> Vec<Vec<f64>> {
        let (outputs, inputs) = (gradient.len(), gradient[0].len());
        let norm = gradient.iter().flatten().map(|g| g * g).sum::<f64>().sqrt();
        let mut x: Vec<Vec<f64>> = gradient
            .iter()
            .map(|row| row.iter().map(|g| g / (norm + 1e-7)).collect())
            .collect();
        for _ in 0..5 {
            let a = product(&x, &transposed(&x));
            let (ax, aax) = (product(&a, &x), product(&a, &product(&a, &x)));
            for (i, row) in x.iter_mut().enumerate() {
                for (j, x) in row.iter_mut().enumerate() {
                    *x = 3.4445 * *x - 4.7750 * ax[i][j] + 2.0315 * aax[i][j];
                }
            }
        }
        let scale = (outputs as f64 / inputs as f64).max(1.0).sqrt();
        x.iter()
            .map(|row| row.iter().map(|x| scale * x).collect())
            .collect()
    }

    fn product(a: &[Vec<f64>], b: &[Vec<f64>]) -> Vec<Vec<f64>> {
        let dot = |row: &Vec<f64>, j: usize| row.iter().zip(b).map(|(x, b)| x * b[j]).sum();
        a.iter()
            .map(|row| (0..b[0].len()).map(|j| dot(row, j)).collect())
            .collect()
    }

    fn transposed(a: &[Vec<f64>]) -> Vec<Vec<f64>> {
        let column = |j: usize| a.iter().map(|row| row[j]).collect();
        (0..a[0].len()).map(column).collect()
    }

    /// The direction of a first step without momentum, for a gradient.
    fn direction<M: Module, const D: usize>(
        model: M,
        weight: fn(&M) -> &Param<Tensor<D>>,
        gradient: Vec<f64>,
    ) -> Vec<f64> {
        let read = |model: &M| -> Vec<f64> { weight(model).val().into_data().iter().collect() };
        let before = read(&model);
        let config = MuonConfig::new()
            .with_momentum(0.0)
            .with_orthogonalizer(MuonOrthogonalizer::NewtonSchulz);
        let mut optimizer = config.init().unwrap();
        let loss = |model: &M| {
            let weight = weight(model).val();
            let data = burn::tensor::TensorData::new(gradient.clone(), weight.shape());
            let at = (&weight.device(), weight.dtype());
            (weight * Tensor::from_data(data, at)).sum()
        };
        let after = read(&optimizer.step(1.0, model, &loss).unwrap().model);
        before.iter().zip(after).map(|(b, a)| b - a).collect()
    }

    fn gradient(outputs: usize, inputs: usize) -> Vec<Vec<f64>> {
        let element = |at: usize| ((at * at) as f64 * 0.77 + 0.3).sin();
        (0..outputs)
            .map(|i| (0..inputs).map(|j| element(i * inputs + j)).collect())
            .collect()
    }

    fn assert_near(got: &[f64], want: &[Vec<f64>]) {
        let want: Vec<f64> = want.concat();
        assert_eq!(got.len(), want.len());
        for (got, want) in got.iter().zip(want) {
            assert!((got - want).abs() < 1e-3, "{got} instead of {want}");
        }
    }

    #[test]
    fn the_scale_is_of_outputs_over_inputs() {
        let device = Device::flex().autodiff();
        for [outputs, inputs] in [[3, 8], [8, 3]] {
            let g = gradient(outputs, inputs);
            let model: Linear = LinearConfig::new(inputs, outputs)
                .with_bias(false)
                .init(&device);
            let stored = transposed(&g).concat();
            let got = direction(model, |model: &Linear| &model.weight, stored);
            assert_near(&got, &transposed(&reference(&g)));
        }
        for [outputs, channels] in [[3, 2], [18, 2]] {
            let g = gradient(outputs, channels * 6);
            let model: Conv2d = Conv2dConfig::new([channels, outputs], [2, 3])
                .with_bias(false)
                .init(&device);
            let got = direction(model, |model: &Conv2d| &model.weight, g.concat());
            assert_near(&got, &reference(&g));
        }
    }

    #[test]
    fn a_bias_has_outputs_only() {
        let device = Device::flex().autodiff();
        let model: Linear = LinearConfig::new(2, 4).init(&device);
        let bias = |model: &Linear| model.bias.as_ref().unwrap().val();
        let before = bias(&model);
        let loss = |model: &Linear| bias(model).sum();
        let mut optimizer = MuonConfig::new().with_iterations(12).init().unwrap();
        let step = optimizer.step(1.0, model, &loss).unwrap();
        // √4 along (1, 1, 1, 1) / 2.
        let moved: Vec<f64> = (before - bias(&step.model)).into_data().iter().collect();
        assert!(moved.iter().all(|x| (x - 1.0).abs() < 1e-4), "{moved:?}");
    }

    #[test]
    fn a_weight_without_gradient_comes_to_rest() {
        let device = Device::flex().autodiff();
        let mut model: Linear = LinearConfig::new(4, 4).with_bias(false).init(&device);
        let mut optimizer = MuonConfig::new().init().unwrap();
        let mut masked = |model: Linear, factor: f64, steps: usize| {
            let loss = |model: &Linear| model.weight.val().square().sum().mul_scalar(factor);
            (0..steps).fold(model, |model, _| {
                optimizer.step(0.02, model, &loss).unwrap().model
            })
        };
        model = masked(model, 1.0, 1);
        model = masked(model, 0.0, 600);
        let rest = model.weight.val();
        model = masked(model, 0.0, 200);
        let moved = (model.weight.val() - rest).abs().max();
        assert!(moved.into_scalar::<f64>() < 1e-6);
    }
}
