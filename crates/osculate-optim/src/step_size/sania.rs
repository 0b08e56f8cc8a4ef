use burn::config::Config;
use burn::tensor::Tensor;

use super::{StepSize, StepSizeContext, over};
use crate::config::{Check, ConfigError};
use crate::engine::RuleError;
use crate::registry::{OptimizerRow, base_of, over_base, read, to_value};
use crate::vector_state::VectorField;

/// SANIA's step sizes over any preconditioner: Polyak's, in the preconditioner's own norm, and never longer
/// than the given rate.
///
/// The shortest step, in the norm of `D`, after which a quadratic model of the loss with the curvature `D` has
/// come down to a lower bound:
///
/// ```text
/// υ = 2 (L - lb) / <q, lr u>        u = D⁻¹ q, the optimizer's direction
/// λ = 1 - √(1 - υ)                  or 1 where υ ≥ 1
/// θ = θ - λ lr u
/// ```
///
/// Over [`SquaredGradientConfig`](crate::SquaredGradientConfig) it is SANIA AdaGrad-SQR or Adam-SQR, whose
/// iterates are the same whatever the units of the weights; over
/// [`NewtonCgConfig`](crate::NewtonCgConfig) SANIA with Newton steps. The paper's rate is 1: with another one
/// the model's curvature is `D / lr`, and `lr` an upper bound. `q` is the gradient, as in the authors' code;
/// with `beta` that of the optimizer's own momentum it is its average, as in the paper. The report's
/// `step_size_factor` is `λ`.
///
/// - Cost: a dot product; no gradient. State: none; with `beta` 1 element for each parameter element.
/// - Defaults: `lower_bound` 0, `beta` 0: the authors' code.
/// - Learning rate: 1, the paper's, over the methods above where the model can fit all of its batches, as the
///   paper's do; elsewhere the method's own, or several times it, as an upper bound.
/// - When not to use it: where the loss ends far above the bound: `λ` stays 1. With a bound above what the loss
///   can reach steps become 0 there, and under [`NonFinitePolicy::Error`](crate::NonFinitePolicy::Error) an
///   error.
///
/// Paper: Abdukhakimov et al., *SANIA: Polyak-type Optimization Framework Leads to Scale Invariant Stochastic
/// Algorithms*, <https://arxiv.org/abs/2312.17369>.
///
/// ```
/// use burn::nn::{Linear, LinearConfig};
/// use burn::tensor::{Device, Distribution, Tensor};
/// use osculate_optim::{ClosureOptimizer, Sania, SoapConfig};
///
/// let device = Device::flex().autodiff();
/// device.seed(1);
/// let mut model: Linear = LinearConfig::new(4, 3).init(&device);
/// let x = Tensor::<2>::random([8, 4], Distribution::Default, &device);
/// let loss = |model: &Linear| model.forward(x.clone()).square().mean();
/// // A rate that would be too large is cut down.
/// let mut optimizer = Sania::new().over(SoapConfig::new().init()?)?;
/// let mut losses = Vec::new();
/// for _ in 0..10 {
///     let step = optimizer.step(0.3, model, &loss)?;
///     losses.push(step.report.loss());
///     model = step.model;
/// }
/// assert!(losses[9] < losses[0]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Config, Debug, PartialEq)]
pub struct Sania {
    /// What the loss cannot fall below. Default 0.
    #[config(default = 0.0)]
    pub lower_bound: f64,
    /// Decay of the average that is taken for the gradient, best that of the optimizer's momentum. Default 0:
    /// the gradient itself.
    #[config(default = 0.0)]
    pub beta: f64,
}

over!(Sania);

impl Sania {
    /// Checks the settings.
    ///
    /// # Errors
    /// [`ConfigError`] for a decay outside `[0, 1)`, and a bound that is not finite.
    pub fn validate(&self) -> Result<(), ConfigError> {
        Check::of("Sania")
            .decay("beta", self.beta)
            .that(
                self.lower_bound.is_finite(),
                "lower_bound",
                self.lower_bound,
                "a finite number that the loss cannot fall below",
            )
            .finish()
    }
}

/// The registry's row.
pub(crate) static ROW: OptimizerRow = OptimizerRow {
    name: "sania",
    text: "Polyak steps in the preconditioner's norm",
    learning_rate: 1e-2,
    gradients: 1.0,
    state: "the base's",
    defaults: || over_base(to_value(&Sania::new())?, "adagrad-sqr"),
    build: |settings| Ok(read::<Sania>(settings, "settings")?.over(base_of(settings)?)?),
};

const AVERAGE: &str = "q";

impl StepSize for Sania {
    fn name(&self) -> &'static str {
        "sania"
    }

    fn fields(&self) -> &'static [VectorField] {
        match self.beta > 0.0 {
            true => const { &[VectorField::wide(AVERAGE)] },
            false => &[],
        }
    }

    fn lower_bound(&self) -> Option<f64> {
        Some(self.lower_bound)
    }

    fn validate(&self) -> Result<(), ConfigError> {
        self.validate()
    }

    fn factor(&self, context: &mut StepSizeContext<'_>) -> Result<Tensor<1>, RuleError> {
        let slope = if self.beta > 0.0 {
            let old = context.state.vector(AVERAGE)?.scale(self.beta);
            let q = old.axpy(1.0 - self.beta, context.gradient);
            context.state.put(AVERAGE, q.clone())?;
            let bias = 1.0 - self.beta.powf(context.step as f64 + 1.0);
            let slope = context.weighted_dot(context.lrs, &q, context.direction);
            slope.div_scalar(bias)
        } else {
            context.weighted_dot(context.lrs, context.gradient, context.direction)
        };
        let room = context.loss.clone().add_scalar(-self.lower_bound);
        let room = room.clamp_min(0.0).mul_scalar(2.0);
        let descends = slope.clone().greater_elem(0.0);
        let reach = (room / slope).clamp_max(1.0);
        // 1 - √(1 - υ) without the cancellation where υ is small.
        let root = reach.clone().neg().add_scalar(1.0).sqrt().add_scalar(1.0);
        let factor = reach / root;
        // Nothing is gained along a direction that does not descend.
        Ok(factor.zeros_like().mask_where(descends, factor))
    }
}
