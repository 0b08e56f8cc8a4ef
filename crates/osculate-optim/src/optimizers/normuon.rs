//! Muon with rows of like length.

use burn::config::Config;
use burn::optim::AdamWConfig;
use burn::tensor::{DType, Tensor};
use osculate_linalg::BlockPartition;
use serde_json::json;

use super::kronecker::ema;
use super::muon::{Muon, MuonConfig, REST_LR};
use crate::config::{Check, ConfigError};
use crate::engine::{BlockRule, Field, RuleError, Stack, Stepped, constructors};
use crate::parameter::{Orientation, Parameter};
use crate::registry::{OptimizerRow, to_value};
use crate::weight_decay::WeightDecay;

/// NorMuon: Muon whose update is scaled row by row, a row for each output, by the averaged square of its elements.
///
/// With Muon's update `u` of a layer with `in` inputs:
///
/// ```text
/// v = β2 v + (1 - β2) mean over inputs of u²          one number for each output
/// w = u / (√v + ε)
/// θ = (1 - lr λ) θ - lr w |u| / |w|
/// ```
///
/// Orthogonal updates have outputs that move far and outputs that hardly move; here all move alike in the long run.
/// The bias of `v` is not corrected: the norm, which stays Muon's, takes it out.
///
/// - Learning rate, cost: Muon's; the study has no figure for it.
/// - State: Muon's, and one element for each row or column of a matrix, whichever are more.
/// - Defaults: Muon's, and the authors' `β2` 0.95 and `ε` 1e-8. Their scale is `√(out / in)` also where that is below
///   1.
/// - When not to use it: where Muon is not to be used.
///
/// Paper: Li et al., *NorMuon: Making Muon more efficient and scalable*, <https://arxiv.org/abs/2510.05491>.
///
/// ```
/// use burn::nn::{Linear, LinearConfig};
/// use burn::tensor::{Device, Distribution, Tensor};
/// use osculate_optim::{ClosureOptimizer, NorMuonConfig};
///
/// let device = Device::flex().autodiff();
/// device.seed(1);
/// let mut model: Linear = LinearConfig::new(4, 3).init(&device);
/// let x = Tensor::<2>::random([8, 4], Distribution::Default, &device);
/// let loss = |model: &Linear| model.forward(x.clone()).square().mean();
/// let mut optimizer = NorMuonConfig::new().init()?;
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
pub struct NorMuonConfig {
    /// The settings of Muon.
    #[config(default = "MuonConfig::new()")]
    pub muon: MuonConfig,
    /// Decay of the rows' averages, `β2`. Default 0.95.
    #[config(default = 0.95)]
    pub beta_2: f64,
    /// Added to the root. Default 1e-8.
    #[config(default = 1e-8)]
    pub epsilon: f64,
}

impl NorMuonConfig {
    /// Checks the settings.
    ///
    /// # Errors
    /// [`ConfigError`] for a decay outside `[0, 1)`, an epsilon that is not positive, and as Muon's.
    pub fn validate(&self) -> Result<(), ConfigError> {
        self.muon.validate()?;
        Check::of("NorMuonConfig")
            .decay("beta_2", self.beta_2)
            .positive("epsilon", self.epsilon)
            .finish()
    }

    /// The rule, for [`Driver::of_blocks`](crate::Driver::of_blocks) or
    /// [`PerParameter`](crate::PerParameter).
    ///
    /// # Errors
    /// As [`validate`](Self::validate).
    pub fn rule(&self) -> Result<NorMuon, ConfigError> {
        self.validate()?;
        Ok(NorMuon {
            muon: self.muon.rule()?,
            config: self.clone(),
        })
    }
}

constructors!(NorMuonConfig);

/// The registry's row: NorMuon for matrices, AdamW for the rest.
pub(crate) static ROW: OptimizerRow = OptimizerRow {
    name: "normuon",
    text: "Muon with rows of like length, AdamW beside",
    learning_rate: 2e-2,
    gradients: 1.0,
    state: "1, and a row or column of a matrix",
    defaults: || {
        Ok(json!({
            "normuon": to_value(&NorMuonConfig::new())?,
            "rest": { "adamw": to_value(&AdamWConfig::new().with_weight_decay(1e-2))? },
            "rest_lr": REST_LR,
            "except": [],
        }))
    },
    build: crate::registry::build_normuon,
};

