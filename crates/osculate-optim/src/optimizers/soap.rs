//! SOAP: Adam in the eigenbasis of Shampoo's factors.

use burn::config::Config;
use burn::tensor::{DType, Tensor};
use osculate_linalg::{BlockPartition, MergeFrom, OrthogonalIterationConfig, merge_dims};

use super::kronecker::{
    BasisSolver, FactorSchedule, Kronecker, decompositions, ema, factored_modes, known_unset,
    shortest, unless,
};
use crate::config::{Check, ConfigError};
use crate::engine::{BlockRule, Field, RefreshSchedule, RuleError, Stack, Stepped, constructors};
use crate::parameter::Parameter;
use crate::registry::{OptimizerRow, read, to_value};
use crate::weight_decay::{DecayForm, WeightDecay};

/// Adam in the eigenbases of Shampoo's factors.
///
/// For a matrix `G` with the bases `Q_L`, `Q_R`, all other ranks alike:
///
/// ```text
/// G' = Q_Lᵀ G Q_R
/// m = β1 m + (1 - β1) G'          v = β2 v + (1 - β2) G'²
/// θ = θ - lr √(1 - β2^t) / (1 - β1^t) Q_L (m / (√v + ε)) Q_Rᵀ,   θ = (1 - lr λ) θ
/// L = β L + (1 - β) G Gᵀ          R = β R + (1 - β) Gᵀ G
/// ```
///
/// Every `period` steps the columns of each `Q` are put in descending order of `Qᵀ S Q`, `v` with
/// them, and `Q ← qr(S Q)`; `m` is taken to the new basis and `v` is not, which is SOAP's known
/// approximation. The first gradient of a block with a factor only makes the factors and their
/// eigenbases (by a full decomposition) and moves nothing: in its own eigenbasis it would be
/// diagonal, and the next step enormous.
///
/// Dimensions of size 1 are dropped. Blocks without a factor, vectors and scalars by default, are
/// updated by Adam, from their first gradient on.
///
/// - Cost of a matrix `[m, n]`: `6 m n (m + n)` multiplications a step, and a refresh of about
///   `5 (m³ + n³)`, on the host, every `period` steps. One gradient evaluation a step.
/// - State: `2 + 1.5 (m / n + n / m)` elements for each parameter element, the factors packed: 5 for
///   a square matrix, 4 with `bf16_bases`.
/// - Learning rate: start at 1e-2, 3 times AdamW's usual 3e-3, at which it is poor on small networks; the
///   elements of a step are as long as Adam's. In the study of `docs/study` its best rate was AdamW's best on the
///   same workload (median of eight; 0.1 to 3.2 times).
/// - When not to use it: where steps are cheap against `m + n` multiplications for each weight. Of a
///   matrix 16 times longer than wide, and longer than 1024, only the short side is rotated (`max_skew`).
///
/// Failures of the solver keep the last basis and are counted in the report. Parameters in f16 or
/// bf16 have their state in f32.
///
/// Paper: Vyas et al., *SOAP*, <https://arxiv.org/abs/2409.11321>; defaults and order of operations
/// are the authors' code's.
///
/// ```
/// use burn::nn::{Linear, LinearConfig};
/// use burn::tensor::{Device, Distribution, Tensor};
/// use osculate_optim::{ClosureOptimizer, SoapConfig};
///
/// let device = Device::flex().autodiff();
/// device.seed(1);
/// let mut model: Linear = LinearConfig::new(4, 3).init(&device);
/// let x = Tensor::<2>::random([8, 4], Distribution::Default, &device);
/// let loss = |model: &Linear| model.forward(x.clone()).square().mean();
/// let mut optimizer = SoapConfig::new().init()?;
/// let mut losses = Vec::new();
/// for _ in 0..10 {
///     let step = optimizer.step(0.03, model, &loss)?;
///     losses.push(step.report.loss());
///     model = step.model;
/// }
/// assert!(losses[9] < losses[0]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Config, Debug)]
pub struct SoapConfig {
    /// Decay of the first moment. Default 0.95.
    #[config(default = 0.95)]
    pub beta_1: f64,
    /// Decay of the second moment. Default 0.95.
    #[config(default = 0.95)]
    pub beta_2: f64,
    /// Decay of the Kronecker factors. Default: that of the second moment.
    pub factor_beta: Option<f64>,
    /// Added to the root of the second moment, before its bias is corrected. Default 1e-8.
    #[config(default = 1e-8)]
    pub epsilon: f64,
    /// Weight decay, `θ ← (1 - lr λ) θ` after the update. Default 0.01.
    #[config(default = 0.01)]
    pub weight_decay: f64,
    /// Corrects the bias of both moments. Default `true`.
    #[config(default = true)]
    pub bias_correction: bool,
    /// When the eigenbases are refreshed. Default every 10 steps.
    #[config(default = "RefreshSchedule::Every { period: 10 }")]
    pub refresh: RefreshSchedule,
    /// Lets blocks and their factors take turns at the refresh, so that no step bears all of it.
    /// Default `true`; the authors refresh all in one step.
    #[config(default = true)]
    pub staggered: bool,
    /// Leaves a basis as it is where the factor's off-diagonal part in it is at most this fraction
    /// of the whole. Default: none.
    pub tolerance: Option<f64>,
    /// Longest dimension that is rotated; longer ones keep the identity basis. Default 10000.
    #[config(default = 10000)]
    pub max_dim: usize,
    /// A dimension `d` of more than 1024 keeps the identity basis where `d²` is more than so many times
    /// the elements of its block, as in embeddings and output layers of many rows: its basis would cost
    /// more than all else. Default 16.
    #[config(default = 16.0)]
    pub max_skew: f64,
    /// Merges neighbouring dimensions from the front, up to `max_dim`. Default `false`.
    #[config(default = false)]
    pub merge_dims: bool,
    /// Cuts parameters into blocks of at most this size along each dimension. Default: none.
    pub block_size: Option<usize>,
    /// Rotates parameters of one dimension too, which are updated by Adam otherwise. Default
    /// `false`.
    #[config(default = false)]
    pub precondition_1d: bool,
    /// Rotates only the shortest dimension. Default `false`.
    #[config(default = false)]
    pub one_sided: bool,
    /// Divides the update of each block by its root mean square. Default `false`.
    #[config(default = false)]
    pub normalize: bool,
    /// Keeps the eigenbases in bf16. Default `false`.
    #[config(default = false)]
    pub bf16_bases: bool,
}

