//! Steps damped by the gradient's norm: the metric of the loss's graph.

use burn::config::Config;
use osculate_curvature::ParamVec;

use crate::Driver;
use crate::config::{Check, ConfigError};
use crate::engine::RuleError;
use crate::registry::{OptimizerRow, read, to_value};
use crate::update::{VectorRule, VectorStep};
use crate::vector_state::VectorField;
use crate::weight_decay::{DecayForm, WeightDecay};

/// What is embedded, and in which metric: the variants of [`InducedMetricConfig`].
#[derive(Config, Debug, Copy, PartialEq, Eq)]
pub enum InducedMetric {
    /// The loss, over weights with the plain metric.
    Sgd,
    /// Its logarithm. The loss must be positive.
    Log,
    /// The loss, over weights with RMSProp's metric.
    Rms,
}

/// The optimizer of the metric that the graph of the loss has from the space around it: a smooth clipping of
/// the whole gradient.
///
/// On the graph of `L` in one dimension more, with the metric `M` of the weights, the steepest descent is that
/// of `M`, made shorter:
///
/// ```text
/// (M + ξ g gᵀ)⁻¹ g = M⁻¹ g / (1 + ξ gᵀM⁻¹g)
///
/// e = β e + (1 - β) ξ gᵀM⁻¹g            ê = e / (1 - β^t), over all parameters together
/// s = 1 / (1 + ê)                       Log: L / (L² + ê), at most `max_scale`; 0 where L is not above 0
/// M = 1                                 Rms: √v̂ + ε, with the debiased average v̂ of g²
/// θ = (1 - lr λ) θ - lr s m̂ / M         with the debiased average m̂ of g
/// ```
///
/// A step of `Sgd` is never longer than `lr / (2 √ξ)` along one gradient.
///
/// In the authors' own tables the best `ξ` is 1e-7 to 1e-8 on networks: the damping is then off, and what is left
/// of `Rms` is Adam.
///
/// - Cost: 1 gradient evaluation a step.
/// - State: 2 elements for each parameter element (`Rms`), or 1, and one number.
/// - Defaults: the authors', `Rms`, which alone keeps up with Adam in their tables. `max_scale` is ours: the
///   logarithm's scale is `1 / L` where the gradient is small.
/// - Learning rate: AdamW's 3e-3 (`Rms`); 0.1, 33 times that (`Sgd`, `Log`), the authors' default. The study has no
///   figure for it.
/// - When not to use it: where AdamW with a clip of the global norm does.
///
/// Paper: Harvey, *The Optimiser Hidden in Plain Sight: Training with the Loss Landscape's Induced Metric*,
/// <https://arxiv.org/abs/2509.03594>.
///
/// ```
/// use burn::nn::{Linear, LinearConfig};
/// use burn::tensor::{Device, Distribution, Tensor};
/// use osculate_optim::{ClosureOptimizer, InducedMetric, InducedMetricConfig};
///
/// let device = Device::flex().autodiff();
/// device.seed(1);
/// let mut model: Linear = LinearConfig::new(4, 3).init(&device);
/// let x = Tensor::<2>::random([8, 4], Distribution::Default, &device);
/// let loss = |model: &Linear| model.forward(x.clone()).square().mean();
/// let mut optimizer = InducedMetricConfig::new().with_metric(InducedMetric::Log).init()?;
/// let mut losses = Vec::new();
/// for _ in 0..10 {
///     let step = optimizer.step(0.1, model, &loss)?;
///     losses.push(step.report.loss());
///     model = step.model;
/// }
/// assert!(losses[9] < losses[0]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Config, Debug)]
pub struct InducedMetricConfig {
    /// What is embedded, and in which metric. Default `Rms`.
    #[config(default = "InducedMetric::Rms")]
    pub metric: InducedMetric,
    /// Weight of the new dimension, `ξ`. Default 0.1.
    #[config(default = 0.1)]
    pub xi: f64,
    /// Decay of the averaged gradient. Default 0.9.
    #[config(default = 0.9)]
    pub momentum: f64,
    /// Decay of the averaged squared norm, `β`. Default 0.8.
    #[config(default = 0.8)]
    pub beta: f64,
    /// Decay of RMSProp's average. Default 0.99.
    #[config(default = 0.99)]
    pub beta_rms: f64,
    /// Added to RMSProp's root. Default 1e-8.
    #[config(default = 1e-8)]
    pub epsilon: f64,
    /// Largest scale of `Log`. Default 10.
    #[config(default = 10.0)]
    pub max_scale: f64,
    /// Decoupled weight decay `λ`, which is not scaled. Default 0.
    #[config(default = 0.0)]
    pub weight_decay: f64,
}

