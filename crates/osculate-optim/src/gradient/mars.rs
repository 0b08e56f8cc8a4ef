use burn::config::Config;
use burn::tensor::Tensor;

use super::{GradientContext, GradientPoint, GradientSource, TakenGradient, over};
use crate::config::{Check, ConfigError};
use crate::driver::StepErrorCause;
use crate::registry::{OptimizerRow, base_of, over_base, read, to_value};
use crate::vector_state::VectorField;

/// MARS: a variance-reduced gradient under any optimizer with momentum.
///
/// With the momentum `β` of the optimizer, and the gradient `g'` of the step before:
///
/// ```text
/// c = g + γ β / (1 - β) (g - g')
/// c = c min(1, clip / |c|)              for each parameter
/// θ = the optimizer's step with c
/// ```
///
/// With `exact`, `g'` is the gradient of the present batch at the weights of the step before: what is corrected by
/// is then the movement of the weights alone, and not the change of batches too. Without it, as the authors train
/// their largest models, it is the one that was taken then. Curvature is taken at the weights.
///
/// - Cost: 1 gradient evaluation a step, 2 with `exact`.
/// - State: 1 element for each parameter element, beside the optimizer's.
/// - Defaults: `γ` 0.025, `β` 0.95 and a clip of 1, the authors'. `γ` 0 without a clip is the optimizer itself, bit
///   for bit.
/// - Learning rate: the optimizer's own.
/// - When not to use it: under methods without momentum; under methods whose steps depend on the gradient's size,
///   such as SGD, with the clip of 1.
///
/// Paper: Yuan et al., *MARS: Unleashing the Power of Variance Reduction for Training Large Models*,
/// <https://arxiv.org/abs/2411.10438>.
///
/// ```
/// use burn::nn::{Linear, LinearConfig};
/// use burn::tensor::{Device, Distribution, Tensor};
/// use osculate_optim::{ClosureOptimizer, Mars, SoapConfig};
///
/// let device = Device::flex().autodiff();
/// device.seed(1);
/// let mut model: Linear = LinearConfig::new(4, 3).init(&device);
/// let x = Tensor::<2>::random([8, 4], Distribution::Default, &device);
/// let loss = |model: &Linear| model.forward(x.clone()).square().mean();
/// let mut optimizer = Mars::new().over(SoapConfig::new().init()?)?;
/// let mut losses = Vec::new();
/// for _ in 0..10 {
///     let step = optimizer.step(0.03, model, &loss)?;
///     losses.push(step.report.loss());
///     model = step.model;
/// }
/// assert!(losses[9] < losses[0]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Config, Debug, PartialEq)]
pub struct Mars {
    /// Weight of the correction, `γ`. Default 0.025.
    #[config(default = 0.025)]
    pub gamma: f64,
    /// The momentum of the optimizer below, `β`. Default 0.95.
    #[config(default = 0.95)]
    pub beta: f64,
    /// Largest norm of the corrected gradient of a parameter; `None` for no clipping. Default 1.
    #[config(default = "Some(1.0)")]
    pub clip: Option<f64>,
    /// Takes the older gradient on the present batch. Default `false`.
    #[config(default = false)]
    pub exact: bool,
}

over!(Mars);

impl Mars {
    /// Checks the settings.
    ///
    /// # Errors
    /// [`ConfigError`] for a negative `gamma`, a decay outside `[0, 1)`, and a clip that is not positive.
    pub fn validate(&self) -> Result<(), ConfigError> {
        Check::of("Mars")
            .non_negative("gamma", self.gamma)
            .decay("beta", self.beta)
            .positive("clip", self.clip.unwrap_or(1.0))
            .finish()
    }
}

/// The registry's row.
pub(crate) static ROW: OptimizerRow = OptimizerRow {
    name: "mars",
    text: "gradients corrected by the last ones",
    learning_rate: 3e-3,
    gradients: 1.0,
    state: "the base's + 1",
    defaults: || {
        let over = over_base(to_value(&Mars::new())?, "adamw");
        over.map(|mut settings| {
            // The momentum that the correction is made for.
            settings["base"]["adamw"]["beta_1"] = Mars::new().beta.into();
            settings
        })
    },
    build: |settings| Ok(read::<Mars>(settings, "settings")?.over(base_of(settings)?)?),
};

/// The last gradient, or with `exact` the weights at which it was taken.
const LAST: &str = "last";

impl GradientSource for Mars {
    fn name(&self) -> &'static str {
        "mars"
    }

    fn fields(&self) -> &'static [VectorField] {
        const { &[VectorField::own(LAST)] }
    }

    fn validate(&self) -> Result<(), ConfigError> {
        self.validate()
    }

    fn take(&self, context: &mut GradientContext<'_>) -> Result<TakenGradient, StepErrorCause> {
        let clean = context.gradient().clone();
        // A parameter without a past is not corrected.
        let last = if self.exact {
            let weights = context.parameters()?.clone();
            let last = context.state.start_at(LAST, &weights)?;
            context.state.put(LAST, weights.clone())?;
            match context.step() {
                0 => clean.clone(),
                _ => context.gradient_at(&last.sub(&weights))?,
            }
        } else {
            let last = context.state.or_first(LAST, &clean)?;
            context.state.put(LAST, clean.clone())?;
            last
        };
        let weight = self.gamma * self.beta / (1.0 - self.beta);
        let corrected = match weight > 0.0 {
            true => clean.axpy(weight, &clean.sub(&last)),
            false => clean,
        };
        let gradient = match self.clip {
            Some(limit) => {
                let norms = corrected.norms_on_device();
                // A zero norm gives an infinite ratio, which the clamp turns into 1.
                let ratio = |norm: Tensor<1>| norm.recip().mul_scalar(limit).clamp_max(1.0);
                corrected.scale_each_by(&norms.into_iter().map(ratio).collect::<Vec<_>>())
            }
            None => corrected,
        };
        Ok(TakenGradient {
            gradient: context.combined(gradient)?,
            point: GradientPoint::Weights,
            refreshed: None,
        })
    }
}