/// The rule of [`NorMuonConfig`].
#[derive(Debug, Clone)]
pub struct NorMuon {
    muon: Muon,
    config: NorMuonConfig,
}

const ROWS: &str = "rows";

impl BlockRule for NorMuon {
    fn name(&self) -> &'static str {
        "normuon"
    }

    fn partition(&self, parameter: &Parameter) -> BlockPartition {
        self.muon.partition(parameter)
    }

    fn fields(&self, dims: &[usize], compute: DType) -> Vec<Field> {
        let mut fields = self.muon.fields(dims, compute);
        // Outputs are rows of some layers and columns of others.
        let longest = dims.iter().copied().max().unwrap_or(1);
        fields.push(Field::new(ROWS, longest, compute));
        fields
    }

    fn weight_decay(&self) -> WeightDecay {
        self.muon.weight_decay()
    }

    fn is_oriented(&self) -> bool {
        true
    }

    fn step(&self, stack: &mut Stack<'_>) -> Result<Stepped, RuleError> {
        let kept = stack.state.take(ROWS)?;
        let u = self.muon.step(stack)?.direction;
        let [k, n] = u.dims();
        let [rows, columns] = match *stack.dims {
            [rows, columns] => [rows, columns],
            _ => [n, 1],
        };
        // Outputs along dimension 1, inputs along 2.
        let transposed = stack.dims.len() == 2 && stack.orientation == Orientation::InOut;
        let x = u.clone().reshape([k, rows, columns]);
        let x = match transposed {
            true => x.swap_dims(1, 2),
            false => x,
        };
        let [_, outputs, inputs] = x.dims();
        let squares = x.clone().square().mean_dim(2).reshape([k, outputs]);
        let v = ema(
            kept.clone().narrow(1, 0, outputs),
            squares,
            self.config.beta_2,
        );
        let rest = kept.dims()[1] - outputs;
        stack.state.put(
            ROWS,
            match rest {
                0 => v.clone(),
                _ => Tensor::cat(vec![v.clone(), kept.narrow(1, outputs, rest)], 1),
            },
        )?;
        let root = v.sqrt().add_scalar(self.config.epsilon);
        let w = x / root.reshape([k, outputs, 1]).expand([k, outputs, inputs]);
        let w = match transposed {
            true => w.swap_dims(1, 2),
            false => w,
        };
        let w = w.reshape([k, n]);
        let norm = |x: Tensor<2>| x.square().sum_dim(1).sqrt();
        let (of_u, of_w) = (norm(u), norm(w.clone()));
        let none = of_w.clone().equal_elem(0.0);
        let ratio = (of_u / of_w).mask_fill(none, 0.0);
        Ok(Stepped::along(w * ratio))
    }
}

#[cfg(test)]
mod tests {
    use burn::nn::{Linear, LinearConfig};
    use burn::tensor::{Device, TensorData};

    use super::*;
    use crate::ClosureOptimizer;

    #[test]
    fn outputs_are_the_rows_of_a_linear_layer() {
        let device = Device::flex().autodiff();
        let model: Linear = LinearConfig::new(3, 2).with_bias(false).init(&device);
        let before = model.weight.val();
        let gradient = [[3.0, 0.1], [1.0, 0.2], [-2.0, 0.05]];
        let gradient = Tensor::<2>::from_data(TensorData::from(gradient), &device);
        let loss = |model: &Linear| (model.weight.val() * gradient.clone()).sum();
        let mut optimizer = NorMuonConfig::new().init().unwrap();
        let after = optimizer.step(1.0, model, &loss).unwrap().model;
        let moved = before - after.weight.val();
        // After one step each output has moved by the same root mean square: √(2 / 2) of Muon's norm √2.
        let squares = moved.square().mean_dim(0).into_data();
        let [a, b] = squares.iter::<f64>().collect::<Vec<_>>()[..] else {
            panic!("two outputs");
        };
        assert!((a / b - 1.0).abs() < 1e-3, "{a} and {b}");
    }
}
