use burn::config::Config;
use osculate_curvature::ParamVec;

use super::{GradientContext, GradientPoint, GradientSource, TakenGradient, over};
use crate::config::{Check, ConfigError};
use crate::driver::StepErrorCause;
use crate::registry::{OptimizerRow, base_of, over_plain_sgd, read, to_value};

/// Entropy-SGD: towards the mean of a noisy chain of steps around the weights, which wide valleys attract.
///
/// ```text
/// x = μ = θ,  m = 0,  scope_t = scope (1 + scoping)^t         t = 1, 2, ..
/// length times, on a fresh batch each:
///     d = ∇L(x) + weight_decay x
///     m = momentum m + d,  d = d + momentum m
///     d = d - scope_t (θ - x) + noise sqrt(2 / inner_lr) N(0, 1)
///     x = x - inner_lr d,  μ = (1 - averaging) μ + averaging x
/// θ = the optimizer's step at θ with θ - μ
/// ```
///
/// The step's own batch is the chain's first; the others are drawn, so the objective must be a
/// [`Drawing`](osculate_curvature::Drawing). A step is therefore worth `length` ordinary ones.
///
/// - Cost: `length` gradient evaluations a step.
/// - State: the optimizer's; while a step runs, four vectors more.
/// - Defaults: those of the authors' code for MNIST, with `length` 20: `inner_lr` 0.1, `momentum` 0.9, `scope`
///   1e-4, `scoping` 1e-3, `noise` 1e-4, `averaging` 0.25 (the paper's text has 0.75).
/// - Learning rate: 1, over plain SGD: the published code has no momentum outside of the chain. Rates of the
///   base's kind go to `inner_lr`.
/// - When not to use it: where a step must be one batch; and with learning rates for a gradient, because
///   `θ - μ` is already a step's length.
///
/// Paper: Chaudhari et al., *Entropy-SGD: Biasing Gradient Descent Into Wide Valleys*,
/// <https://arxiv.org/abs/1611.01838>.
///
/// ```
/// use burn::nn::{Linear, LinearConfig};
/// use burn::optim::SgdConfig;
/// use burn::tensor::{Device, Tensor};
/// use osculate_curvature::{Drawing, Objective, ObjectiveError};
/// use osculate_optim::{ClosureOptimizer, EntropySgd};
///
/// let device = Device::flex().autodiff();
/// device.seed(1);
/// let mut model: Linear = LinearConfig::new(1, 1).init(&device);
/// let batch = |number: u64| -> Result<Box<dyn Objective<Linear>>, ObjectiveError> {
///     let x = (number * 37 % 100) as f32 / 100.0;
///     let x = Tensor::<2>::from_data([[x], [1.0 - x]], &device);
///     Ok(Box::new(move |model: &Linear| {
///         (model.forward(x.clone()) - x.clone() * 2.0).square().mean()
///     }))
/// };
/// let mut optimizer = EntropySgd::new().over(SgdConfig::new().init())?;
/// let mut losses = Vec::new();
/// for step in 0..10 {
///     let objective = Drawing::new(batch(20 * step)?, |draw| batch(20 * step + 1 + draw));
///     let step = optimizer.step(1.0, model, &objective)?;
///     losses.push(step.report.loss());
///     model = step.model;
/// }
/// assert!(losses[9] < 0.1 * losses[0]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Config, Debug, PartialEq)]
pub struct EntropySgd {
    /// Steps of the chain. Default 20.
    #[config(default = 20)]
    pub length: usize,
    /// Rate of the chain's steps. Default 0.1.
    #[config(default = 0.1)]
    pub inner_lr: f64,
    /// Nesterov momentum of the chain. Default 0.9.
    #[config(default = 0.9)]
    pub momentum: f64,
    /// Decay within the chain's gradients. Default 0.
    #[config(default = 0.0)]
    pub weight_decay: f64,
    /// Pull of the weights on the chain in the first step. Default 1e-4.
    #[config(default = 1e-4)]
    pub scope: f64,
    /// Growth of the pull from step to step, up to `1 / inner_lr`, beyond which the chain would leave. Default
    /// 1e-3.
    #[config(default = 1e-3)]
    pub scoping: f64,
    /// Size of the chain's noise. Default 1e-4.
    #[config(default = 1e-4)]
    pub noise: f64,
    /// Weight of the newest point in the chain's mean. Default 0.25.
    #[config(default = 0.25)]
    pub averaging: f64,
}

over!(EntropySgd);

impl EntropySgd {
    /// Checks the settings.
    ///
    /// # Errors
    /// [`ConfigError`] for a number that is negative or not finite, a chain of no steps or with a rate of 0, a
    /// momentum outside of `[0, 1)`, and an averaging weight outside of `(0, 1]`.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let averages = self.averaging > 0.0 && self.averaging <= 1.0;
        Check::of("EntropySgd")
            .that(self.length > 0, "length", self.length, "at least 1")
            .positive("inner_lr", self.inner_lr)
            .decay("momentum", self.momentum)
            .non_negative("weight_decay", self.weight_decay)
            .non_negative("scope", self.scope)
            .non_negative("scoping", self.scoping)
            .non_negative("noise", self.noise)
            .that(averages, "averaging", self.averaging, "a number in (0, 1]")
            .finish()
    }
}

/// The registry's row.
pub(crate) static ROW: OptimizerRow = OptimizerRow {
    name: "entropy-sgd",
    text: "towards the mean of a chain of steps nearby",
    learning_rate: 1.0,
    gradients: 20.0,
    state: "the base's",
    // The published code has no momentum outside of the chain.
    defaults: || over_plain_sgd(to_value(&EntropySgd::new())?),
    build: |settings| Ok(read::<EntropySgd>(settings, "settings")?.over(base_of(settings)?)?),
};

impl GradientSource for EntropySgd {
    fn name(&self) -> &'static str {
        "entropy-sgd"
    }

    fn validate(&self) -> Result<(), ConfigError> {
        self.validate()
    }

    fn take(&self, context: &mut GradientContext<'_>) -> Result<TakenGradient, StepErrorCause> {
        let weights = context.parameters()?.clone();
        let layout = weights.layout().clone();
        let grown = self.scope * (1.0 + self.scoping).powf(context.step() as f64 + 1.0);
        // A stronger pull would throw the chain beyond the weights; this one holds it there.
        let scope = grown.min(self.inner_lr.recip());
        let noise = self.noise * (2.0 / self.inner_lr).sqrt();
        let mut gradient = context.gradient().clone();
        // The chain's point, momentum and mean as offsets from the weights.
        let (mut at, mut momentum) = (ParamVec::zeros(&layout), ParamVec::zeros(&layout));
        let mut mean = at.clone();
        for number in 0..self.length as u64 {
            if number > 0 {
                gradient = context.drawn_gradient_at("entropy-sgd", number - 1, &at)?;
            }
            let gradient = gradient.axpy(self.weight_decay, &weights.add(&at));
            momentum = momentum.scale(self.momentum).add(&gradient);
            let mut step = gradient.axpy(self.momentum, &momentum).axpy(scope, &at);
            if noise > 0.0 {
                let seed = context.seed().wrapping_add(number);
                step = step.axpy(noise, &ParamVec::gaussian(&layout, seed));
            }
            at = at.axpy(-self.inner_lr, &step);
            mean = mean.scale(1.0 - self.averaging).axpy(self.averaging, &at);
        }
        Ok(TakenGradient {
            gradient: context.combined(mean.scale(-1.0))?,
            point: GradientPoint::Weights,
            refreshed: None,
        })
    }
}
