use burn::config::Config;

use super::{
    GradientContext, GradientPoint, GradientSource, TakenGradient, orthogonal, over, perturbation,
};
use crate::config::{Check, ConfigError};
use crate::driver::StepErrorCause;
use crate::registry::{OptimizerRow, base_of, over_sgd, read, to_value};

/// Gradient-norm aware minimisation by four gradients, the form that the authors' code has.
///
/// ```text
/// g1 = ∇L(θ + inner_rho g0 / |g0|)
/// e  = rho (g1 - g0) / |g1 - g0|
/// g2 = ∇L(θ + e),  g3 = ∇L(θ + e + inner_rho g2 / |g2|)
/// p  = g0 + |beta_2| g2,  q = beta_1 g1 + beta_3 g3
/// θ  = the optimizer's step at θ with q - gamma (p - (p.q / |q|²) q)
/// ```
///
/// Differences of gradients stand in for [`Gam`](super::Gam)'s products, and as in
/// [`Gsam`](super::Gsam) the step climbs along what is orthogonal to it. Curvature that the optimizer asks
/// for is taken where `g3` is.
///
/// - Cost: 4 gradient evaluations a step.
/// - State: the optimizer's; while a step runs, four vectors more.
/// - Defaults: the authors': `inner_rho` 0.02, `beta_1`, `beta_3` 1, `beta_2` -1, `gamma` 0.03, and `rho`
///   0.2 in the registry. With both radii, `beta_3` and `gamma` 0 it is the optimizer itself, bit for bit.
/// - Learning rate: half the optimizer's own, because `q` is the sum of two gradients.
/// - When not to use it: in half precision, where `g1 - g0` at a radius of 0.02 is mostly rounding.
///
/// Paper: Zhang et al., *Gradient Norm Aware Minimization Seeks First-Order Flatness*,
/// <https://arxiv.org/abs/2303.03108>.
///
/// ```
/// use burn::nn::{Linear, LinearConfig};
/// use burn::optim::SgdConfig;
/// use burn::tensor::{Device, Distribution, Tensor};
/// use osculate_optim::{ClosureOptimizer, FastGam};
///
/// let device = Device::flex().autodiff();
/// device.seed(1);
/// let mut model: Linear = LinearConfig::new(4, 3).init(&device);
/// let x = Tensor::<2>::random([8, 4], Distribution::Default, &device);
/// let loss = |model: &Linear| model.forward(x.clone()).square().mean();
/// let mut optimizer = FastGam::new(0.2).over(SgdConfig::new().init())?;
/// let mut losses = Vec::new();
/// for _ in 0..10 {
///     let step = optimizer.step(0.05, model, &loss)?;
///     losses.push(step.report.loss());
///     model = step.model;
/// }
/// assert!(losses[9] < losses[0]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Config, Debug, PartialEq)]
pub struct FastGam {
    /// Radius within which the largest gradient norm is looked for.
    pub rho: f64,
    /// Radius of the perturbations that measure the gradient norm. Default 0.02.
    #[config(default = 0.02)]
    pub inner_rho: f64,
    /// Weight of the gradient near the weights. Default 1.
    #[config(default = 1.0)]
    pub beta_1: f64,
    /// Weight, by its magnitude, of the gradient at `e` in what is climbed. Default -1.
    #[config(default = -1.0)]
    pub beta_2: f64,
    /// Weight of the gradient near `e`. Default 1.
    #[config(default = 1.0)]
    pub beta_3: f64,
    /// Weight of the climb. Default 0.03.
    #[config(default = 0.03)]
    pub gamma: f64,
}

over!(FastGam);

impl FastGam {
    /// Checks the settings.
    ///
    /// # Errors
    /// [`ConfigError`] for a negative or non-finite number; only `beta_2` may be negative.
    pub fn validate(&self) -> Result<(), ConfigError> {
        Check::of("FastGam")
            .non_negative("rho", self.rho)
            .non_negative("inner_rho", self.inner_rho)
            .non_negative("beta_1", self.beta_1)
            .that(
                self.beta_2.is_finite(),
                "beta_2",
                self.beta_2,
                "a finite number",
            )
            .non_negative("beta_3", self.beta_3)
            .non_negative("gamma", self.gamma)
            .finish()
    }
}

/// The registry's row.
pub(crate) static ROW: OptimizerRow = OptimizerRow {
    name: "fast-gam",
    text: "descends the gradient norm too, by four gradients",
    learning_rate: 2e-2,
    gradients: 4.0,
    state: "the base's",
    defaults: || over_sgd(to_value(&FastGam::new(0.2))?),
    build: |settings| Ok(read::<FastGam>(settings, "settings")?.over(base_of(settings)?)?),
};

impl GradientSource for FastGam {
    fn name(&self) -> &'static str {
        "fast-gam"
    }

    fn validate(&self) -> Result<(), ConfigError> {
        self.validate()
    }

    fn take(&self, context: &mut GradientContext<'_>) -> Result<TakenGradient, StepErrorCause> {
        let clean = context.gradient().clone();
        let near = context.gradient_at(&perturbation(self.inner_rho, &clean))?;
        let climb = perturbation(self.rho, &near.sub(&clean));
        let far = context.gradient_at(&climb)?;
        let beyond = climb.add(&perturbation(self.inner_rho, &far));
        let beyond = context.gradient_at(&beyond)?;
        let mixed = clean.axpy(self.beta_2.abs(), &far);
        let descent = near.scale(self.beta_1).axpy(self.beta_3, &beyond);
        let gradient = descent.axpy(-self.gamma, &orthogonal(&mixed, &descent));
        Ok(TakenGradient {
            gradient: context.combined(gradient)?,
            point: GradientPoint::LastEvaluated,
            refreshed: None,
        })
    }
}
