//! AMSGrad that steps ahead by a prediction of the next gradient.

use burn::config::Config;
use burn::tensor::Tensor;
use osculate_curvature::ParamVec;

use crate::Driver;
use crate::config::{Check, ConfigError};
use crate::engine::RuleError;
use crate::registry::{OptimizerRow, read, to_value};
use crate::update::{VectorRule, VectorStep};
use crate::vector_state::VectorField;

/// What [`OptimisticAmsgradConfig`] takes for the next gradient.
#[derive(Config, Debug, Copy, PartialEq)]
pub enum GradientPrediction {
    /// Zero: every step is ahead by a part of the momentum.
    Zero,
    /// The last one.
    Last,
    /// Regularised extrapolation of the last `span + 1`: the sum of `span` of them with the weights `c = z / Σz`,
    /// `(UᵀU + ρI) z = 1`, of their differences `U`. The last one until there are so many, and where
    /// `Σ|c|` is above `max_weight`.
    Extrapolated {
        /// Number of differences, at most 8. The paper's is 5.
        span: usize,
        /// `ρ`. The paper's is 1e-3.
        regularization: f64,
        /// Whether `ρ` is in units of the trace of `UᵀU`, without which it is either no regularisation or
        /// nothing but: gradients differ in size by orders of magnitude.
        relative: bool,
        /// Sums the newer `span` gradients instead of the older.
        newest: bool,
        /// Largest sum of the weights' magnitudes.
        max_weight: f64,
    },
}

impl GradientPrediction {
    /// The paper's extrapolation of six gradients, with a relative regularisation of 1e-3.
    pub fn extrapolated() -> Self {
        Self::Extrapolated {
            span: 5,
            regularization: 1e-3,
            relative: true,
            newest: false,
            max_weight: 10.0,
        }
    }
}

/// Optimistic AMSGrad: steps that are made twice, once for the gradient at hand and once ahead for a
/// prediction of the next one.
///
/// With the prediction `p` of this gradient, made in the last step and 0 at first, and `p'` of the next one:
///
/// ```text
/// m' = β1 m + (1 - β1) g          v = β2 v + (1 - β2) (g - p)²          v̂ = max(v̂, v)
/// w' = w - lr m' / (√v̂ + ε)
/// θ' = w' - lr (β1 m + (1 - β1) p') / (√v̂ + ε)
/// ```
///
/// The next gradient is taken at `θ'`; the iterate `w` without the look-ahead is kept by its distance from the
/// weights. Where predictions are good `v` goes to zero: it is the maximum `v̂` that keeps steps short.
///
/// This is the paper's rule. The authors' code extrapolates weights, and takes a second gradient at them.
///
/// - Cost: 1 gradient evaluation a step; `span (span + 1) / 2` dot products for an extrapolation.
/// - State: 5 elements for each parameter element, and `span` for an extrapolation.
/// - Defaults: the paper's, but for the prediction: of gradients of batches little more can be told than the
///   last one tells, and its extrapolation doubles the state.
/// - Learning rate: AdamW's 3e-3, or less: an Adam step and a look-ahead are made in one. The study has no figure
///   for it.
/// - When not to use it: with small batches; where memory is short; under a step-size policy or the cautious
///   mask, which scale the way back to `w` too.
///
/// Paper: Wang et al., *An Optimistic Acceleration of AMSGrad for Nonconvex Optimization*,
/// <https://arxiv.org/abs/1903.01435>.
///
/// ```
/// use burn::nn::{Linear, LinearConfig};
/// use burn::tensor::{Device, Distribution, Tensor};
/// use osculate_optim::{ClosureOptimizer, GradientPrediction, OptimisticAmsgradConfig};
///
/// let device = Device::flex().autodiff();
/// device.seed(1);
/// let mut model: Linear = LinearConfig::new(4, 3).init(&device);
/// let x = Tensor::<2>::random([8, 4], Distribution::Default, &device);
/// let loss = |model: &Linear| model.forward(x.clone()).square().mean();
/// let config = OptimisticAmsgradConfig::new().with_prediction(GradientPrediction::extrapolated());
/// let mut optimizer = config.init()?;
/// let mut losses = Vec::new();
/// for _ in 0..10 {
///     let step = optimizer.step(0.01, model, &loss)?;
///     losses.push(step.report.loss());
///     model = step.model;
/// }
/// assert!(losses[9] < losses[0]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Config, Debug)]
pub struct OptimisticAmsgradConfig {
    /// Decay of the averaged gradient, `β1`. Default 0.9.
    #[config(default = 0.9)]
    pub beta_1: f64,
    /// Decay of the averaged squares, `β2`. Default 0.99.
    #[config(default = 0.99)]
    pub beta_2: f64,
    /// Added to the root. Default 1e-8.
    #[config(default = 1e-8)]
    pub epsilon: f64,
    /// What is taken for the next gradient. Default `Last`.
    #[config(default = "GradientPrediction::Last")]
    pub prediction: GradientPrediction,
    /// Multiplies steps by `√(1 - β2^t) / (1 - β1^t)`, as Adam does and the authors' code. Default `false`.
    #[config(default = false)]
    pub bias_correction: bool,
}

