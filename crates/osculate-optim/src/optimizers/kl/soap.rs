//! KL-SOAP: Adam in the eigenbases of KL-Shampoo's factors.

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
/// Adam in the eigenbases of KL-Shampoo's factors.
///
/// ```text
/// m = β1 m + (1 - β1) Q_Lᵀ G Q_R          v = β2 v + (1 - β2) (Q_Lᵀ G Q_R)²
/// θ = θ - lr Q_L (m / (√v + ε)) Q_Rᵀ,     θ = (1 - lr λ) θ
/// ```
///
/// Factors, eigenvalues and bases are [`KlShampooConfig`](crate::KlShampooConfig)'s. Unlike
/// [`SoapConfig`](crate::SoapConfig), and as in the authors' code, biases are not corrected and `v` is
/// not put in a new order at a refresh. The first gradient of a matrix only makes its factors and
/// moves nothing.
///
/// Dimensions of size 1 are dropped. Vectors and scalars are updated by Adam.
///
/// - Cost of a matrix `[m, n]`: about `10 m n (m + n)` multiplications a step, and a refresh of about
///   `5 (m³ + n³)`, on the host, every `period` steps. One gradient evaluation a step.
/// - State: `2 + 1.5 (m / n + n / m)` elements for each parameter element: 5 for a square matrix, 4
///   with `bf16_bases`.
/// - Learning rate: start at 3e-3, AdamW's, since a step's elements are as long as Adam's. The study has no figure
///   for it; [`SoapConfig`](crate::SoapConfig) wants more.
/// - When not to use it: where steps are cheap against `m + n` multiplications for each weight.
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
/// use osculate_optim::{ClosureOptimizer, KlSoapConfig};
///
/// let device = Device::flex().autodiff();
/// device.seed(1);
/// let mut model: Linear = LinearConfig::new(4, 3).init(&device);
/// let x = Tensor::<2>::random([8, 4], Distribution::Default, &device);
/// let loss = |model: &Linear| model.forward(x.clone()).square().mean();
/// let mut optimizer = KlSoapConfig::new().init()?;
/// let mut losses = Vec::new();
/// for _ in 0..10 {
///     let step = optimizer.step(0.03, model, &loss)?;
///     losses.push(step.report.loss());
///     model = step.model;
/// }
/// assert!(losses[9] < losses[0]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
KlSoapConfig, KlSoap
}

/// The registry's row.
pub(crate) static ROW: OptimizerRow = OptimizerRow {
    name: "kl-soap",
    text: "SOAP with factors fitted by KL",
    learning_rate: 3e-3,
    gradients: 1.0,
    state: "5 on a square matrix, 4 with bases in bf16",
    defaults: || to_value(&KlSoapConfig::new()),
    build: |settings| Ok(read::<KlSoapConfig>(settings, "settings")?.init()?),
};

/// The rule of [`KlSoapConfig`].
#[derive(Debug, Clone)]
pub struct KlSoap {
    settings: KlSettings,
    schedule: FactorSchedule,
}

impl BlockRule for KlSoap {
    fn name(&self) -> &'static str {
        "kl-soap"
    }

    fn partition(&self, parameter: &Parameter) -> BlockPartition {
        self.settings.partition(&parameter.shape)
    }

    fn fields(&self, dims: &[usize], compute: DType) -> Vec<Field> {
        if !KlSettings::applies(dims) {
            return adam_fields(dims, compute);
        }
        let n = dims.iter().product();
        let moments = ["m", "v"].map(|name| Field::new(name, n, compute));
        let mut fields = moments.to_vec();
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
        let (settings, dims) = (&self.settings, stack.dims);
        if !KlSettings::applies(dims) {
            return adam_step(settings, stack);
        }
        let m = stack.state.take("m")?;
        let v = stack.state.take("v")?;
        let mut factors = KlFactors::take(settings, dims, &mut stack.state)?;

        let projected = factors.kronecker.project(stack.gradient.clone());
        let new = ema(m.clone(), projected.clone(), settings.beta_1);
        let mut m = unless(&factors.fresh, new, m);
        let new = ema(v.clone(), projected.clone().square(), settings.beta_2);
        let v = unless(&factors.fresh, new, v);
        let direction = m.clone() / v.clone().sqrt().add_scalar(settings.epsilon);
        let direction = factors.kronecker.unproject(direction);

        factors.estimate(&stack.gradient, &projected);
        let (changes, solves) = factors.refresh(stack, &self.schedule);
        for change in &changes {
            m = change.rotate(m, dims);
        }
        let hold = factors.fresh.clone();
        stack.state.put("m", m)?;
        stack.state.put("v", v)?;
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
