use burn::config::Config;
use burn::tensor::{DType, Tensor};
use osculate_linalg::{BlockPartition, polar_express, quintic_newton_schulz};

use super::{Field, MatrixRule, Stack, Stepped, matrix_doors};
use crate::config::{Check, ConfigError, StepPolicy};

/// How [`Muon`] orthogonalises.
#[derive(Config, Debug, Copy, PartialEq, Eq)]
pub enum MuonOrthogonalizer {
    /// The polar express: the best polynomial for each step. Singular values come to 1.
    PolarExpress,
    /// The fixed quintic of the reference. Singular values come to about `[0.68, 1.13]`.
    NewtonSchulz,
}

/// How [`Muon`] scales the update of a matrix of `m` rows and `n` columns.
#[derive(Config, Debug, Copy, PartialEq, Eq)]
pub enum MuonScale {
    /// `√max(1, m / n)`, the reference's.
    Shape,
    /// `0.2 √max(m, n)`: the root mean square of an update is about 0.2, as AdamW's is, so AdamW's
    /// learning rates and weight decays can be kept.
    MatchAdam,
}

/// [`Muon`] configuration.
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
    /// Settings of the step that do not depend on the method.
    #[config(default = "StepPolicy::new()")]
    pub policy: StepPolicy,
}

/// Momentum, orthogonalised: `θ = (1 - lr λ) θ - lr s U Vᵀ` for the singular vectors `U Σ Vᵀ` of the
/// averaged gradient.
///
/// ```text
/// m = μ m + (1 - μ) g
/// u = μ m + (1 - μ) g   (Nesterov)   or   m
/// θ = (1 - lr λ) θ - lr s orthogonalised(u)
/// ```
///
/// A parameter of rank 3 or more is a matrix of its first dimension by all others, and is scaled as
/// one (the reference takes the last two dimensions for the scale of a convolution, which are those
/// of its kernel). A vector is a matrix of one column: its update is `u / |u| √n`. Learning rates
/// are about 0.02 with the default scale.
///
/// - Cost: 15 matrix products a step with 5 iterations, on the shorter side.
/// - State: 1 element for each parameter element.
/// - When not to use it: for embeddings, output layers, biases and norms, which it is not made for;
///   [`Hybrid`](crate::Hybrid) gives those another optimizer in one line.
///
/// Source: Jordan et al., *Muon*, <https://kellerjordan.github.io/posts/muon/>; the scale that
/// matches AdamW: Liu et al., <https://arxiv.org/abs/2502.16982>; the polar express: Amsel et al.,
/// <https://arxiv.org/abs/2505.16932>.
///
/// ```
/// use osculate_optim::MuonConfig;
/// let optimizer = MuonConfig::new().with_weight_decay(0.1).stacked()?;
/// # Ok::<(), osculate_optim::ConfigError>(())
/// ```
#[derive(Debug, Clone)]
pub struct Muon {
    config: MuonConfig,
}

const MOMENTUM: &str = "m";

matrix_doors!(MuonConfig, Muon);

impl MuonConfig {
    /// Checks the settings.
    ///
    /// # Errors
    /// [`ConfigError`] for a decay outside `[0, 1)`, no iteration, a negative weight decay, or an
    /// invalid policy.
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
            .policy(&self.policy)
            .finish()
    }

    pub(crate) fn rule(&self) -> Result<Muon, ConfigError> {
        self.validate()?;
        Ok(Muon {
            config: self.clone(),
        })
    }
}

impl Muon {
    fn scale(&self, rows: usize, columns: usize) -> f64 {
        let (m, n) = (rows as f64, columns as f64);
        match self.config.scale {
            MuonScale::Shape => (m / n).max(1.0).sqrt(),
            MuonScale::MatchAdam => 0.2 * m.max(n).sqrt(),
        }
    }

    fn orthogonalized(&self, u: Tensor<3>) -> Tensor<3> {
        match self.config.orthogonalizer {
            MuonOrthogonalizer::PolarExpress => polar_express(u, self.config.iterations),
            MuonOrthogonalizer::NewtonSchulz => quintic_newton_schulz(u, self.config.iterations),
        }
    }
}

impl MatrixRule for Muon {
    const FIELDS: &'static [&'static str] = &[MOMENTUM];

    fn name(&self) -> &'static str {
        "muon"
    }

    fn partition(&self, shape: &[usize]) -> BlockPartition {
        let rows = shape.first().copied().unwrap_or(1);
        let columns = shape.iter().skip(1).product();
        BlockPartition::new(&[rows, columns], usize::MAX)
    }

    fn fields(&self, dims: &[usize], compute: DType) -> Vec<Field> {
        let dtype = if self.config.half_momentum {
            DType::BF16
        } else {
            compute
        };
        vec![Field::new(MOMENTUM, dims.iter().product(), dtype)]
    }

    fn step(&self, stack: Stack<'_>) -> Stepped {
        let (k, rows, columns) = (stack.len(), stack.dims[0], stack.dims[1]);
        let mu = self.config.momentum;
        let fresh = stack.gradient.clone().mul_scalar(1.0 - mu);
        let old = stack.state.first().cloned();
        let m = match old {
            Some(old) => old.mul_scalar(mu) + fresh.clone(),
            None => fresh.clone(),
        };
        let u = if self.config.nesterov {
            m.clone().mul_scalar(mu) + fresh
        } else {
            m.clone()
        };
        let direction = self.orthogonalized(u.reshape([k, rows, columns]));
        let direction = direction.reshape([k, rows * columns]);
        let step = direction.mul_scalar(stack.lr * self.scale(rows, columns));
        let decay = 1.0 - stack.lr * self.config.weight_decay;
        Stepped {
            weights: stack.weights.mul_scalar(decay) - step,
            state: vec![m],
            solves: Vec::new(),
            refreshed: false,
        }
    }
}
