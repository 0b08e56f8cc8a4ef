//! AdaHessian: Adam with curvature in the place of the squared gradient.

mod averaging;

pub use averaging::{MatrixAveraging, TemporalAveraging};

use burn::config::Config;
use burn::tensor::{Bool, DType, Tensor};
use osculate_linalg::BlockPartition;

use super::kronecker::{ema, unless};
use crate::config::{Check, ConfigError};
use crate::curvature::{CurvatureSource, Hutchinson};
use crate::engine::{BlockRule, Field, RuleError, Stack, StackedCurvature, Stepped, constructors};
use crate::parameter::Parameter;
use crate::registry::{OptimizerRow, read, to_value};
use crate::weight_decay::{DecayForm, WeightDecay};

/// Adam with curvature in the place of the squared gradient.
///
/// At step `t`, with one Rademacher probe `z` and `D` the average of `|H z|` within a block:
///
/// ```text
/// m = β1 m + (1 - β1) g
/// v = β2 v + (1 - β2) D²
/// u = m̂ / ((√v̂)^k + ε),   m̂ = m / (1 - β1^t),  v̂ = v / (1 - β2^t)
/// θ = θ - lr (u + λ θ)
/// ```
///
/// As in the authors' code, and unlike their paper, absolute values are averaged, not signed ones:
/// for a full Hessian `|H z|_i` is of the size of the norm of row `i`.
///
/// - Learning rate: 0.05 on small networks, 17 times AdamW's 3e-3: rates are those of SGD rather than
///   of Adam. In the study of `docs/study` its best rate was 5.3 times AdamW's best on the same workload (median
///   of eight; 1.7 to 53 times). The authors take 0.15 for image classification.
/// - Cost: 3 gradient evaluations a step, `1 + 2 / period` on average with a longer period.
/// - State: 2 elements for each parameter element, 3 with a period above 1 unless moments are lazy; two
///   or three numbers for each parameter besides.
/// - Defaults: the authors' code for image classification.
/// - When not to use it: where gradients are the bottleneck; with a plain loss on a network with kinks
///   (ReLU, max pooling), which inflate `|H z|` by finite differences. Where the objective has outputs,
///   Gauss-Newton products stand in for those: [`Hutchinson`].
///
/// Curvature is asked for in every `period`-th step of the optimizer. A parameter whose estimate is not
/// finite goes on with its last one. A parameter that has none yet stands still, with its state as it
/// was, until the next refresh: one whose estimates were never finite, or one that joined the model
/// between two refreshes.
///
/// Paper: Yao et al., *ADAHESSIAN*, <https://arxiv.org/abs/2006.00719>.
///
/// ```
/// use burn::nn::{Linear, LinearConfig};
/// use burn::tensor::{Device, Distribution, Tensor};
/// use osculate_optim::{AdaHessianConfig, ClosureOptimizer};
///
/// let device = Device::flex().autodiff();
/// device.seed(1);
/// let mut model: Linear = LinearConfig::new(4, 3).init(&device);
/// let x = Tensor::<2>::random([8, 4], Distribution::Default, &device);
/// let loss = |model: &Linear| model.forward(x.clone()).square().mean();
/// let mut optimizer = AdaHessianConfig::new().with_period(5).init()?;
/// let mut losses = Vec::new();
/// for _ in 0..10 {
///     let step = optimizer.step(0.05, model, &loss)?;
///     losses.push(step.report.loss());
///     model = step.model;
/// }
/// assert!(losses[9] < losses[0]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
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
    /// Power of the averaged curvature in the denominator, from 0 (plain momentum) to 1. Default 1.
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
    /// How curvature is averaged from step to step. Default `RootMeanSquare`.
    #[config(default = "TemporalAveraging::RootMeanSquare")]
    pub temporal_averaging: TemporalAveraging,
    /// Updates the second moment in the steps with new curvature only, so that its bias is corrected for
    /// refreshes, not steps; otherwise every step takes the last curvature in once more. Default `false`.
    #[config(default = false)]
    pub lazy_moment: bool,
    /// Largest root mean square, over a parameter's elements, of the update before the learning
    /// rate; a larger one is scaled down. A safeguard against parameters with a gradient and no
    /// curvature, whose update is `1 / epsilon` times their gradient. Default: none.
    pub max_update_rms: Option<f64>,
}

