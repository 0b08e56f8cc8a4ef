use burn::config::Config;
use burn::tensor::DType;
use osculate_linalg::BlockPartition;

use super::kl::{FIELDS, KlSettings, adam_fields, adam_step};
use super::kronecker::{ema, unless};
use super::matrix_doors;
use super::rule::{Field, MatrixRule, Stack, Stepped};
use super::schedule::{Refresh, RefreshSchedule};
use crate::config::{Check, ConfigError, StepPolicy};

/// [`KlSoap`] configuration.
#[derive(Config, Debug)]
pub struct KlSoapConfig {
    /// Decay of the first moment. Default 0.9.
    #[config(default = 0.9)]
    pub beta_1: f64,
    /// Decay of the second moment. Default 0.98.
    #[config(default = 0.98)]
    pub beta_2: f64,
    /// Added to the root of the second moment. Default 1e-8.
    #[config(default = 1e-8)]
    pub epsilon: f64,
    /// Weight decay, `θ ← (1 - lr λ) θ` after the update. Default 0.01.
    #[config(default = 0.01)]
    pub weight_decay: f64,
    /// When the eigenbases are refreshed. Default every 10 steps.
    #[config(default = "RefreshSchedule::Every { period: 10 }")]
    pub refresh: RefreshSchedule,
    /// Lets blocks and their factors take turns at the refresh, so that no step bears all of it.
    /// Default `true`; the authors refresh all in one step.
    #[config(default = true)]
    pub staggered: bool,
    /// Decay of the Kronecker factors and their eigenvalues. Default: `beta_2`.
    pub factor_beta: Option<f64>,
    /// The eigenvalues before the first estimate. Default 0.1.
    #[config(default = 0.1)]
    pub initial_eigenvalue: f64,
    /// Largest inverse root of an eigenvalue. It is lowered to the dimension, and not below 10.
    /// Default 4000.
    #[config(default = 4000.0)]
    pub clamp: f64,
    /// Longest dimension with a factor; longer ones have eigenvalues alone, a diagonal factor.
    /// Default 10000.
    #[config(default = 10000)]
    pub max_dim: usize,
    /// Merges dimensions, from the back and while their product is at most `max_dim`, until so
    /// many are left. Default 3.
    #[config(default = 3)]
    pub target_rank: usize,
    /// Cuts parameters into blocks of at most this size along each dimension. Default: none.
    pub block_size: Option<usize>,
    /// Keeps the eigenbases in bf16. Default `false`.
    #[config(default = false)]
    pub bf16_bases: bool,
    /// Settings of the step that do not depend on the method.
    #[config(default = "StepPolicy::new()")]
    pub policy: StepPolicy,
}

/// Adam in the eigenbases of KL-Shampoo's factors.
///
/// ```text
/// m = β1 m + (1 - β1) Q_Lᵀ G Q_R          v = β2 v + (1 - β2) (Q_Lᵀ G Q_R)²
/// θ = θ - lr Q_L (m / (√v + ε)) Q_Rᵀ,     θ = (1 - lr λ) θ
/// ```
///
/// Factors, eigenvalues and bases are [`KlShampoo`](crate::KlShampoo)'s. Unlike
/// [`Soap`](crate::Soap), and as in the authors' code, biases are not corrected and `v` is not put
/// in a new order at a refresh. The first gradient of a matrix only makes its factors and moves
/// nothing.
///
/// Dimensions of size 1 are dropped. Vectors and scalars are updated by Adam.
///
/// - Cost of a matrix `[m, n]`: about `10 m n (m + n)` multiplications a step, and a refresh of about
///   `5 (m³ + n³)`, on the host, every `period` steps.
/// - State: `2 + 1.5 (m / n + n / m)` elements for each parameter element: 5 for a square matrix, 4
///   with `bf16_bases`.
/// - When not to use it: as for [`Soap`](crate::Soap).
///
/// Failures of the solver keep the last basis and are counted in the report. Parameters in f16 or
/// bf16 have their state in f32.
///
/// Paper: Lin et al., *Understanding and Improving Shampoo and SOAP via Kullback-Leibler
/// Minimization*, <https://arxiv.org/abs/2509.03378>; defaults and order of operations are the
/// authors' code's.
///
/// ```
/// use osculate_optim::KlSoapConfig;
/// let optimizer = KlSoapConfig::new().with_bf16_bases(true).stacked()?;
/// # Ok::<(), osculate_optim::ConfigError>(())
/// ```
#[derive(Debug, Clone)]
pub struct KlSoap {
    config: KlSoapConfig,
    settings: KlSettings,
    refresh: Refresh,
}

