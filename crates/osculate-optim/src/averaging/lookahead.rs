use burn::config::Config;
use osculate_curvature::ParamVec;

use super::{Averaging, AveragingContext, over};
use crate::config::{Check, ConfigError};
use crate::engine::RuleError;
use crate::registry::{OptimizerRow, base_of, over_sgd, read, to_value};
use crate::vector_state::{VectorField, VectorState};

/// Lookahead: fast steps of the optimizer, and slow weights that follow them every `period` steps.
///
/// ```text
/// every period-th step:  x = x + α (θ - x),   θ = x
/// ```
///
/// The slow weights `x` are what is evaluated. The optimizer's state stays as it is at a synchronisation.
///
/// - Cost: one pass over the parameters in every `period`-th step.
/// - State: 1 element for each parameter element.
/// - Defaults: `α` 0.5 and a period of 5, the paper's.
/// - Learning rate: the optimizer's own, or a little more.
/// - When not to use it: under an optimizer that averages by itself, such as Schedule-Free.
///
/// Paper: Zhang et al., *Lookahead Optimizer*, <https://arxiv.org/abs/1907.08610>.
///
/// ```
/// use burn::nn::{Linear, LinearConfig};
/// use burn::optim::SgdConfig;
/// use burn::tensor::{Device, Distribution, Tensor};
/// use osculate_optim::{ClosureOptimizer, Lookahead};
///
/// let device = Device::flex().autodiff();
/// device.seed(1);
/// let mut model: Linear = LinearConfig::new(4, 3).init(&device);
/// let x = Tensor::<2>::random([8, 4], Distribution::Default, &device);
/// let loss = |model: &Linear| model.forward(x.clone()).square().mean();
/// let mut optimizer = Lookahead::new().over(SgdConfig::new().init())?;
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
pub struct Lookahead {
    /// How far the slow weights go towards the fast ones. Default 0.5.
    #[config(default = 0.5)]
    pub alpha: f64,
    /// Steps from one synchronisation to the next. Default 5.
    #[config(default = 5)]
    pub period: usize,
}

over!(Lookahead);

impl Lookahead {
    /// Checks the settings.
    ///
    /// # Errors
    /// [`ConfigError`] for an `alpha` outside `(0, 1]` and a period of 0.
    pub fn validate(&self) -> Result<(), ConfigError> {
        Check::of("Lookahead")
            .that(
                self.alpha > 0.0 && self.alpha <= 1.0,
                "alpha",
                self.alpha,
                "a number in (0, 1]",
            )
            .that(self.period > 0, "period", self.period, "at least 1")
            .finish()
    }
}

/// The registry's row.
pub(crate) static ROW: OptimizerRow = OptimizerRow {
    name: "lookahead",
    text: "slow weights that follow fast ones",
    learning_rate: 5e-2,
    gradients: 1.0,
    state: "the base's + 1",
    defaults: || over_sgd(to_value(&Lookahead::new())?),
    build: |settings| Ok(read::<Lookahead>(settings, "settings")?.over(base_of(settings)?)?),
};

const SLOW: &str = "slow";

impl Averaging for Lookahead {
    fn name(&self) -> &'static str {
        "lookahead"
    }

    fn fields(&self) -> &'static [VectorField] {
        const { &[VectorField::wide(SLOW)] }
    }

    fn validate(&self) -> Result<(), ConfigError> {
        self.validate()
    }

    fn step(&self, context: &mut AveragingContext<'_>) -> Result<ParamVec, RuleError> {
        let slow = context.state.start_at(SLOW, context.weights)?;
        if !(context.step + 1).is_multiple_of(self.period as u64) {
            context.state.put(SLOW, slow)?;
            return Ok(context.moved.clone());
        }
        let slow = slow.scale(1.0 - self.alpha).axpy(self.alpha, context.moved);
        context.state.put(SLOW, slow.clone())?;
        Ok(slow)
    }

    fn evaluation(&self, weights: &ParamVec, state: &VectorState) -> Result<ParamVec, RuleError> {
        state.or_first(SLOW, weights)
    }
}