impl OptimisticAmsgradConfig {
    /// Checks the settings.
    ///
    /// # Errors
    /// [`ConfigError`] for a decay outside `[0, 1)`, a negative or non-finite number, a span outside 1 to 8, and a
    /// `max_weight` below 1, which no extrapolation meets.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let check = Check::of("OptimisticAmsgradConfig")
            .decay("beta_1", self.beta_1)
            .decay("beta_2", self.beta_2)
            .positive("epsilon", self.epsilon);
        match self.prediction {
            GradientPrediction::Extrapolated {
                span,
                regularization,
                max_weight,
                ..
            } => check
                .that(
                    (1..=HISTORY).contains(&span),
                    "span",
                    span,
                    "a number from 1 to 8",
                )
                .positive("regularization", regularization)
                .that(max_weight >= 1.0, "max_weight", max_weight, "at least 1"),
            GradientPrediction::Zero | GradientPrediction::Last => check,
        }
        .finish()
    }

    /// The optimizer, over closures: burn's own optimizers see one parameter at a time.
    ///
    /// # Errors
    /// As [`validate`](Self::validate).
    pub fn init(&self) -> Result<Driver, ConfigError> {
        self.validate()?;
        Ok(Driver::of_vectors(OptimisticAmsgrad {
            config: self.clone(),
        }))
    }
}

/// The registry's row.
pub(crate) static ROW: OptimizerRow = OptimizerRow {
    name: "optimistic-amsgrad",
    text: "AMSGrad that steps ahead by a predicted gradient",
    learning_rate: 3e-3,
    gradients: 1.0,
    state: "5",
    defaults: || to_value(&OptimisticAmsgradConfig::new()),
    build: |settings| Ok(read::<OptimisticAmsgradConfig>(settings, "settings")?.init()?),
};

/// The rule of [`OptimisticAmsgradConfig`].
#[derive(Debug, Clone)]
struct OptimisticAmsgrad {
    config: OptimisticAmsgradConfig,
}

/// Largest span.
const HISTORY: usize = 8;
/// Gradients before this one, the newest first.
const PAST: [&str; HISTORY] = [
    "past1", "past2", "past3", "past4", "past5", "past6", "past7", "past8",
];
const AVERAGE: &str = "m";
const SQUARES: &str = "v";
const LARGEST: &str = "v_max";
/// What the weights are ahead of the iterate `w`: `w = θ + ahead`.
const AHEAD: &str = "ahead";
const PREDICTION: &str = "prediction";
const OWN: usize = 5;
const FIELDS: [VectorField; OWN + HISTORY] = {
    let mut fields = [VectorField::wide(AVERAGE); OWN + HISTORY];
    fields[1] = VectorField::wide(SQUARES);
    fields[2] = VectorField::wide(LARGEST);
    fields[3] = VectorField::wide(AHEAD);
    fields[4] = VectorField::wide(PREDICTION);
    let mut at = 0;
    while at < HISTORY {
        fields[OWN + at] = VectorField::wide(PAST[at]);
        at += 1;
    }
    fields
};

impl VectorRule for OptimisticAmsgrad {
    fn name(&self) -> &'static str {
        "optimistic-amsgrad"
    }

    fn fields(&self) -> &'static [VectorField] {
        static ALL: [VectorField; OWN + HISTORY] = FIELDS;
        match self.config.prediction {
            GradientPrediction::Extrapolated { span, .. } => &ALL[..OWN + span.min(HISTORY)],
            GradientPrediction::Zero | GradientPrediction::Last => &ALL[..OWN],
        }
    }

    fn step(&self, step: &mut VectorStep<'_>) -> Result<ParamVec, RuleError> {
        let (beta_1, beta_2) = (self.config.beta_1, self.config.beta_2);
        let g = step.gradient;
        let old = step.state.vector(AVERAGE)?.scale(beta_1);
        let m = old.axpy(1.0 - beta_1, g);
        let surprise = g.sub(step.state.vector(PREDICTION)?);
        let v = step.state.vector(SQUARES)?.scale(beta_2);
        let v = v.axpy(1.0 - beta_2, &surprise.hadamard(&surprise));
        let largest = step.state.vector(LARGEST)?.zip_map(&v, Tensor::max_pair);
        let prediction = self.predict(step)?;
        let look_ahead = old.axpy(1.0 - beta_1, &prediction);

        let steps = step.step as f64 + 1.0;
        let scale = match self.config.bias_correction {
            true => (1.0 - beta_2.powf(steps)).sqrt() / (1.0 - beta_1.powf(steps)),
            false => 1.0,
        };
        let over_root = |x: &ParamVec| {
            x.zip_map(&largest, |x, v| {
                x / v.sqrt().add_scalar(self.config.epsilon)
            })
            .scale(scale)
        };
        let (along, look_ahead) = (over_root(&m), over_root(&look_ahead));
        // In units of the weights: the rate may change from step to step. At a rate of 0 nothing moves.
        let before = step.state.vector(AHEAD)?.clone();
        let mut rates = step.lrs.iter();
        let back = before.map(|(_, ahead)| match rates.next() {
            Some(&lr) if lr > 0.0 => ahead.clone().div_scalar(lr),
            _ => ahead.zeros_like(),
        });
        let mut parts = step.lrs.iter().zip(look_ahead.tensors());
        let ahead = before.map(|(_, before)| match parts.next() {
            Some((&lr, ahead)) if lr > 0.0 => ahead.clone().mul_scalar(lr),
            _ => before.clone(),
        });
        for (name, value) in [
            (AVERAGE, m),
            (SQUARES, v),
            (LARGEST, largest),
            (AHEAD, ahead),
            (PREDICTION, prediction),
        ] {
            step.state.put(name, value)?;
        }
        Ok(along.add(&look_ahead).sub(&back))
    }
}