impl InducedMetricConfig {
    /// Checks the settings.
    ///
    /// # Errors
    /// [`ConfigError`] for a decay outside `[0, 1)`, and a negative or non-finite number.
    pub fn validate(&self) -> Result<(), ConfigError> {
        Check::of("InducedMetricConfig")
            .non_negative("xi", self.xi)
            .decay("momentum", self.momentum)
            .decay("beta", self.beta)
            .decay("beta_rms", self.beta_rms)
            .positive("epsilon", self.epsilon)
            .positive("max_scale", self.max_scale)
            .non_negative("weight_decay", self.weight_decay)
            .finish()
    }

    /// The optimizer, over closures: burn's own optimizers see one parameter at a time.
    ///
    /// # Errors
    /// As [`validate`](Self::validate).
    pub fn init(&self) -> Result<Driver, ConfigError> {
        self.validate()?;
        Ok(Driver::of_vectors(InducedMetricRule {
            config: self.clone(),
        }))
    }
}

/// The registry's row.
pub(crate) static ROW: OptimizerRow = OptimizerRow {
    name: "induced-metric",
    text: "RMSProp damped by the gradient's norm",
    learning_rate: 3e-3,
    gradients: 1.0,
    state: "2",
    defaults: || to_value(&InducedMetricConfig::new()),
    build: |settings| Ok(read::<InducedMetricConfig>(settings, "settings")?.init()?),
};

/// The rule of [`InducedMetricConfig`].
#[derive(Debug, Clone)]
struct InducedMetricRule {
    config: InducedMetricConfig,
}

const AVERAGE: &str = "m";
const SQUARES: &str = "v";
const NORM: &str = "norm";

impl VectorRule for InducedMetricRule {
    fn name(&self) -> &'static str {
        "induced-metric"
    }

    fn fields(&self) -> &'static [VectorField] {
        const FIELDS: [VectorField; 2] = [VectorField::wide(AVERAGE), VectorField::wide(SQUARES)];
        match self.config.metric {
            InducedMetric::Rms => const { &FIELDS },
            InducedMetric::Sgd | InducedMetric::Log => const { FIELDS.split_at(1).0 },
        }
    }

    fn scalars(&self) -> &'static [&'static str] {
        &[NORM]
    }

    fn needs_loss(&self) -> bool {
        self.config.metric == InducedMetric::Log
    }

    fn weight_decay(&self) -> WeightDecay {
        WeightDecay::new(self.config.weight_decay, DecayForm::Before)
    }

    fn step(&self, step: &mut VectorStep<'_>) -> Result<ParamVec, RuleError> {
        let config = &self.config;
        let g = step.gradient;
        let bias = |beta: f64| 1.0 - beta.powf(step.step as f64 + 1.0);
        let m = step.state.vector(AVERAGE)?.scale(config.momentum);
        let m = m.axpy(1.0 - config.momentum, g);
        let root = match config.metric {
            InducedMetric::Rms => {
                let v = step.state.vector(SQUARES)?.scale(config.beta_rms);
                let v = v.axpy(1.0 - config.beta_rms, &g.hadamard(g));
                step.state.put(SQUARES, v.clone())?;
                let over = bias(config.beta_rms).recip();
                Some(v.map(|(_, v)| v.clone().mul_scalar(over).sqrt().add_scalar(config.epsilon)))
            }
            InducedMetric::Sgd | InducedMetric::Log => None,
        };
        let over_metric = |x: &ParamVec| match &root {
            Some(root) => x.zip_map(root, |x, root| x / root),
            None => x.clone(),
        };
        let norm = g.dot_on_device(&over_metric(g));
        let norm = norm.to_device(&step.loss.device()).cast(step.loss.dtype());
        let e = step.state.scalar(NORM)?.mul_scalar(config.beta)
            + norm.mul_scalar((1.0 - config.beta) * config.xi);
        let debiased = e.clone().div_scalar(bias(config.beta));
        step.state.put_scalar(NORM, e)?;
        let scale = match config.metric {
            InducedMetric::Log => {
                let loss = step.loss.clone().clamp_min(0.0);
                let none = loss.clone().equal_elem(0.0);
                let scale = loss.clone() / (loss.square() + debiased);
                scale.clamp_max(config.max_scale).mask_fill(none, 0.0)
            }
            InducedMetric::Sgd | InducedMetric::Rms => debiased.add_scalar(1.0).recip(),
        };
        step.state.put(AVERAGE, m.clone())?;
        let average = m.scale(bias(config.momentum).recip());
        Ok(over_metric(&average).scale_by(&scale))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_out_of_range_are_errors() {
        let negative = InducedMetricConfig::new().with_xi(-0.1).init();
        assert_eq!(negative.unwrap_err().field, "xi");
        let zero = InducedMetricConfig::new().with_max_scale(0.0).init();
        assert_eq!(zero.unwrap_err().field, "max_scale");
    }
}