impl AdaHessianConfig {
    /// Checks the settings.
    ///
    /// # Errors
    /// [`ConfigError`] for a decay outside `[0, 1)`, a power outside `[0, 1]`, a period or block of
    /// 0, or a negative or non-finite number.
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
            .finish()
    }

    /// The rule, for [`Driver::of_blocks`](crate::Driver::of_blocks) or
    /// [`PerParameter`](crate::PerParameter).
    ///
    /// # Errors
    /// As [`validate`](Self::validate).
    pub fn rule(&self) -> Result<AdaHessian, ConfigError> {
        self.validate()?;
        Ok(AdaHessian {
            config: self.clone(),
        })
    }
}

constructors!(AdaHessianConfig);

/// The registry's row.
pub(crate) static ROW: OptimizerRow = OptimizerRow {
    name: "adahessian",
    text: "Adam with Hutchinson's curvature",
    learning_rate: 5e-2,
    gradients: 3.0,
    state: "2, or 3 with a period",
    defaults: || to_value(&AdaHessianConfig::new()),
    build: |settings| Ok(read::<AdaHessianConfig>(settings, "settings")?.init()?),
};

/// The rule of [`AdaHessianConfig`].
#[derive(Debug, Clone)]
pub struct AdaHessian {
    config: AdaHessianConfig,
}

const NAME: &str = "adahessian";
const FIRST_MOMENT: &str = "m";
const SECOND_MOMENT: &str = "v";
/// The moving averages of the constant 1, by which the moments are divided: `1 - β^t`, where `t`
/// counts the updates of this block's moment.
const FIRST_WEIGHT: &str = "m_weight";
const SECOND_WEIGHT: &str = "v_weight";
/// The last curvature, kept only where it is reused.
const CURVATURE: &str = "curvature";
/// One where there is a last curvature, zero where every estimate so far was not finite.
const CURVATURE_KNOWN: &str = "curvature_known";

impl BlockRule for AdaHessian {
    fn name(&self) -> &'static str {
        NAME
    }

    fn partition(&self, parameter: &Parameter) -> BlockPartition {
        match parameter.shape.as_slice() {
            [] => BlockPartition::new(&[1], usize::MAX),
            dims => BlockPartition::new(dims, usize::MAX),
        }
    }

    fn fields(&self, dims: &[usize], compute: DType) -> Vec<Field> {
        let n = dims.iter().product();
        let mut fields = vec![
            Field::new(FIRST_MOMENT, n, compute),
            Field::new(SECOND_MOMENT, n, compute),
            Field::new(FIRST_WEIGHT, 1, compute),
            Field::new(SECOND_WEIGHT, 1, compute),
        ];
        if self.keeps_curvature() {
            fields.push(Field::new(CURVATURE, n, compute));
            fields.push(Field::new(CURVATURE_KNOWN, 1, compute));
        }
        fields
    }

    fn wants_curvature(&self, step: u64) -> bool {
        step.is_multiple_of(self.config.period as u64)
    }

    fn curvature_source(&self) -> Option<Box<dyn CurvatureSource>> {
        Some(Box::new(Hutchinson::rademacher()))
    }

    fn weight_decay(&self) -> WeightDecay {
        WeightDecay::new(self.config.weight_decay, DecayForm::Together)
    }

    fn is_oriented(&self) -> bool {
        self.config.matrix_averaging != MatrixAveraging::None
    }

    fn step(&self, stack: &mut Stack<'_>) -> Result<Stepped, RuleError> {
        let AdaHessianConfig { beta_1, beta_2, .. } = self.config;
        let refreshed = stack.curvature.is_some();
        let m_old = stack.state.take(FIRST_MOMENT)?;
        let m_weight_old = stack.state.take(FIRST_WEIGHT)?;
        let mut v = stack.state.take(SECOND_MOMENT)?;
        let mut v_weight = stack.state.take(SECOND_WEIGHT)?;
        let one = m_weight_old.ones_like();

        let Curvature { value, missing } = self.curvature(stack)?;
        if let Some(value) = value {
            let value = match self.config.temporal_averaging {
                TemporalAveraging::RootMeanSquare => value.square(),
                TemporalAveraging::Mean => value,
            };
            v = unless_any(missing.as_ref(), ema(v.clone(), value, beta_2), v);
            let weight = ema(v_weight.clone(), one.clone(), beta_2);
            v_weight = unless_any(missing.as_ref(), weight, v_weight);
        }
        let held = if self.config.lazy_moment && !(refreshed && missing.is_none()) {
            Some(v_weight.clone().equal_elem(0.0))
        } else {
            missing
        };

        let m = ema(m_old.clone(), stack.gradient.clone(), beta_1);
        let m = unless_any(held.as_ref(), m, m_old);
        let m_weight = ema(m_weight_old.clone(), one, beta_1);
        let m_weight = unless_any(held.as_ref(), m_weight, m_weight_old);
        let mut direction =
            m.clone() / m_weight.clone() / self.denominator(v.clone() / v_weight.clone());
        if let Some(held) = &held {
            // A block without moments divides 0 by 0.
            let held = held.clone().expand(direction.dims());
            direction = direction.mask_fill(held, 0.0);
        }
        if let Some(limit) = self.config.max_update_rms {
            let rms = direction.clone().square().mean_dim(1).sqrt();
            direction = direction * rms.recip().mul_scalar(limit).clamp_max(1.0);
        }
        stack.state.put(FIRST_MOMENT, m)?;
        stack.state.put(SECOND_MOMENT, v)?;
        stack.state.put(FIRST_WEIGHT, m_weight)?;
        stack.state.put(SECOND_WEIGHT, v_weight)?;
        Ok(Stepped {
            hold: held,
            refreshed,
            ..Stepped::along(direction)
        })
    }
}

