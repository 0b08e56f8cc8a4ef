use burn::config::Config;
use burn::tensor::Tensor;

use super::{StepSize, StepSizeContext, over};
use crate::config::{Check, ConfigError};
use crate::engine::RuleError;
use crate::registry::{OptimizerRow, base_of, over_base, read, to_value};

/// A backtracking line search along any direction: the step is shortened until the loss of the batch falls
/// enough.
///
/// ```text
/// f = min(1, growth f)                                            of the last step; 1 in the first
/// f = shrink f     until   L(θ - f lr u) ≤ L(θ) - decrease f <g, lr u>
/// θ = θ - f lr u
/// ```
///
/// All losses are of the step's batch, with its dropout mask. A loss that is not finite is not small enough.
/// After `trials` the shortest step tried is made; along a direction that does not descend on this batch none
/// is. Weight decay takes no part in the search.
///
/// - Cost: a forward pass for each trial, 1.1 to 1.3 a step in practice, and as many waits for the device: this
///   policy reads losses back, since what it does next depends on them. State: one number.
/// - Defaults: `decrease` 0.1, the authors'; halving, ten trials, and a step that may grow by a tenth. The
///   authors shrink by 0.9 and double the step once an epoch.
/// - Learning rate: an upper bound: 1 along gradients and Newton steps, and several times the method's own over
///   others.
/// - When not to use it: with small noisy batches, which it fits one by one (the theory is for models that can
///   fit all batches at once); with momentum, whose direction often does not descend on the present batch;
///   where waiting for the device is dear.
///
/// Paper: Vaswani et al., *Painless Stochastic Gradient: Interpolation, Line-Search, and Convergence Rates*,
/// <https://arxiv.org/abs/1905.09997>.
///
/// ```
/// use burn::nn::{Linear, LinearConfig};
/// use burn::optim::SgdConfig;
/// use burn::tensor::{Device, Distribution, Tensor};
/// use osculate_optim::{Armijo, ClosureOptimizer};
///
/// let device = Device::flex().autodiff();
/// device.seed(1);
/// let mut model: Linear = LinearConfig::new(4, 3).init(&device);
/// let x = Tensor::<2>::random([8, 4], Distribution::Default, &device);
/// let loss = |model: &Linear| model.forward(x.clone()).square().mean();
/// // At this rate SGD alone diverges.
/// let mut optimizer = Armijo::new().over(SgdConfig::new().init())?;
/// let mut before = f64::INFINITY;
/// for _ in 0..10 {
///     let step = optimizer.step(100.0, model, &loss)?;
///     assert!(step.report.loss() < before);
///     before = step.report.loss();
///     model = step.model;
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Config, Debug, PartialEq)]
pub struct Armijo {
    /// Share of the decrease that the slope promises which is enough, in `(0, 1)`. Default 0.1.
    #[config(default = 0.1)]
    pub decrease: f64,
    /// What a step that is too long is multiplied by, in `(0, 1)`. Default 0.5.
    #[config(default = 0.5)]
    pub shrink: f64,
    /// How much longer than the last one the first trial may be, at least 1. Default 1.1.
    #[config(default = 1.1)]
    pub growth: f64,
    /// Largest number of trials. Default 10.
    #[config(default = 10)]
    pub trials: usize,
}

over!(Armijo);

impl Armijo {
    /// Checks the settings.
    ///
    /// # Errors
    /// [`ConfigError`] for a `decrease` or `shrink` outside `(0, 1)`, a `growth` below 1, and no trial.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let inside = |x: f64| x > 0.0 && x < 1.0;
        let (decrease, shrink) = (self.decrease, self.shrink);
        Check::of("Armijo")
            .that(inside(decrease), "decrease", decrease, "a number in (0, 1)")
            .that(inside(shrink), "shrink", shrink, "a number in (0, 1)")
            .that(
                self.growth.is_finite() && self.growth >= 1.0,
                "growth",
                self.growth,
                "a finite number, at least 1",
            )
            .that(self.trials > 0, "trials", self.trials, "at least 1")
            .finish()
    }
}

/// The registry's row.
pub(crate) static ROW: OptimizerRow = OptimizerRow {
    name: "armijo",
    text: "steps shortened until the batch's loss falls",
    learning_rate: 1.0,
    gradients: 1.4,
    state: "the base's",
    defaults: || {
        let plain = over_base(to_value(&Armijo::new())?, "sgdw");
        plain.map(|mut settings| {
            // Momentum need not descend on the batch at hand.
            settings["base"]["sgdw"]["momentum"] = 0.0.into();
            settings
        })
    },
    build: |settings| Ok(read::<Armijo>(settings, "settings")?.over(base_of(settings)?)?),
};

/// The last step's factor; 0 before the first.
const LAST: &str = "last";

impl StepSize for Armijo {
    fn name(&self) -> &'static str {
        "armijo"
    }

    fn scalars(&self) -> &'static [&'static str] {
        &[LAST]
    }

    fn validate(&self) -> Result<(), ConfigError> {
        self.validate()
    }

    fn factor(&self, context: &mut StepSizeContext<'_>) -> Result<Tensor<1>, RuleError> {
        let last = context.state.scalar(LAST)?;
        let slope = context.weighted_dot(context.lrs, context.gradient, context.direction);
        let known = Tensor::cat(vec![context.loss.clone(), slope, last.clone()], 0);
        let known: Vec<f64> = known.to_data().iter().collect();
        let [loss, slope, before] = known[..] else {
            return Ok(last.zeros_like());
        };
        if !(slope > 0.0 && loss.is_finite()) {
            return Ok(last.zeros_like());
        }
        let mut rates = context.lrs.iter();
        let step = context.direction.map(|(_, u)| {
            let rate = rates.next().copied().unwrap_or(0.0);
            u.clone().mul_scalar(-rate)
        });
        let mut factor = match before > 0.0 {
            true => (before * self.growth).min(1.0),
            false => 1.0,
        };
        for trial in 1..=self.trials {
            let reached = context.loss_at(&step, factor)?.to_data();
            let reached = reached.iter::<f64>().next().unwrap_or(f64::NAN);
            let enough = reached <= loss - self.decrease * factor * slope;
            if enough || trial == self.trials {
                break;
            }
            factor *= self.shrink;
        }
        let factor = last.zeros_like().add_scalar(factor);
        context.state.put_scalar(LAST, factor.clone())?;
        Ok(factor)
    }
}