impl KlSoapConfig {
    /// Checks the settings.
    ///
    /// # Errors
    /// [`ConfigError`] for a decay outside `[0, 1)`, a period, block or rank of 0, a negative or
    /// non-finite number, or an invalid policy.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let check = Check::of("KlSoapConfig")
            .decay("beta_1", self.beta_1)
            .decay("beta_2", self.beta_2)
            .non_negative("epsilon", self.epsilon)
            .non_negative("weight_decay", self.weight_decay)
            .policy(&self.policy);
        let check = self.settings().check(check);
        self.refresh.check(check).finish()
    }

    fn settings(&self) -> KlSettings {
        KlSettings {
            beta: self.factor_beta.unwrap_or(self.beta_2),
            initial_eigenvalue: self.initial_eigenvalue,
            clamp: self.clamp,
            max_dim: self.max_dim,
            target_rank: self.target_rank,
            block_size: self.block_size,
            staggered: self.staggered,
            bf16_bases: self.bf16_bases,
        }
    }

    fn rule(&self) -> Result<KlSoap, ConfigError> {
        self.validate()?;
        Ok(KlSoap {
            config: self.clone(),
            settings: self.settings(),
            refresh: Refresh::new(self.refresh),
        })
    }
}

matrix_doors!(KlSoapConfig, KlSoap);

impl MatrixRule for KlSoap {
    const FIELDS: &'static [&'static str] = &FIELDS;

    fn name(&self) -> &'static str {
        "kl-soap"
    }

    fn partition(&self, shape: &[usize]) -> BlockPartition {
        self.settings.partition(shape)
    }

    fn fields(&self, dims: &[usize], compute: DType) -> Vec<Field> {
        let mut fields = adam_fields(dims, compute);
        if KlSettings::applies(dims) {
            fields.pop();
            fields.extend(self.settings.fields(dims, compute));
        }
        fields
    }

    fn step(&self, mut stack: Stack<'_>) -> Stepped {
        let KlSoapConfig {
            beta_1,
            beta_2,
            epsilon,
            weight_decay,
            ..
        } = self.config;
        if !KlSettings::applies(stack.dims) {
            return adam_step(stack, [beta_1, beta_2], epsilon, weight_decay);
        }
        let mut state = std::mem::take(&mut stack.state).into_iter();
        let mut next = || state.next().unwrap_or_else(|| stack.gradient.zeros_like());
        let (m, v) = (next(), next());
        let mut factors = self.settings.take(stack.dims, &mut state);

        let projected = factors.kronecker.project(stack.gradient.clone());
        let mut m = unless(&factors.fresh, ema(m.clone(), projected.clone(), beta_1), m);
        let v = unless(
            &factors.fresh,
            ema(v.clone(), projected.square(), beta_2),
            v,
        );
        let update = m.clone() / v.clone().sqrt().add_scalar(epsilon);
        let update = factors.kronecker.unproject(update);
        let weights = stack.weights.clone() - update.mul_scalar(stack.lr);
        let weights = weights.mul_scalar(1.0 - stack.lr * weight_decay);
        let weights = unless(&factors.fresh, weights, stack.weights.clone());

        factors.estimate(&stack.gradient);
        let (turns, solves) = factors.refresh(&stack, &self.refresh);
        for turn in &turns {
            m = turn.rotate(m, stack.dims);
        }
        let mut state = vec![m, v];
        state.extend(factors.into_state());
        Stepped {
            weights,
            state,
            solves,
            refreshed: !turns.is_empty(),
        }
    }
}