impl OptimisticAmsgrad {
    /// What the next gradient is taken to be.
    fn predict(&self, step: &mut VectorStep<'_>) -> Result<ParamVec, RuleError> {
        let g = step.gradient;
        let GradientPrediction::Extrapolated {
            span,
            regularization,
            relative,
            newest,
            max_weight,
        } = self.config.prediction
        else {
            return Ok(match self.config.prediction {
                GradientPrediction::Zero => g.scale(0.0),
                _ => g.clone(),
            });
        };
        // A parameter without a past has had this gradient always: it has no say in the weights.
        let past: Result<Vec<ParamVec>, RuleError> = PAST[..span]
            .iter()
            .map(|name| step.state.or_first(name, g))
            .collect();
        let mut all = past?;
        all.insert(0, g.clone());
        all.reverse();
        for (name, gradient) in PAST[..span].iter().zip(all.iter().rev()) {
            step.state.put(name, gradient.clone())?;
        }
        if step.step < span as u64 {
            return Ok(g.clone());
        }
        let weights = extrapolation_weights(&all, regularization, relative);
        let size = weights
            .iter()
            .fold(weights[0].zeros_like(), |sum, c| sum + c.clone().abs());
        let summed = if newest { &all[1..] } else { &all[..span] };
        let terms = summed.iter().zip(&weights);
        let sum = terms.fold(g.scale(0.0), |sum, (x, c)| sum.axpy_by(c, x));
        // Not so where the weights are no numbers either.
        let tame = size.lower_equal_elem(max_weight);
        let mut own = g.tensors().iter();
        Ok(sum.map(|(entry, sum)| match own.next() {
            Some(g) if entry.num_elements() > 0 => {
                let tame = tame.clone().to_device(&entry.device);
                g.clone().mask_where(tame.expand(sum.dims()), sum.clone())
            }
            _ => sum.clone(),
        }))
    }
}

/// The weights `c` of an extrapolation of vectors, oldest first, one fewer than these.
fn extrapolation_weights(all: &[ParamVec], regularization: f64, relative: bool) -> Vec<Tensor<1>> {
    let differences: Vec<ParamVec> = all.windows(2).map(|pair| pair[1].sub(&pair[0])).collect();
    let r = differences.len();
    let mut system: Vec<Vec<Tensor<1>>> = Vec::with_capacity(r);
    for i in 0..r {
        let row = (0..r).map(|j| match j < i {
            true => system[j][i].clone(),
            false => differences[i].dot_on_device(&differences[j]),
        });
        let row = row.collect();
        system.push(row);
    }
    let trace = (1..r).fold(system[0][0].clone(), |sum, i| sum + system[i][i].clone());
    for (i, row) in system.iter_mut().enumerate() {
        row[i] = match relative {
            true => row[i].clone() + trace.clone().mul_scalar(regularization),
            false => row[i].clone().add_scalar(regularization),
        };
        row.push(trace.ones_like());
    }
    // Elimination of a positive definite system needs no pivots; on the device nothing is read back.
    for pivot in 0..r {
        let above = system[pivot].clone();
        for row in &mut system[pivot + 1..] {
            let factor = row[pivot].clone() / above[pivot].clone();
            for (own, above) in row.iter_mut().zip(&above).skip(pivot) {
                *own = own.clone() - factor.clone() * above.clone();
            }
        }
    }
    let mut z: Vec<Tensor<1>> = vec![trace; r];
    for row in (0..r).rev() {
        let known = (row + 1..r).fold(system[row][r].clone(), |sum, column| {
            sum - system[row][column].clone() * z[column].clone()
        });
        z[row] = known / system[row][row].clone();
    }
    let sum = z[1..].iter().cloned().fold(z[0].clone(), |sum, z| sum + z);
    z.into_iter().map(|z| z / sum.clone()).collect()
}
