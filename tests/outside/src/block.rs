use burn::config::Config;
use burn::tensor::DType;
use osculate_linalg::BlockPartition;
use osculate_optim::{
    BlockRule, ConfigError, CurvatureSource, DecayForm, Driver, Field, Parameter, RuleError, Stack,
    StackedCurvature, Stepped, WeightDecay,
};

use crate::SeveralProbes;

/// Newton's step by an averaged diagonal, element by element, clipped where the curvature is small or
/// negative.
///
/// ```text
/// m = β1 m + (1 - β1) g
/// h = β2 h + (1 - β2) ĥ        in every `period`-th step; h = ĥ the first time
/// u = clip(m / max(h, ε), 1)
/// ```
///
/// A block stands still until it has met curvature.
#[derive(Config, Debug)]
pub struct ClippedNewtonConfig {
    /// Decay of the averaged gradient, `β1`. Default 0.9.
    #[config(default = 0.9)]
    pub beta_1: f64,
    /// Decay of the averaged curvature, `β2`. Default 0.99.
    #[config(default = 0.99)]
    pub beta_2: f64,
    /// Steps from one estimate to the next. Default 2.
    #[config(default = 2)]
    pub period: usize,
    /// The smallest curvature that is believed, `ε`. Default 1e-8.
    #[config(default = 1e-8)]
    pub epsilon: f64,
    /// Decoupled weight decay. Default 0.01.
    #[config(default = 0.01)]
    pub weight_decay: f64,
}

impl ClippedNewtonConfig {
    /// The rule.
    ///
    /// # Errors
    /// [`ConfigError`] for a period of 0.
    pub fn rule(&self) -> Result<ClippedNewton, ConfigError> {
        if self.period == 0 {
            return Err(ConfigError {
                config: "ClippedNewtonConfig",
                field: "period",
                value: self.period.to_string(),
                expected: "at least 1",
            });
        }
        Ok(ClippedNewton {
            config: self.clone(),
        })
    }

    /// The closure optimizer.
    ///
    /// # Errors
    /// As [`rule`](Self::rule).
    pub fn init(&self) -> Result<Driver, ConfigError> {
        Ok(Driver::of_blocks(self.rule()?))
    }
}

/// The rule of [`ClippedNewtonConfig`].
#[derive(Debug, Clone)]
pub struct ClippedNewton {
    config: ClippedNewtonConfig,
}

impl BlockRule for ClippedNewton {
    fn name(&self) -> &'static str {
        "clipped-newton"
    }

    fn partition(&self, parameter: &Parameter) -> BlockPartition {
        BlockPartition::new(&[parameter.num_elements()], usize::MAX)
    }

    fn fields(&self, dims: &[usize], compute: DType) -> Vec<Field> {
        let n = dims.iter().product();
        vec![
            Field::new("gradient", n, compute),
            Field::new("curvature", n, compute),
            // 1 once the block has met curvature.
            Field::new("seen", 1, compute),
        ]
    }

    fn wants_curvature(&self, step: u64) -> bool {
        step.is_multiple_of(self.config.period as u64)
    }

    fn curvature_source(&self) -> Option<Box<dyn CurvatureSource>> {
        Some(Box::new(SeveralProbes { probes: 2 }))
    }

    fn weight_decay(&self) -> WeightDecay {
        WeightDecay::new(self.config.weight_decay, DecayForm::Before)
    }

    fn step(&self, stack: &mut Stack<'_>) -> Result<Stepped, RuleError> {
        let ClippedNewtonConfig {
            beta_1,
            beta_2,
            epsilon,
            ..
        } = self.config;
        let m = stack.state.take("gradient")?.mul_scalar(beta_1)
            + stack.gradient.clone().mul_scalar(1.0 - beta_1);
        let (mut h, mut seen) = (stack.state.take("curvature")?, stack.state.take("seen")?);
        let refreshed = stack.curvature.is_some();
        if let Some(curvature) = stack.curvature.take() {
            let estimate = match &curvature {
                StackedCurvature::Diagonal { value, .. } => value.clone(),
                StackedCurvature::Product { probe, product, .. } => probe.clone() * product.clone(),
            };
            let average = h.clone().mul_scalar(beta_2) + estimate.clone().mul_scalar(1.0 - beta_2);
            let first = seen.clone().equal_elem(0.0);
            let next = average.mask_where(first.expand(h.dims()), estimate);
            let one = seen.ones_like();
            (h, seen) = match curvature.finite() {
                None => (next, one),
                Some(finite) => (
                    h.clone().mask_where(finite.clone().expand(h.dims()), next),
                    seen.mask_where(finite.clone(), one),
                ),
            };
        }
        let direction = (m.clone() / h.clone().clamp_min(epsilon)).clamp(-1.0, 1.0);
        let hold = seen.clone().equal_elem(0.0);
        stack.state.put("gradient", m)?;
        stack.state.put("curvature", h)?;
        stack.state.put("seen", seen)?;
        Ok(Stepped {
            hold: Some(hold),
            refreshed,
            ..Stepped::along(direction)
        })
    }
}