/// The curvature that goes into the second moment of a step.
struct Curvature {
    /// `[k, n]`; `None` where no block takes any in.
    value: Option<Tensor<2>>,
    /// Set for the blocks that have none, `[k, 1]`; `None` where all do.
    missing: Option<Tensor<2, Bool>>,
}

impl AdaHessian {
    /// Whether a curvature is used in later steps too.
    fn keeps_curvature(&self) -> bool {
        self.config.period > 1 && !self.config.lazy_moment
    }

    /// The new estimate where there is one; the kept one between refreshes, and for blocks whose new one
    /// is not finite.
    fn curvature(&self, stack: &mut Stack<'_>) -> Result<Curvature, RuleError> {
        let estimate = stack.curvature.as_ref().map(|curvature| match curvature {
            StackedCurvature::Product { product: x, .. }
            | StackedCurvature::Diagonal { value: x, .. } => {
                let x = x.clone().abs();
                self.config.average(x, stack.dims, stack.orientation)
            }
        });
        let finite = stack.curvature.as_ref().and_then(StackedCurvature::finite);
        let unsound = finite.map(|finite| finite.clone().bool_not());
        if !self.keeps_curvature() {
            if estimate.is_none() && !self.config.lazy_moment {
                return Err(RuleError::Curvature {
                    rule: NAME,
                    expected: "Hessian products or a diagonal",
                    found: "none",
                });
            }
            return Ok(Curvature {
                value: estimate,
                missing: unsound,
            });
        }
        let old = stack.state.take(CURVATURE)?;
        let known = stack.state.take(CURVATURE_KNOWN)?;
        let all_new = estimate.is_some() && unsound.is_none();
        let (value, known) = match (estimate, &unsound) {
            (None, _) => (old, known),
            (Some(new), None) => (new, known.ones_like()),
            (Some(new), Some(unsound)) => {
                let all = known.ones_like();
                (unless(unsound, new, old), unless(unsound, all, known))
            }
        };
        stack.state.put(CURVATURE, value.clone())?;
        stack.state.put(CURVATURE_KNOWN, known.clone())?;
        Ok(Curvature {
            value: Some(value),
            missing: (!all_new).then(|| known.lower_elem(0.5)),
        })
    }

    /// `(√v̂)^k + ε`, without the root for means of the curvature itself.
    fn denominator(&self, average: Tensor<2>) -> Tensor<2> {
        let curvature = match self.config.temporal_averaging {
            TemporalAveraging::RootMeanSquare => average.sqrt(),
            TemporalAveraging::Mean => average,
        };
        let curvature = match self.config.hessian_power {
            1.0 => curvature,
            // Backends do not agree on 0^0.
            0.0 => curvature.ones_like(),
            power => curvature.powf_scalar(power),
        };
        curvature.add_scalar(self.config.epsilon)
    }
}

/// `new` where the flag of a row is not set, or where there are no flags, and `old` elsewhere.
fn unless_any(flag: Option<&Tensor<2, Bool>>, new: Tensor<2>, old: Tensor<2>) -> Tensor<2> {
    match flag {
        Some(flag) => unless(flag, new, old),
        None => new,
    }
}
