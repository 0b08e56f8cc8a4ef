use burn::config::Config;
use burn::tensor::Tensor;
use osculate_curvature::ParamVec;

use super::{StepSize, StepSizeContext, over};
use crate::config::{Check, ConfigError};
use crate::engine::RuleError;
use crate::registry::{OptimizerRow, base_of, over_base, read, to_value};
use crate::vector_state::VectorField;

/// Prodigy's learning rate over any optimizer: an estimate from below of how far the start is from a solution,
/// which grows as the weights move.
///
/// With `b = √β2` and the weights `θ0` of the first step:
///
/// ```text
/// θ = θ - d lr (u + λ θ)                           with the d of the step before
/// r = b r + lr d² <g, θ0 - θ>
/// s = b s + lr d² g
/// d = max(d, coefficient r / |s|₁)                by at most `growth` times
/// ```
///
/// In the paper the optimizer is Adam, and its moments are of `d g`: those of later gradients, taken at a larger
/// `d`, then weigh more. Over an optimizer that is left as it is that is not so, and while `d` grows by orders of
/// magnitude the two differ; from then on they do not. The report's `step_size_factor` is `d`.
///
/// - Cost: two dot products a step; no gradient. State: 2 elements for each parameter element, and two numbers.
/// - Defaults: the authors'.
/// - Learning rate: 1, or a schedule that begins at 1; `coefficient` 0.5 to 2 is what there is to tune.
/// - When not to use it: where a tuned rate is known; over methods whose steps depend on the size of the
///   gradient, such as SGD, for which the estimate was not made.
///
/// Paper: Mishchenko and Defazio, *Prodigy: An Expeditiously Adaptive Parameter-Free Learner*,
/// <https://arxiv.org/abs/2306.06101>.
///
/// ```
/// use burn::nn::{Linear, LinearConfig};
/// use burn::tensor::{Device, Distribution, Tensor};
/// use osculate_optim::{ClosureOptimizer, Prodigy, SoapConfig};
///
/// let device = Device::flex().autodiff();
/// device.seed(1);
/// let mut model: Linear = LinearConfig::new(4, 3).init(&device);
/// let x = Tensor::<2>::random([8, 4], Distribution::Default, &device);
/// let loss = |model: &Linear| model.forward(x.clone()).square().mean();
/// let mut optimizer = Prodigy::new().over(SoapConfig::new().init()?)?;
/// let (mut losses, mut rates) = (Vec::new(), Vec::new());
/// for _ in 0..100 {
///     let step = optimizer.step(1.0, model, &loss)?;
///     losses.push(step.report.loss());
///     rates.extend(step.report.step_size_factor());
///     model = step.model;
/// }
/// assert!(losses[99] < 0.5 * losses[0] && rates[99] > 1e3 * rates[0]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Config, Debug, PartialEq)]
pub struct Prodigy {
    /// The estimate before the first step. Default 1e-6.
    #[config(default = 1e-6)]
    pub initial: f64,
    /// What the estimate is multiplied by. Default 1.
    #[config(default = 1.0)]
    pub coefficient: f64,
    /// Decay of the averages, squared: the optimizer's `beta_2`. Default 0.999.
    #[config(default = 0.999)]
    pub beta_2: f64,
    /// Largest factor by which the estimate grows in a step. Default: none.
    pub growth: Option<f64>,
}

over!(Prodigy);

impl Prodigy {
    /// Checks the settings.
    ///
    /// # Errors
    /// [`ConfigError`] for a decay outside `[0, 1)`, an estimate or coefficient that is not positive, and a
    /// growth that is not above 1.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let growth = self.growth.unwrap_or(2.0);
        Check::of("Prodigy")
            .positive("initial", self.initial)
            .positive("coefficient", self.coefficient)
            .decay("beta_2", self.beta_2)
            .that(growth > 1.0, "growth", growth, "a number above 1")
            .finish()
    }
}

/// The registry's row.
pub(crate) static ROW: OptimizerRow = OptimizerRow {
    name: "prodigy",
    text: "a learning rate estimated on the way",
    learning_rate: 1.0,
    gradients: 1.0,
    state: "the base's + 2",
    defaults: || over_base(to_value(&Prodigy::new())?, "adam"),
    build: |settings| Ok(read::<Prodigy>(settings, "settings")?.over(base_of(settings)?)?),
};

/// `θ0 - θ`.
const AWAY: &str = "away";
const SUM: &str = "s";
const DISTANCE: &str = "distance";
const NUMERATOR: &str = "r";

impl StepSize for Prodigy {
    fn name(&self) -> &'static str {
        "prodigy"
    }

    fn fields(&self) -> &'static [VectorField] {
        const { &[VectorField::wide(AWAY), VectorField::wide(SUM)] }
    }

    fn scalars(&self) -> &'static [&'static str] {
        &[DISTANCE, NUMERATOR]
    }

    fn needs_loss(&self) -> bool {
        false
    }

    fn scales_decay(&self) -> bool {
        true
    }

    fn validate(&self) -> Result<(), ConfigError> {
        self.validate()
    }

    fn factor(&self, context: &mut StepSizeContext<'_>) -> Result<Tensor<1>, RuleError> {
        // How far the estimate is above the first one is kept, so that it is zero at first.
        let risen = context.state.scalar(DISTANCE)?;
        let d = risen.add_scalar(self.initial);
        let decay = self.beta_2.sqrt();
        // In units of the first estimate, whose square leaves the range of half precision.
        let weight = d.clone().square().div_scalar(self.initial);

        let away = context.state.vector(AWAY)?;
        let slope = context.weighted_dot(context.lrs, context.gradient, away) * weight.clone();
        let r = context.state.scalar(NUMERATOR)?.mul_scalar(decay) + slope;
        let mut rates = context.lrs.iter();
        let step = context.gradient.map(|(_, g)| {
            let rate = rates.next().copied().unwrap_or(0.0);
            g.clone().mul_scalar(rate)
        });
        let old = context.state.vector(SUM)?.scale(decay);
        let s = old.add(&step.scale_by(&weight));
        let length = s.tensors().iter().map(|s| {
            let sum = s.clone().abs().sum().to_device(&d.device());
            sum.cast(d.dtype())
        });
        let length = length.fold(d.zeros_like(), |sum, part| sum + part);

        let estimate = (r.clone() / length).mul_scalar(self.coefficient);
        // Without any gradient yet there is nothing to divide by.
        let estimate = d.clone().mask_where(estimate.clone().is_finite(), estimate);
        let limit = d.clone().mul_scalar(self.growth.unwrap_or(f64::MAX));
        let next = estimate.min_pair(limit).max_pair(d.clone());
        context.state.put(SUM, s)?;
        context.state.put_scalar(NUMERATOR, r)?;
        context
            .state
            .put_scalar(DISTANCE, next.add_scalar(-self.initial))?;
        Ok(d)
    }

    fn observe(
        &self,
        context: &mut StepSizeContext<'_>,
        displacement: &ParamVec,
    ) -> Result<(), RuleError> {
        let away = context.state.vector(AWAY)?.sub(displacement);
        context.state.put(AWAY, away)
    }
}
