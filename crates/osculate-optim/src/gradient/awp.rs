use burn::config::Config;
use burn::module::ParamGroup;
use burn::tensor::Tensor;
use osculate_curvature::ParamEntry;

use super::{GradientContext, GradientPoint, GradientSource, TakenGradient, over};
use crate::config::{Check, ConfigError};
use crate::driver::StepErrorCause;
use crate::registry::{OptimizerRow, base_of, over_sgd, read, to_value};

/// Adversarial weight perturbation: the gradient at weights moved uphill by a part of their own length, each
/// tensor for itself.
///
/// ```text
/// v = gamma (|θ| / |g|) g              for each perturbed tensor, 0 for the others
/// θ = the optimizer's step at θ with ∇L(θ + v) + decay_at_perturbed v
/// ```
///
/// It was made for adversarial training, whose loss has attacked inputs, and goes over any loss. Curvature
/// that the optimizer asks for is taken at `θ + v`.
///
/// - Cost: 2 gradient evaluations a step.
/// - State: the optimizer's; while a step runs, two vectors more.
/// - Defaults: `gamma` 0.01 in the registry, the authors' for adversarial training (0.005 for TRADES). Tensors
///   of rank 2 and more are perturbed, the weights of the authors' networks. `gamma` 0 is the optimizer
///   itself, bit for bit.
/// - Learning rate: the optimizer's own.
/// - When not to use it: in the first epochs from random weights, whose length says nothing yet; the authors
///   start TRADES without.
///
/// Paper: Wu et al., *Adversarial Weight Perturbation Helps Robust Generalization*,
/// <https://arxiv.org/abs/2004.05884>.
///
/// ```
/// use burn::nn::{Linear, LinearConfig};
/// use burn::optim::SgdConfig;
/// use burn::tensor::{Device, Distribution, Tensor};
/// use osculate_optim::{ClosureOptimizer, Awp};
///
/// let device = Device::flex().autodiff();
/// device.seed(1);
/// let mut model: Linear = LinearConfig::new(4, 3).init(&device);
/// let x = Tensor::<2>::random([8, 4], Distribution::Default, &device);
/// let loss = |model: &Linear| model.forward(x.clone()).square().mean();
/// let mut optimizer = Awp::new(0.01).over(SgdConfig::new().init())?;
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
pub struct Awp {
    /// Length of the perturbation as a part of the weights'.
    pub gamma: f64,
    /// The base's decay within its gradient (`λθ`), where it is to act at the perturbed weights: the authors'
    /// code steps there and then takes the perturbation away. Default 0: the decay acts at the weights.
    #[config(default = 0.0)]
    pub decay_at_perturbed: f64,
    /// Parameters that are perturbed. Default: those of rank 2 and more.
    pub perturbed: Option<ParamGroup>,
}

over!(Awp);

/// What the authors' code adds to the gradient's norm.
const EPSILON: f64 = 1e-20;

impl Awp {
    /// Checks the settings.
    ///
    /// # Errors
    /// [`ConfigError`] for a negative or non-finite number.
    pub fn validate(&self) -> Result<(), ConfigError> {
        Check::of("Awp")
            .non_negative("gamma", self.gamma)
            .non_negative("decay_at_perturbed", self.decay_at_perturbed)
            .finish()
    }

    fn is_perturbed(&self, entry: &ParamEntry) -> bool {
        match &self.perturbed {
            Some(group) => group.matches(&entry.id, Some(entry.path.as_str())),
            None => entry.shape.num_dims() >= 2,
        }
    }
}

/// The registry's row.
pub(crate) static ROW: OptimizerRow = OptimizerRow {
    name: "awp",
    text: "SAM with each tensor moved by a part of its length",
    learning_rate: 5e-2,
    gradients: 2.0,
    state: "the base's",
    defaults: || over_sgd(to_value(&Awp::new(0.01))?),
    build: |settings| Ok(read::<Awp>(settings, "settings")?.over(base_of(settings)?)?),
};

impl GradientSource for Awp {
    fn name(&self) -> &'static str {
        "awp"
    }

    fn validate(&self) -> Result<(), ConfigError> {
        self.validate()
    }

    fn take(&self, context: &mut GradientContext<'_>) -> Result<TakenGradient, StepErrorCause> {
        let clean = context.gradient().clone();
        let lengths = context.parameters()?.norms_on_device();
        let norms = clean.norms_on_device().into_iter().zip(lengths);
        let entries = clean.layout().entries().iter();
        let factors: Vec<Tensor<1>> = norms
            .zip(entries)
            .map(|((norm, length), entry)| match self.is_perturbed(entry) {
                true => (length / norm.add_scalar(EPSILON)).mul_scalar(self.gamma),
                false => norm.zeros_like(),
            })
            .collect();
        // A weight that is not finite has no length to go by.
        let moved = clean.scale_each_by(&factors).finite_or_zero();
        let mut gradient = context.gradient_at(&moved)?;
        if self.decay_at_perturbed > 0.0 {
            gradient = gradient.axpy(self.decay_at_perturbed, &moved);
        }
        Ok(TakenGradient {
            gradient,
            point: GradientPoint::LastEvaluated,
            refreshed: None,
        })
    }
}
