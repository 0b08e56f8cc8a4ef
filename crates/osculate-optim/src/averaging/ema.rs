use burn::config::Config;
use osculate_curvature::ParamVec;

use super::{Averaging, AveragingContext, over};
use crate::config::{Check, ConfigError};
use crate::engine::RuleError;
use crate::registry::{OptimizerRow, base_of, over_sgd, read, to_value};
use crate::vector_state::{VectorField, VectorState};

/// An exponential moving average of the weights, which is what is evaluated; the training is the
/// optimizer's, bit for bit.
///
/// ```text
/// x = b x + (1 - b) θ,   b = min(decay, (1 + k) / (10 + k)) at the k-th step
/// ```
///
/// - Cost: one pass over the parameters.
/// - State: 1 element for each parameter element.
/// - Defaults: a decay of 0.999, usual for runs of some ten thousand steps; the warm-up is that of common
///   practice and keeps the first weights from lingering.
/// - Learning rate: the optimizer's own.
/// - When not to use it: under a schedule that ends at zero there is little left to average.
///
/// Source: Polyak and Juditsky, *Acceleration of stochastic approximation by averaging*, 1992.
///
/// ```
/// use burn::nn::{Linear, LinearConfig};
/// use burn::optim::SgdConfig;
/// use burn::tensor::{Device, Distribution, Tensor};
/// use osculate_optim::{ClosureOptimizer, Ema};
///
/// let device = Device::flex().autodiff();
/// device.seed(1);
/// let mut model: Linear = LinearConfig::new(4, 3).init(&device);
/// let x = Tensor::<2>::random([8, 4], Distribution::Default, &device);
/// let loss = |model: &Linear| model.forward(x.clone()).square().mean();
/// let mut optimizer = Ema::new(0.9).over(SgdConfig::new().init())?;
/// let mut first = None;
/// for _ in 0..10 {
///     let step = optimizer.step(0.1, model, &loss)?;
///     first.get_or_insert(step.report.loss());
///     model = step.model;
/// }
/// let evaluated = optimizer.evaluation_model(&model)?;
/// assert!(f64::from(loss(&evaluated).into_scalar::<f32>()) < first.unwrap_or(0.0));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Config, Debug, PartialEq)]
pub struct Ema {
    /// Decay of the average.
    pub decay: f64,
    /// Lets the decay rise to its value over the first steps. Default `true`.
    #[config(default = true)]
    pub warmup: bool,
}

over!(Ema);

impl Ema {
    /// Checks the settings.
    ///
    /// # Errors
    /// [`ConfigError`] for a decay outside `[0, 1)`.
    pub fn validate(&self) -> Result<(), ConfigError> {
        Check::of("Ema").decay("decay", self.decay).finish()
    }
}

/// The registry's row.
pub(crate) static ROW: OptimizerRow = OptimizerRow {
    name: "ema",
    text: "a moving average of the weights is evaluated",
    learning_rate: 5e-2,
    gradients: 1.0,
    state: "the base's + 1",
    defaults: || over_sgd(to_value(&Ema::new(0.999))?),
    build: |settings| Ok(read::<Ema>(settings, "settings")?.over(base_of(settings)?)?),
};

const AVERAGE: &str = "average";

impl Averaging for Ema {
    fn name(&self) -> &'static str {
        "ema"
    }

    fn fields(&self) -> &'static [VectorField] {
        const { &[VectorField::wide(AVERAGE)] }
    }

    fn validate(&self) -> Result<(), ConfigError> {
        self.validate()
    }

    fn step(&self, context: &mut AveragingContext<'_>) -> Result<ParamVec, RuleError> {
        let k = context.step as f64;
        let decay = match self.warmup {
            true => self.decay.min((1.0 + k) / (10.0 + k)),
            false => self.decay,
        };
        let old = context.state.start_at(AVERAGE, context.weights)?;
        let average = old.scale(decay).axpy(1.0 - decay, context.moved);
        context.state.put(AVERAGE, average)?;
        Ok(context.moved.clone())
    }

    fn evaluation(&self, weights: &ParamVec, state: &VectorState) -> Result<ParamVec, RuleError> {
        state.or_first(AVERAGE, weights)
    }
}
