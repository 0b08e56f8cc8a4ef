use burn::config::Config;
use burn::tensor::DType;
use osculate_linalg::BlockPartition;

use super::geometry::PsgdGeometry;
use super::kron::{PsgdKron, PsgdKronConfig};
use super::precondition::PsgdFit;
use crate::config::{ConfigError, StepPolicy};
use crate::matrix::{Field, MatrixRule, RefreshSchedule, Stack, Stepped, matrix_doors};

/// [`PsgdDiagonal`] configuration.
#[derive(Config, Debug)]
pub struct PsgdDiagonalConfig {
    /// What is fitted. Default `Whitening`, the gradient.
    #[config(default = "PsgdFit::Whitening")]
    pub fit: PsgdFit,
    /// Decay of the gradient's average; 0 for none. Default 0.9.
    #[config(default = 0.9)]
    pub momentum: f64,
    /// Step size of the preconditioner's own descent. Default 0.1.
    #[config(default = 0.1)]
    pub lr_preconditioner: f64,
    /// Decay of the Lipschitz bound of that descent. Default 0.9.
    #[config(default = 0.9)]
    pub lipschitz_decay: f64,
    /// Standard deviation of the noise on the fitted gradient, which bounds `P` by its inverse.
    /// 0 for none. Default 1e-9.
    #[config(default = 1e-9)]
    pub damping: f64,
    /// Scale of the first `Q`, a multiple of the identity; measured on the first gradient that is
    /// not zero for `None`. Default `None`.
    pub init_scale: Option<f64>,
    /// In which steps the preconditioner is updated. Default: in all.
    #[config(default = "RefreshSchedule::ALWAYS")]
    pub schedule: RefreshSchedule,
    /// Updates the preconditioner before it is applied to the same gradient. Default `true`.
    #[config(default = true)]
    pub update_first: bool,
    /// Largest root mean square of a preconditioned block. Default 2.
    #[config(default = "Some(2.0)")]
    pub clip_rms: Option<f64>,
    /// Largest magnitude of an element of it. Default 10.
    #[config(default = "Some(10.0)")]
    pub clip_element: Option<f64>,
    /// Decoupled weight decay, applied before the step. Default 0.
    #[config(default = 0.0)]
    pub weight_decay: f64,
    /// Settings of the step that do not depend on the method.
    #[config(default = "StepPolicy::new()")]
    pub policy: StepPolicy,
}

/// PSGD with a diagonal preconditioner: `P = diag(q²)`, fitted by
/// `q = q (1 - (lr_preconditioner / L) ((P h)² - v²))`.
///
/// With Newton's pairs `P` becomes `1 / abs` of the Hessian's diagonal where the Hessian is
/// diagonal. Whitening makes every element's root mean square 1, as Adam does, by multiplicative
/// steps instead of an average of squares.
///
/// - Cost of a step: a few passes over the parameter. Newton adds 2 gradient evaluations where an
///   update is due.
/// - State: 2 elements for each parameter element, 1 without momentum.
/// - When not to use it: it is the baseline of its family; matrices gain by
///   [`PsgdKron`](crate::PsgdKron).
///
/// Paper: Li, *Preconditioned stochastic gradient descent*, <https://arxiv.org/abs/1512.04202>.
///
/// ```
/// use osculate_optim::PsgdDiagonalConfig;
/// let optimizer = PsgdDiagonalConfig::new().stacked()?;
/// # Ok::<(), osculate_optim::ConfigError>(())
/// ```
#[derive(Debug, Clone)]
pub struct PsgdDiagonal {
    /// A Kronecker product of one factor, which is diagonal.
    kron: PsgdKron,
}

matrix_doors!(PsgdDiagonalConfig, PsgdDiagonal);

impl PsgdDiagonalConfig {
    /// Checks the settings.
    ///
    /// # Errors
    /// [`ConfigError`] for a decay outside `[0, 1)`, a negative or non-finite number, or an invalid
    /// schedule or policy.
    pub fn validate(&self) -> Result<(), ConfigError> {
        self.rule().map(|_| ())
    }

    pub(crate) fn rule(&self) -> Result<PsgdDiagonal, ConfigError> {
        let mut config = PsgdKronConfig::new();
        config.fit = self.fit;
        config.geometry = PsgdGeometry::Qeq;
        config.momentum = self.momentum;
        config.lr_preconditioner = self.lr_preconditioner;
        config.lipschitz_decay = self.lipschitz_decay;
        config.damping = self.damping;
        config.init_scale = self.init_scale;
        config.max_skew = 0.0;
        config.schedule = self.schedule;
        config.update_first = self.update_first;
        config.clip_rms = self.clip_rms;
        config.clip_element = self.clip_element;
        config.weight_decay = self.weight_decay;
        config.policy = self.policy.clone();
        let kron = config.rule().map_err(|error| ConfigError {
            config: "PsgdDiagonalConfig",
            ..error
        })?;
        Ok(PsgdDiagonal { kron })
    }
}

impl MatrixRule for PsgdDiagonal {
    const FIELDS: &'static [&'static str] = PsgdKron::FIELDS;

    fn name(&self) -> &'static str {
        "psgd-diagonal"
    }

    fn partition(&self, shape: &[usize]) -> BlockPartition {
        let n = shape.iter().product();
        BlockPartition::new(&[n], usize::MAX)
    }

    fn fields(&self, dims: &[usize], compute: DType) -> Vec<Field> {
        self.kron.fields(dims, compute)
    }

    fn wants_product(&self, step: u64) -> bool {
        self.kron.wants_product(step)
    }

    fn step(&self, stack: Stack<'_>) -> Stepped {
        self.kron.step(stack)
    }
}