impl SoapConfig {
    /// Checks the settings.
    ///
    /// # Errors
    /// [`ConfigError`] for a decay outside `[0, 1)`, a period or block of 0, or a negative or
    /// non-finite number.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let block = self.block_size.unwrap_or(1);
        let check = Check::of("SoapConfig")
            .decay("beta_1", self.beta_1)
            .decay("beta_2", self.beta_2)
            .decay("factor_beta", self.factor_beta.unwrap_or(0.0))
            .positive("epsilon", self.epsilon)
            .non_negative("weight_decay", self.weight_decay)
            .non_negative("tolerance", self.tolerance.unwrap_or(0.0))
            .non_negative("max_skew", self.max_skew)
            .that(block > 0, "block_size", block, "at least 1");
        self.refresh.check(check).finish()
    }

    /// The rule, for [`Driver::of_blocks`](crate::Driver::of_blocks) or
    /// [`PerParameter`](crate::PerParameter).
    ///
    /// # Errors
    /// As [`validate`](Self::validate).
    pub fn rule(&self) -> Result<Soap, ConfigError> {
        self.validate()?;
        Ok(Soap {
            config: self.clone(),
            schedule: FactorSchedule::new(self.refresh, self.staggered),
        })
    }
}

constructors!(SoapConfig);

/// The registry's row.
pub(crate) static ROW: OptimizerRow = OptimizerRow {
    name: "soap",
    text: "Adam in Shampoo's eigenbasis",
    learning_rate: 1e-2,
    gradients: 1.0,
    state: "5 on a square matrix, 4 with bases in bf16",
    defaults: || to_value(&SoapConfig::new()),
    build: |settings| Ok(read::<SoapConfig>(settings, "settings")?.init()?),
};

/// The rule of [`SoapConfig`].
#[derive(Debug, Clone)]
pub struct Soap {
    config: SoapConfig,
    schedule: FactorSchedule,
}

