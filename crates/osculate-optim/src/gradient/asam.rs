use burn::config::Config;
use burn::module::ParamGroup;
use osculate_curvature::ParamEntry;

use super::{
    GradientContext, GradientPoint, GradientSource, TakenGradient, over, scaled_perturbation,
};
use crate::config::{Check, ConfigError};
use crate::driver::StepErrorCause;
use crate::registry::{OptimizerRow, base_of, over_sgd, read, to_value};

/// Adaptive sharpness-aware minimisation: SAM with a perturbation that follows the scale of each
/// weight, so that rescaling a layer does not change its sharpness.
///
/// ```text
/// T  = |θ| + eta for scaled parameters, 1 for the others
/// ε  = rho T² g0 / (|T g0| + 1e-16)     over all parameters together
/// g1 = ∇L(θ + ε)
/// θ  = the optimizer's step at θ with g1
/// ```
///
/// - Cost: 2 gradient evaluations a step.
/// - State: the optimizer's; while a step runs, three vectors more.
/// - Defaults: `rho` 0.5 in the registry, `eta` 0.01, the authors'. With `eta` 0 and all parameters
///   scaled it is the `adaptive` flag of the widespread PyTorch implementation.
/// - Learning rate: the optimizer's own.
/// - When not to use it: as [`Sam`](super::Sam).
///
/// Paper: Kwon et al., *ASAM*, <https://arxiv.org/abs/2102.11600>.
///
/// ```
/// use burn::nn::{Linear, LinearConfig};
/// use burn::optim::SgdConfig;
/// use burn::tensor::{Device, Distribution, Tensor};
/// use osculate_optim::{ClosureOptimizer, Asam};
///
/// let device = Device::flex().autodiff();
/// device.seed(1);
/// let mut model: Linear = LinearConfig::new(4, 3).init(&device);
/// let x = Tensor::<2>::random([8, 4], Distribution::Default, &device);
/// let loss = |model: &Linear| model.forward(x.clone()).square().mean();
/// let mut optimizer = Asam::new(0.5).over(SgdConfig::new().init())?;
/// let mut losses = Vec::new();
/// for _ in 0..10 {
///     let step = optimizer.step(0.1, model, &loss)?;
///     losses.push(step.report.loss());
///     model = step.model;
/// }
/// assert!(losses[9] < losses[0]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Config, Debug)]
pub struct Asam {
    /// Radius of the perturbation in units of the normalised weights: about ten times that of SAM.
    pub rho: f64,
    /// Added to the magnitude of the weights, so that zero weights are perturbed too. Default 0.01.
    #[config(default = 0.01)]
    pub eta: f64,
    /// Parameters whose perturbation is scaled. Default: all but biases, that is all whose path
    /// does not end in `bias` or `beta`.
    pub scaled: Option<ParamGroup>,
}

over!(Asam);

impl Asam {
    /// Checks the settings.
    ///
    /// # Errors
    /// [`ConfigError`] for a negative or non-finite radius or `eta`.
    pub fn validate(&self) -> Result<(), ConfigError> {
        Check::of("Asam")
            .non_negative("rho", self.rho)
            .non_negative("eta", self.eta)
            .finish()
    }

    fn is_scaled(&self, entry: &ParamEntry) -> bool {
        match &self.scaled {
            Some(group) => group.matches(&entry.id, Some(entry.path.as_str())),
            None => {
                let name = entry.path.rsplit('.').next().unwrap_or_default();
                !matches!(name, "bias" | "beta")
            }
        }
    }
}

/// The registry's row.
pub(crate) static ROW: OptimizerRow = OptimizerRow {
    name: "asam",
    text: "SAM that follows the scale of each weight",
    learning_rate: 5e-2,
    gradients: 2.0,
    state: "the base's",
    defaults: || over_sgd(to_value(&Asam::new(0.5))?),
    build: |settings| Ok(read::<Asam>(settings, "settings")?.over(base_of(settings)?)?),
};

/// What the authors' code adds to the norm.
const EPSILON: f64 = 1e-16;

impl GradientSource for Asam {
    fn name(&self) -> &'static str {
        "asam"
    }

    fn validate(&self) -> Result<(), ConfigError> {
        self.validate()
    }

    fn take(&self, context: &mut GradientContext<'_>) -> Result<TakenGradient, StepErrorCause> {
        let normalisation = context.parameters()?.map(|(entry, weights)| {
            if self.is_scaled(entry) {
                weights.clone().abs().add_scalar(self.eta)
            } else {
                weights.ones_like()
            }
        });
        let epsilon = scaled_perturbation(self.rho, context.gradient(), &normalisation, EPSILON);
        Ok(TakenGradient {
            gradient: context.gradient_at(&epsilon)?,
            point: GradientPoint::LastEvaluated,
            refreshed: None,
        })
    }
}
