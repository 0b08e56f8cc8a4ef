use burn::config::Config;
use burn::tensor::Tensor;
use osculate_curvature::ParamVec;

use super::{
    GradientContext, GradientPoint, GradientSource, NORM_EPSILON, TakenGradient, over, perturbation,
};
use crate::config::{Check, ConfigError};
use crate::driver::StepErrorCause;
use crate::registry::{OptimizerRow, base_of, over_sgd, read, to_value};
use crate::vector_state::VectorField;

/// SAM whose second gradient is taken once in `period` steps and reused between.
///
/// ```text
/// every period-th step, the first included:
///     ε  = rho g0 / |g0|,  g1 = ∇L(θ + ε)
///     gv = g1 - (g1.g0 / |g0|²) g0          kept
///     θ  = the optimizer's step at θ with g1
/// other steps:
///     θ  = the optimizer's step at θ with g0 + alpha (|g0| / |gv|) gv
/// ```
///
/// A parameter that has no kept component yet (it had no gradient at the last refresh, or its state is
/// fresh) makes the step a refresh. Curvature is taken at `θ + ε` in a refresh, at `θ` otherwise.
///
/// - Cost: `1 + 1 / period` gradient evaluations a step.
/// - State: 1 element for each parameter element, beside the optimizer's.
/// - Defaults: `rho` 0.05, `alpha` 0.7 and `period` 5, the paper's main setting.
/// - Learning rate: the optimizer's own.
/// - When not to use it: with a period so long that the component is stale; more than 10 is rare. With
///   weights in half precision, whose gradients differ by little more than their rounding at `rho` of 0.05:
///   that difference is scaled up to `alpha |g0|`.
///
/// Paper: Liu et al., *Towards Efficient and Scalable Sharpness-Aware Minimization*,
/// <https://arxiv.org/abs/2203.02714>.
///
/// ```
/// use burn::nn::{Linear, LinearConfig};
/// use burn::optim::SgdConfig;
/// use burn::tensor::{Device, Distribution, Tensor};
/// use osculate_optim::{ClosureOptimizer, LookSam};
///
/// let device = Device::flex().autodiff();
/// device.seed(1);
/// let mut model: Linear = LinearConfig::new(4, 3).init(&device);
/// let x = Tensor::<2>::random([8, 4], Distribution::Default, &device);
/// let loss = |model: &Linear| model.forward(x.clone()).square().mean();
/// let mut optimizer = LookSam::new(0.05).over(SgdConfig::new().init())?;
/// let mut losses = Vec::new();
/// for _ in 0..10 {
///     let step = optimizer.step(0.1, model, &loss)?;
///     losses.push(step.report.loss());
///     model = step.model;
/// }
/// assert!(losses[9] < losses[0]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Config, Debug, PartialEq)]
pub struct LookSam {
    /// Radius of the perturbation.
    pub rho: f64,
    /// Weight of the reused component. Default 0.7.
    #[config(default = 0.7)]
    pub alpha: f64,
    /// Steps between two gradients at perturbed weights. Default 5.
    #[config(default = 5)]
    pub period: usize,
    /// Takes components and norms of each tensor apart, as other implementations do, instead of
    /// over all parameters together, as the paper does. Tensors of one element have next to no
    /// orthogonal component. Default `false`.
    #[config(default = false)]
    pub per_tensor: bool,
}

over!(LookSam);

/// The kept component `gv`.
const KEPT: &str = "orthogonal";
/// Added to the norm of the kept component.
const KEPT_EPSILON: f64 = 1e-8;

impl LookSam {
    /// Checks the settings.
    ///
    /// # Errors
    /// [`ConfigError`] for a negative or non-finite number, and a period of 0.
    pub fn validate(&self) -> Result<(), ConfigError> {
        Check::of("LookSam")
            .non_negative("rho", self.rho)
            .non_negative("alpha", self.alpha)
            .that(self.period > 0, "period", self.period, "at least 1")
            .finish()
    }