impl BlockRule for Soap {
    fn name(&self) -> &'static str {
        "soap"
    }

    fn partition(&self, parameter: &Parameter) -> BlockPartition {
        let limit = if self.config.merge_dims {
            self.config.max_dim
        } else {
            1
        };
        let dims = merge_dims(&parameter.shape, limit, MergeFrom::Front, 1);
        BlockPartition::new(&dims, self.config.block_size.unwrap_or(usize::MAX))
    }

    fn fields(&self, dims: &[usize], compute: DType) -> Vec<Field> {
        let n = dims.iter().product();
        let basis = if self.config.bf16_bases {
            DType::BF16
        } else {
            compute
        };
        let mut fields = vec![
            Field::new("m", n, compute),
            Field::new("v", n, compute),
            // The moving averages of the constant 1 by which both moments and the factors are to be
            // divided: `1 - β^t` over the steps that the block took part in.
            Field::new("bias", 3, compute),
        ];
        fields.extend(Kronecker::fields(dims, &self.modes(dims), compute, basis));
        fields
    }

    fn refresh_multiplications(&self, dims: &[usize]) -> f64 {
        decompositions(dims, &self.modes(dims))
    }

    fn weight_decay(&self) -> WeightDecay {
        WeightDecay::new(self.config.weight_decay, DecayForm::After)
    }

    fn step(&self, stack: &mut Stack<'_>) -> Result<Stepped, RuleError> {
        let config = &self.config;
        let dims = stack.dims;
        let m = stack.state.take("m")?;
        let v = stack.state.take("v")?;
        let bias = stack.state.take("bias")?;
        let mut kronecker = Kronecker::take(dims, self.modes(dims), &mut stack.state)?;

        let factor_beta = config.factor_beta.unwrap_or(config.beta_2);
        let column = |at: usize| bias.clone().narrow(1, at, 1);
        let [m_bias, v_bias, factor_bias] = [0, 1, 2].map(column);
        // A block whose factors are empty makes them of this gradient and does not move.
        let fresh = (!kronecker.modes.is_empty()).then(|| factor_bias.clone().equal_elem(0.0));
        let fresh = fresh.filter(|fresh| !known_unset(fresh));
        let moved = |new: Tensor<2>, old: Tensor<2>| match &fresh {
            Some(fresh) => unless(fresh, new, old),
            None => new,
        };
        let one = factor_bias.ones_like();
        let projected = kronecker.project(stack.gradient.clone());
        let mut m = moved(ema(m.clone(), projected.clone(), config.beta_1), m);
        let mut v = moved(ema(v.clone(), projected.square(), config.beta_2), v);
        let m_bias = moved(ema(m_bias.clone(), one.clone(), config.beta_1), m_bias);
        let v_bias = moved(ema(v_bias.clone(), one.clone(), config.beta_2), v_bias);
        let factor_bias = ema(factor_bias, one, factor_beta);

        let direction = m.clone() / v.clone().sqrt().add_scalar(config.epsilon);
        let mut direction = kronecker.unproject(direction);
        if config.normalize {
            let rms = direction.clone().square().mean_dim(1).sqrt();
            direction = direction / rms.add_scalar(1e-30);
        }
        if config.bias_correction {
            let correction = v_bias.clone().sqrt() / m_bias.clone();
            // 0 / 0 in a block that has not moved yet: its direction stays 0.
            let correction = moved(correction, m_bias.clone());
            direction = direction * correction;
        }

        kronecker.accumulate(&stack.gradient, factor_beta, 1.0 - factor_beta);
        let solver = if stack.step == 0 {
            BasisSolver::EighDescending
        } else {
            BasisSolver::Iteration(OrthogonalIterationConfig::default())
        };
        let due = |factor, factors| self.schedule.due(stack.rows, stack.step, factor, factors);
        let (changes, solves) = kronecker.refresh(due, solver, config.tolerance);
        for change in &changes {
            m = change.rotate(m, dims);
            v = change.reorder(v, dims);
        }

        stack.state.put("m", m)?;
        stack.state.put("v", v)?;
        let bias = Tensor::cat(vec![m_bias, v_bias, factor_bias], 1);
        stack.state.put("bias", bias)?;
        kronecker.put(&mut stack.state)?;
        Ok(Stepped {
            direction,
            hold: fresh,
            solves,
            refreshed: !changes.is_empty(),
            unclipped: None,
        })
    }
}

impl Soap {
    /// The modes of a block that are rotated.
    fn modes(&self, dims: &[usize]) -> Vec<usize> {
        let max = self.config.max_dim;
        let modes = match dims {
            &[d] if self.config.precondition_1d && d > 1 && d <= max => vec![0],
            _ => factored_modes(dims, max, self.config.max_skew),
        };
        if self.config.one_sided {
            shortest(dims, modes)
        } else {
            modes
        }
    }
}
