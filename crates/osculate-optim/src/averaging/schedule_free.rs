use burn::config::Config;
use osculate_curvature::ParamVec;

use super::{Averaging, AveragingContext, over};
use crate::config::{Check, ConfigError};
use crate::engine::RuleError;
use crate::registry::{OptimizerRow, base_of, over_plain_sgd, read, to_value};
use crate::vector_state::{VectorField, VectorState};

/// Schedule-Free averaging over any optimizer: no schedule, no end that must be known.
///
/// The module holds `y`, where gradients are taken; `z` is the optimizer's own iterate, `x` their
/// average, which is what is evaluated. With the optimizer's displacement `δ = -lr u`, decay at `y` included:
///
/// ```text
/// w = lr_max²,  W = W + w,  c = w / W
/// y = (1 - c) y + c z + (1 - β (1 - c)) δ
/// z = z + δ
/// x = (y - (1 - β) z) / β
/// ```
///
/// The optimizer should have no momentum of its own (`beta_1` 0): `β` takes its place.
///
/// - Cost: a few passes over the parameters.
/// - State: 1 element for each parameter element (`z`, in `F32` for half-precision parameters).
/// - Defaults: `β` 0.9 (0.95 to 0.98 for long runs), no warm-up, the authors'.
/// - Learning rate: constant, after a warm-up of the caller's or `warmup` steps; one to ten times what a
///   schedule over Adam peaks at, ten to fifty times for SGD.
/// - When not to use it: under a schedule that falls to zero; the average is then a worse one.
///
/// Paper: Defazio et al., *The Road Less Scheduled*, <https://arxiv.org/abs/2405.15682>.
///
/// ```
/// use burn::nn::{Linear, LinearConfig};
/// use burn::optim::SgdConfig;
/// use burn::tensor::{Device, Distribution, Tensor};
/// use osculate_optim::{ClosureOptimizer, ScheduleFree};
///
/// let device = Device::flex().autodiff();
/// device.seed(1);
/// let mut model: Linear = LinearConfig::new(4, 3).init(&device);
/// let x = Tensor::<2>::random([8, 4], Distribution::Default, &device);
/// let loss = |model: &Linear| model.forward(x.clone()).square().mean();
/// let mut optimizer = ScheduleFree::new().over(SgdConfig::new().init())?;
/// let mut first = None;
/// for _ in 0..10 {
///     let step = optimizer.step(0.3, model, &loss)?;
///     first.get_or_insert(step.report.loss());
///     model = step.model;
/// }
/// let evaluated = optimizer.evaluation_model(&model)?;
/// assert!(f64::from(loss(&evaluated).into_scalar::<f32>()) < first.unwrap_or(0.0));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Config, Debug, PartialEq)]
pub struct ScheduleFree {
    /// Where between the average and the iterate gradients are taken, in `(0, 1)`. Default 0.9.
    #[config(default = 0.9)]
    pub beta: f64,
    /// Steps over which the learning rate rises to the given one. Default 0.
    #[config(default = 0)]
    pub warmup: usize,
}

over!(ScheduleFree);

impl ScheduleFree {
    /// Checks the settings.
    ///
    /// # Errors
    /// [`ConfigError`] for a `beta` outside `(0, 1)`.
    pub fn validate(&self) -> Result<(), ConfigError> {
        Check::of("ScheduleFree")
            .that(
                self.beta > 0.0 && self.beta < 1.0,
                "beta",
                self.beta,
                "a number in (0, 1)",
            )
            .finish()
    }
}

/// The registry's row.
pub(crate) static ROW: OptimizerRow = OptimizerRow {
    name: "schedule-free",
    text: "an average in the place of a schedule",
    learning_rate: 1.0,
    gradients: 1.0,
    state: "the base's + 1",
    // `beta` takes the place of momentum.
    defaults: || over_plain_sgd(to_value(&ScheduleFree::new())?),
    build: |settings| Ok(read::<ScheduleFree>(settings, "settings")?.over(base_of(settings)?)?),
};

const ITERATE: &str = "z";
const LARGEST_RATE: &str = "largest_rate";
const WEIGHT: &str = "weight";

impl Averaging for ScheduleFree {
    fn name(&self) -> &'static str {
        "schedule-free"
    }

    fn fields(&self) -> &'static [VectorField] {
        const { &[VectorField::wide(ITERATE)] }
    }

    fn validate(&self) -> Result<(), ConfigError> {
        self.validate()
    }

    fn step(&self, context: &mut AveragingContext<'_>) -> Result<ParamVec, RuleError> {
        let warm = match self.warmup {
            0 => 1.0,
            steps => ((context.step + 1) as f64 / steps as f64).min(1.0),
        };
        let number = |name: &str| context.numbers.get(name).copied().unwrap_or(0.0);
        let largest = number(LARGEST_RATE).max(context.lr * warm);
        let own = largest * largest;
        let total = number(WEIGHT) + own;
        // Before the first step at a rate above zero the average is the iterate.
        let c = if total > 0.0 { own / total } else { 1.0 };
        context.numbers.insert(LARGEST_RATE.to_string(), largest);
        context.numbers.insert(WEIGHT.to_string(), total);

        let y = context.weights;
        let z = context.state.start_at(ITERATE, y)?;
        let displacement = context.moved.sub(y).scale(warm);
        let ahead = 1.0 - self.beta * (1.0 - c);
        let next = y.scale(1.0 - c).axpy(c, &z).axpy(ahead, &displacement);
        context.state.put(ITERATE, z.add(&displacement))?;
        Ok(next)
    }

    fn evaluation(&self, weights: &ParamVec, state: &VectorState) -> Result<ParamVec, RuleError> {
        let z = state.or_first(ITERATE, weights)?;
        Ok(weights.axpy(self.beta - 1.0, &z).scale(self.beta.recip()))
    }
}