    /// Norms of `vector`: that of all tensors together, for each, or one for each.
    fn norms(&self, vector: &ParamVec) -> Vec<Tensor<1>> {
        if self.per_tensor {
            vector.norms_on_device()
        } else {
            vec![vector.norm_on_device(); vector.layout().len()]
        }
    }

    /// The part of `perturbed` that is orthogonal to `clean`.
    fn component(&self, perturbed: &ParamVec, clean: &ParamVec) -> ParamVec {
        let norms = self.norms(clean);
        let over: Vec<Tensor<1>> = norms
            .iter()
            .map(|norm| norm.clone().add_scalar(NORM_EPSILON).recip())
            .collect();
        let unit = clean.scale_each_by(&over);
        let overlaps: Vec<Tensor<1>> = if self.per_tensor {
            let products = perturbed.hadamard(&unit);
            products.iter().map(|(_, x)| x.clone().sum()).collect()
        } else {
            vec![perturbed.dot_on_device(&unit); norms.len()]
        };
        let orthogonal = perturbed.sub(&unit.scale_each_by(&overlaps));
        if !self.per_tensor {
            return orthogonal;
        }
        // One number minus its own projection is rounding noise, which the ratio of norms would blow
        // up. Its exact value is g1 (1 - r^2) with r = |g0| / (|g0| + ε), free of cancellation here.
        let rest: Vec<Tensor<1>> = norms
            .iter()
            .zip(over)
            .map(|(norm, over)| {
                let numerator = norm.clone().mul_scalar(2.0).add_scalar(NORM_EPSILON);
                (numerator * over.clone()).mul_scalar(NORM_EPSILON) * over
            })
            .collect();
        let lone = perturbed.scale_each_by(&rest);
        let mut lone = lone.into_tensors().into_iter();
        orthogonal.map(|(entry, x)| match lone.next() {
            Some(lone) if entry.num_elements() == 1 => lone,
            _ => x.clone(),
        })
    }

    /// `g + alpha (|g| / |gv|) gv`.
    fn reuse(&self, gradient: &ParamVec, kept: &ParamVec) -> ParamVec {
        let factors: Vec<Tensor<1>> = self
            .norms(gradient)
            .into_iter()
            .zip(self.norms(kept))
            .map(|(g, v)| (g / v.add_scalar(KEPT_EPSILON)).mul_scalar(self.alpha))
            .collect();
        gradient.add(&kept.scale_each_by(&factors))
    }
}

/// The registry's row.
pub(crate) static ROW: OptimizerRow = OptimizerRow {
    name: "looksam",
    text: "SAM with its second gradient every 5th step",
    learning_rate: 5e-2,
    gradients: 1.2,
    state: "the base's + 1",
    defaults: || over_sgd(to_value(&LookSam::new(0.05))?),
    build: |settings| Ok(read::<LookSam>(settings, "settings")?.over(base_of(settings)?)?),
};

impl GradientSource for LookSam {
    fn name(&self) -> &'static str {
        "looksam"
    }

    fn fields(&self) -> &'static [VectorField] {
        const { &[VectorField::own(KEPT)] }
    }

    fn validate(&self) -> Result<(), ConfigError> {
        self.validate()
    }

    fn take(&self, context: &mut GradientContext<'_>) -> Result<TakenGradient, StepErrorCause> {
        let clean = context.gradient().clone();
        let due = context.step().is_multiple_of(self.period as u64);
        if let (false, Some(kept)) = (due, context.state.whole(KEPT)?) {
            let reused = self.reuse(&clean, kept);
            return Ok(TakenGradient {
                gradient: context.combined(reused)?,
                point: GradientPoint::Weights,
                refreshed: Some(false),
            });
        }
        let perturbed = context.gradient_at(&perturbation(self.rho, &clean))?;
        let component = self.component(&perturbed, &clean);
        let sound = component.finite_flags();
        let sound = match context.finite() {
            Some(flags) => sound.and(&flags),
            None => sound,
        };
        let component = component.where_finite(&sound, context.state.vector(KEPT)?);
        context.state.put(KEPT, component)?;
        Ok(TakenGradient {
            gradient: perturbed,
            point: GradientPoint::LastEvaluated,
            refreshed: Some(true),
        })
    }
}
