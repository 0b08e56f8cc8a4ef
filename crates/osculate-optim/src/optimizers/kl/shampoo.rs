//! KL-Shampoo: Shampoo whose factors fit the gradient's covariance.

use burn::tensor::DType;
use osculate_linalg::BlockPartition;

use super::adam::{adam_fields, adam_step};
use super::factors::KlFactors;
use super::settings::{KlSettings, kl_configuration};
use crate::config::ConfigError;
use crate::engine::{BlockRule, Field, RefreshSchedule, RuleError, Stack, Stepped, constructors};
use crate::optimizers::kronecker::{FactorSchedule, decompositions, ema, known_unset, unless};
use crate::parameter::Parameter;
use crate::registry::{OptimizerRow, read, to_value};
use crate::weight_decay::WeightDecay;

kl_configuration! {
/// Shampoo whose factors minimise the Kullback-Leibler divergence to the gradient's covariance.
///
/// For a matrix `G` of `[d_L, d_R]`, with `S_L = Q_L Λ_L Q_Lᵀ` and `S_R` alike (other ranks alike, each
/// factor whitened by all others):
///
/// ```text
/// m = β1 m + (1 - β1) G
/// θ = θ - lr Q_L [ (Q_Lᵀ m Q_R) / (√(λ_L λ_Rᵀ) + ε) ] Q_Rᵀ,   θ = (1 - lr λ) θ
/// S_L = β S_L + (1 - β) G S_R^-1 Gᵀ / d_R      S_R = β S_R + (1 - β) Gᵀ S_L^-1 G / d_L
/// λ_L = β λ_L + (1 - β) diag(Q_Lᵀ G S_R^-1 Gᵀ Q_L) / d_R                and λ_R alike
/// ```
///
/// `S_R^-1` is `Q_R Λ_R^-1 Q_Rᵀ` with the basis and eigenvalues at hand. Eigenvalues are estimated in
/// every step; the bases follow every `period` steps, `Q ← qr(S Q)`. Where the covariance of the
/// gradient is `S_L ⊗ S_R`, the factors come to it (up to a scale that goes from one to the other).
/// No grafting is needed. The first gradient of a matrix only makes its factors and moves nothing.
///
/// Dimensions of size 1 are dropped. Vectors and scalars are updated by Adam.
///
/// - Cost of a matrix `[m, n]`: about `8 m n (m + n)` multiplications a step, and a refresh of about
///   `5 (m³ + n³)`, on the host, every `period` steps. One gradient evaluation a step.
/// - State: `1 + 1.5 (m / n + n / m)` elements for each parameter element: 4 for a square matrix, 3
///   with `bf16_bases`.
/// - Learning rate: start at 3e-3, AdamW's, and search downwards: with a true covariance the update
///   has unit elements, before it has one it is up to ten times longer. The study has no figure for it.
/// - When not to use it: where steps are cheap against `m + n` multiplications for each weight; with a
///   rate tuned for Adam that cannot be tuned again.
///
/// Failures of the solver keep the last basis and are counted in the report. Parameters in f16 or
/// bf16 have their state in f32.
///
/// Paper: Lin et al., *Understanding and Improving Shampoo and SOAP via Kullback-Leibler
/// Minimization*, <https://arxiv.org/abs/2509.03378>; defaults and order of operations are the
/// authors' code's.
///
/// ```
/// use burn::nn::{Linear, LinearConfig};
/// use burn::tensor::{Device, Distribution, Tensor};
/// use osculate_optim::{ClosureOptimizer, KlShampooConfig};
///
/// let device = Device::flex().autodiff();
/// device.seed(1);
/// let mut model: Linear = LinearConfig::new(4, 3).init(&device);
/// let x = Tensor::<2>::random([8, 4], Distribution::Default, &device);
/// let loss = |model: &Linear| model.forward(x.clone()).square().mean();
/// let mut optimizer = KlShampooConfig::new().init()?;
/// let mut losses = Vec::new();
/// for _ in 0..10 {
///     let step = optimizer.step(0.01, model, &loss)?;
///     losses.push(step.report.loss());
///     model = step.model;
/// }
/// assert!(losses[9] < losses[0]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
KlShampooConfig, KlShampoo
}

/// The registry's row.
pub(crate) static ROW: OptimizerRow = OptimizerRow {
    name: "kl-shampoo",
    text: "Shampoo with factors fitted by KL",
    learning_rate: 3e-3,
    gradients: 1.0,
    state: "4 on a square matrix, 3 with bases in bf16",
    defaults: || to_value(&KlShampooConfig::new()),
    build: |settings| Ok(read::<KlShampooConfig>(settings, "settings")?.init()?),
};

/// The rule of [`KlShampooConfig`].
#[derive(Debug, Clone)]
pub struct KlShampoo {
    settings: KlSettings,
    schedule: FactorSchedule,
}

impl BlockRule for KlShampoo {
    fn name(&self) -> &'static str {
        "kl-shampoo"
    }

    fn partition(&self, parameter: &Parameter) -> BlockPartition {
        self.settings.partition(&parameter.shape)
    }

    fn fields(&self, dims: &[usize], compute: DType) -> Vec<Field> {
        if !KlSettings::applies(dims) {
            return adam_fields(dims, compute);
        }
        let mut fields = vec![Field::new("m", dims.iter().product(), compute)];
        fields.extend(self.settings.fields(dims, compute));
        fields
    }

    fn refresh_multiplications(&self, dims: &[usize]) -> f64 {
        decompositions(dims, &self.settings.modes(dims))
    }

    fn weight_decay(&self) -> WeightDecay {
        self.settings.decay()
    }

    fn step(&self, stack: &mut Stack<'_>) -> Result<Stepped, RuleError> {
        let settings = &self.settings;
        if !KlSettings::applies(stack.dims) {
            return adam_step(settings, stack);
        }
        let m = stack.state.take("m")?;
        let mut factors = KlFactors::take(settings, stack.dims, &mut stack.state)?;

        let new = ema(m.clone(), stack.gradient.clone(), settings.beta_1);
        let m = unless(&factors.fresh, new, m);
        let root = factors.inverse_roots(&m);
        let root = root.clone() / root.mul_scalar(settings.epsilon).add_scalar(1.0);
        let direction = factors.kronecker.project(m.clone()) * root;
        let direction = factors.kronecker.unproject(direction);

        let projected = factors.kronecker.project(stack.gradient.clone());
        factors.estimate(&stack.gradient, &projected);
        let (changes, solves) = factors.refresh(stack, &self.schedule);
        let hold = factors.fresh.clone();
        stack.state.put("m", m)?;
        factors.put(&mut stack.state)?;
        Ok(Stepped {
            direction,
            hold: (!known_unset(&hold)).then_some(hold),
            solves,
            refreshed: !changes.is_empty(),
            unclipped: None,
        })
    }
}
