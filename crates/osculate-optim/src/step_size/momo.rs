use burn::config::Config;
use burn::tensor::Tensor;
use osculate_curvature::ParamVec;

use super::{StepSize, StepSizeContext, over};
use crate::config::{Check, ConfigError};
use crate::engine::RuleError;
use crate::registry::{OptimizerRow, base_of, over_base, read, to_value};
use crate::vector_state::VectorField;

/// Model-based step sizes over any preconditioner: the longest step, up to the given rate, at which an
/// average of past linearised losses does not fall below a lower bound.
///
/// With the averages `d` of the gradient and `f` of the loss (decay `β`), the direction `u` of the
/// optimizer below, its rate `α`, decay `λ`, and `c = 1 + αλ`:
///
/// ```text
/// q = β (q + <d, θ_new - θ>)                       of the last step
/// t = max( c (f + q - ρ lb) - (c - 1) <d, θ>, 0 ) / <d, u>
/// θ = the optimizer's step with the rate min(α, t)
/// ```
///
/// `q` is `<d, θ> - average of <g, θ>` without the cancellation. `ρ = 1` where averages start from the
/// first gradient, `1 - β^k` with `bias_correction`. The report's `step_size_factor` is `min(1, t / α)`.
///
/// Over [`AveragedGradientConfig`](crate::AveragedGradientConfig) it is MoMo, over Adam MoMo-Adam, with
/// `estimate_bound` MoMo*. With parameter groups one factor multiplies the rates of all.
///
/// - Cost: nothing but a few dot products; no gradient.
/// - State: 1 element for each parameter element, and four numbers.
/// - Defaults: `β` 0.9, `lower_bound` 0, the authors'. A bound of minus infinity is the given rate, bit
///   for bit.
/// - Learning rate: an upper bound, which may be too large: about 1 for the averaged gradient, and for
///   Adam three to ten times its own.
/// - When not to use it: where the loss ends far above the bound (label smoothing, decay in the loss) and
///   no better bound is known: the step is then the given one.
///
/// Paper: Schaipp et al., *MoMo: Momentum Models for Adaptive Learning Rates*,
/// <https://arxiv.org/abs/2305.07583>.
///
/// ```
/// use burn::nn::{Linear, LinearConfig};
/// use burn::tensor::{Device, Distribution, Tensor};
/// use osculate_optim::{ClosureOptimizer, Momo, ShampooConfig};
///
/// let device = Device::flex().autodiff();
/// device.seed(1);
/// let mut model: Linear = LinearConfig::new(4, 3).init(&device);
/// let x = Tensor::<2>::random([8, 4], Distribution::Default, &device);
/// let loss = |model: &Linear| model.forward(x.clone()).square().mean();
/// // A rate that would be far too large is cut down.
/// let mut optimizer = Momo::new().over(ShampooConfig::new().init()?)?;
/// let mut losses = Vec::new();
/// for _ in 0..10 {
///     let step = optimizer.step(1.0, model, &loss)?;
///     losses.push(step.report.loss());
///     model = step.model;
/// }
/// assert!(losses[9] < losses[0]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Config, Debug, PartialEq)]
pub struct Momo {
    /// Decay of the averages, best that of the optimizer's own momentum. Default 0.9.
    #[config(default = 0.9)]
    pub beta: f64,
    /// What the loss cannot fall below. Default 0.
    #[config(default = 0.0)]
    pub lower_bound: f64,
    /// Starts the averages at zero and corrects their bias, as for Adam, instead of at the first
    /// gradient. Default `false`.
    #[config(default = false)]
    pub bias_correction: bool,
    /// Estimates the bound on the way, from `lower_bound` upwards (MoMo*). Default `false`.
    #[config(default = false)]
    pub estimate_bound: bool,
}

over!(Momo);

impl Momo {
    /// Checks the settings.
    ///
    /// # Errors
    /// [`ConfigError`] for a decay outside `[0, 1)`, and a bound that is NaN or plus infinity.
    pub fn validate(&self) -> Result<(), ConfigError> {
        Check::of("Momo")
            .decay("beta", self.beta)
            .that(
                self.lower_bound < f64::INFINITY,
                "lower_bound",
                self.lower_bound,
                "a number that the loss cannot fall below",
            )
            .finish()
    }
}

