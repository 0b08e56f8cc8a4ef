use burn::config::Config;
use burn::tensor::Tensor;
use osculate_curvature::{ParamEntry, ProbeDistribution};

use super::AdaHessian;
use crate::config::{Check, ConfigError, StepPolicy};
use crate::diagonal::curvature::{CurvatureSource, SourceKind};
use crate::record::StateStore;

/// How the curvature of a matrix (a parameter of rank 2) is averaged.
#[derive(Config, Debug, Copy, PartialEq, Eq)]
pub enum MatrixAveraging {
    /// Every element has its own.
    None,
    /// One mean for each row.
    Row,
    /// One mean for each run of this many consecutive elements; the last run may be shorter.
    Blocks(usize),
}

/// [`AdaHessian`] configuration.
#[derive(Config, Debug)]
pub struct AdaHessianConfig {
    /// Decay of the first moment. Default 0.9.
    #[config(default = 0.9)]
    pub beta_1: f64,
    /// Decay of the second moment, the mean of squared curvature. Default 0.999.
    #[config(default = 0.999)]
    pub beta_2: f64,
    /// Added to the denominator. Default 1e-4.
    #[config(default = 1e-4)]
    pub epsilon: f64,
    /// Decoupled weight decay. Default 0.
    #[config(default = 0.0)]
    pub weight_decay: f64,
    /// Power of the root mean squared curvature in the denominator, from 0 (plain momentum) to 1.
    /// Default 1.
    #[config(default = 1.0)]
    pub hessian_power: f64,
    /// Steps between two Hessian-vector products; the last one is reused between. Default 1.
    #[config(default = 1)]
    pub period: usize,
    /// Averages the curvature of convolution kernels (rank 3 and above) over their spatial
    /// dimensions, all but the first two. Default `true`.
    #[config(default = true)]
    pub spatial_averaging: bool,
    /// How the curvature of matrices is averaged. Default `None`, as in the authors' vision code;
    /// their language code takes `Row` or `Blocks(32)`.
    #[config(default = "MatrixAveraging::None")]
    pub matrix_averaging: MatrixAveraging,
    /// Largest root mean square, over a parameter's elements, of the update before the learning
    /// rate; a larger one is scaled down. A safeguard against parameters with a gradient and no
    /// curvature, whose update is `1 / epsilon` times their gradient. Default: none.
    pub max_update_rms: Option<f64>,
    /// Settings of the step that do not depend on the method.
    #[config(default = "StepPolicy::new()")]
    pub policy: StepPolicy,
}

impl AdaHessianConfig {
    /// Checks the settings.
    ///
    /// # Errors
    /// [`ConfigError`] for a decay outside `[0, 1)`, a power outside `[0, 1]`, a period or block of
    /// 0, a negative or non-finite number, or an invalid policy.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let block = match self.matrix_averaging {
            MatrixAveraging::Blocks(block) => block,
            _ => 1,
        };
        Check::of("AdaHessianConfig")
            .decay("beta_1", self.beta_1)
            .decay("beta_2", self.beta_2)
            .positive("epsilon", self.epsilon)
            .non_negative("weight_decay", self.weight_decay)
            .that(
                (0.0..=1.0).contains(&self.hessian_power),
                "hessian_power",
                self.hessian_power,
                "a number in [0, 1]",
            )
            .that(self.period > 0, "period", self.period, "at least 1")
            .that(block > 0, "matrix_averaging", block, "blocks of at least 1")
            .positive("max_update_rms", self.max_update_rms.unwrap_or(1.0))
            .policy(&self.policy)
            .finish()
    }

    /// Makes the optimizer.
    ///
    /// # Errors
    /// As [`validate`](Self::validate).
    pub fn init(&self) -> Result<AdaHessian, ConfigError> {
        self.validate()?;
        let kind = SourceKind::Hutchinson(ProbeDistribution::Rademacher);
        Ok(AdaHessian {
            config: self.clone(),
            source: CurvatureSource::new(kind),
            state: StateStore::default(),
            steps: 0,
            age: 0,
        })
    }

    /// `|Hz|` averaged within the blocks of a parameter.
    pub(super) fn average(&self, entry: &ParamEntry, curvature: Tensor<1>) -> Tensor<1> {
        let dims = entry.shape.as_slice();
        let n = entry.num_elements();
        let block = match (dims.len(), self.matrix_averaging) {
            (2, MatrixAveraging::Row) => dims[1],
            (2, MatrixAveraging::Blocks(block)) => block,
            (rank, _) if rank > 2 && self.spatial_averaging => dims[2..].iter().product(),
            _ => 1,
        };
        if block <= 1 || n == 0 {
            return curvature;
        }
        let whole = n - n % block;
        let mut parts = Vec::new();
        if whole > 0 {
            parts.push(block_means(curvature.clone().slice(0..whole), block));
        }
        if whole < n {
            parts.push(block_means(curvature.slice(whole..n), n - whole));
        }
        Tensor::cat(parts, 0)
    }
}

/// Replaces every element by the mean of its run of `block` elements.
fn block_means(values: Tensor<1>, block: usize) -> Tensor<1> {
    let n = values.dims()[0];
    values
        .reshape([n / block, block])
        .mean_dim(1)
        .expand([n / block, block])
        .reshape([n])
}