/// The registry's row.
pub(crate) static ROW: OptimizerRow = OptimizerRow {
    name: "momo",
    text: "step sizes from a model of the loss",
    learning_rate: 1.0,
    gradients: 1.0,
    state: "the base's + 1",
    defaults: || over_base(to_value(&Momo::new())?, "averaged-gradient"),
    build: |settings| Ok(read::<Momo>(settings, "settings")?.over(base_of(settings)?)?),
};

const AVERAGE: &str = "d";
const LOSS: &str = "loss";
const DRIFT: &str = "q";
/// One once a loss has been averaged.
const STARTED: &str = "started";
/// How far the bound is above the lowest.
const RISE: &str = "rise";

impl StepSize for Momo {
    fn name(&self) -> &'static str {
        "momo"
    }

    fn fields(&self) -> &'static [VectorField] {
        const { &[VectorField::wide(AVERAGE)] }
    }

    fn scalars(&self) -> &'static [&'static str] {
        &[LOSS, DRIFT, STARTED, RISE]
    }

    fn lower_bound(&self) -> Option<f64> {
        (!self.estimate_bound).then_some(self.lower_bound)
    }

    fn validate(&self) -> Result<(), ConfigError> {
        self.validate()
    }

    fn factor(&self, context: &mut StepSizeContext<'_>) -> Result<Tensor<1>, RuleError> {
        let started = context.state.scalar(STARTED)?;
        // From the first gradient on, or from zero.
        let beta = match self.bias_correction {
            true => started.ones_like().mul_scalar(self.beta),
            false => started.clone().mul_scalar(self.beta),
        };
        let rest = beta.clone().neg().add_scalar(1.0);
        let rho = match self.bias_correction {
            true => 1.0 - self.beta.powf(context.step as f64 + 1.0),
            false => 1.0,
        };
        let old = context.state.vector(AVERAGE)?;
        let d = old.scale_by(&beta).add(&context.gradient.scale_by(&rest));
        let loss = context.state.scalar(LOSS)? * beta + context.loss.clone() * rest;
        context.state.put(AVERAGE, d.clone())?;
        context.state.put_scalar(LOSS, loss)?;
        let heard = context.loss.clone().is_finite().float();
        context.state.put_scalar(
            STARTED,
            started.clone().max_pair(heard.cast(started.dtype())),
        )?;

        let level = context.state.scalar(LOSS)? + context.state.scalar(DRIFT)?;
        let rates = context.lrs.iter().zip(context.weight_decays);
        let c: Vec<f64> = rates.map(|(lr, decay)| 1.0 + lr * decay).collect();
        let shrink: Vec<f64> = c.iter().map(|c| (c - 1.0) / c).collect();
        let over_c: Vec<f64> = context.lrs.iter().zip(&c).map(|(lr, c)| lr / c).collect();
        let reach = level.clone() - context.weighted_dot(&shrink, &d, context.weights);
        let slope = context.weighted_dot(&over_c, &d, context.direction);

        let mut bound = context.state.scalar(RISE)?.add_scalar(self.lower_bound);
        if self.estimate_bound {
            let floor = self.lower_bound;
            let lower = reach.clone().div_scalar(2.0 * rho).clamp_min(floor);
            let beyond = reach.clone().lower(bound.clone().mul_scalar(rho));
            bound = bound.mask_where(beyond, lower);
        }
        let room = (reach - bound.mul_scalar(rho)).clamp_min(0.0);
        // Along a direction that does not descend the model never reaches the bound.
        let descends = slope.clone().greater_elem(0.0);
        let factor = (room.clone() / slope).clamp_max(1.0);
        let stuck = room.greater_elem(0.0).float().cast(factor.dtype());
        let factor = stuck.mask_where(descends, factor);
        if self.estimate_bound {
            let along = context.weighted_dot(context.lrs, &d, context.direction);
            let reached = level - (along * factor.clone()).mul_scalar(0.5);
            let bound = reached.div_scalar(rho).clamp_min(self.lower_bound);
            context
                .state
                .put_scalar(RISE, bound.add_scalar(-self.lower_bound))?;
        }
        Ok(factor)
    }

    fn observe(
        &self,
        context: &mut StepSizeContext<'_>,
        displacement: &ParamVec,
    ) -> Result<(), RuleError> {
        let ones = vec![1.0; displacement.layout().len()];
        let moved = context.weighted_dot(&ones, context.state.vector(AVERAGE)?, displacement);
        let drift = (context.state.scalar(DRIFT)? + moved).mul_scalar(self.beta);
        context.state.put_scalar(DRIFT, drift)
    }
}
