//! Where the gradient of a step is taken, and with it the curvature.

mod amp;
mod asam;
mod awp;
mod clean;
mod entropy_sgd;
mod fast_gam;
mod friendly_sam;
mod gam;
mod gsam;
mod looksam;
mod mars;
mod sam;

pub use amp::Amp;
pub use asam::Asam;
pub use awp::Awp;
pub use clean::Clean;
pub use entropy_sgd::EntropySgd;
pub use fast_gam::FastGam;
pub use friendly_sam::FriendlySam;
pub use gam::Gam;
pub use gsam::Gsam;
pub use looksam::LookSam;
pub use mars::Mars;
pub use sam::Sam;

pub(crate) use {
    amp::ROW as AMP, asam::ROW as ASAM, awp::ROW as AWP, entropy_sgd::ROW as ENTROPY_SGD,
    fast_gam::ROW as FAST_GAM, friendly_sam::ROW as FRIENDLY_SAM, gam::ROW as GAM,
    gsam::ROW as GSAM, looksam::ROW as LOOKSAM, mars::ROW as MARS, sam::ROW as SAM,
};

use std::fmt::Debug;

use burn::tensor::Tensor;
use osculate_curvature::{FiniteFlags, ParamVec};

use crate::config::ConfigError;
use crate::curvature::{Found, ProductMemory};
use crate::driver::StepErrorCause;
use crate::vector_state::{VectorField, VectorState};

/// Where the gradient is taken: at the weights, or at perturbed ones as in sharpness-aware minimisation.
///
/// The point fixes curvature too: a rule that asks for it gets it where the gradient was taken last. Any
/// source goes over any optimizer with [`Driver::with_gradient`](crate::Driver::with_gradient).
///
/// ```
/// use osculate_optim::{
///     GradientContext, GradientPoint, GradientSource, StepErrorCause, TakenGradient,
/// };
///
/// /// Nesterov-like: the gradient half a step ahead, along minus the gradient itself.
/// #[derive(Debug)]
/// struct LookAhead {
///     distance: f64,
/// }
///
/// impl GradientSource for LookAhead {
///     fn name(&self) -> &'static str {
///         "look-ahead"
///     }
///     fn take(&self, context: &mut GradientContext<'_>) -> Result<TakenGradient, StepErrorCause> {
///         let offset = context.gradient().scale(-self.distance);
///         Ok(TakenGradient {
///             gradient: context.gradient_at(&offset)?,
///             point: GradientPoint::LastEvaluated,
///             refreshed: None,
///         })
///     }
/// }
/// # use burn::{nn::{Linear, LinearConfig}, optim::SgdConfig, tensor::{Device, Tensor}};
/// # use osculate_optim::{ClosureOptimizer, Driver};
/// # let device = Device::flex().autodiff();
/// # let model: Linear = LinearConfig::new(2, 1).init(&device);
/// # let x = Tensor::<2>::ones([4, 2], &device);
/// # let loss = |model: &Linear| model.forward(x.clone()).square().mean();
/// let mut optimizer = Driver::from(SgdConfig::new().init()).with_gradient(LookAhead { distance: 0.01 });
/// let step = optimizer.step(0.1, model, &loss)?;
/// assert_eq!(step.report.cost().gradient_evaluations(), 2.0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait GradientSource: Debug + Send + Sync {
    /// Name of the source, in lower case.
    fn name(&self) -> &'static str;

    /// The vectors that it keeps from step to step.
    fn fields(&self) -> &'static [VectorField] {
        &[]
    }

    /// Checks the settings; the first step does, for a source that is put over by
    /// [`Driver::with_gradient`](crate::Driver::with_gradient).
    ///
    /// # Errors
    /// [`ConfigError`] for a setting that is out of its range.
    fn validate(&self) -> Result<(), ConfigError> {
        Ok(())
    }

    /// Takes the gradient of a step.
    ///
    /// # Errors
    /// Whatever the evaluations fail with; the step is then not made.
    fn take(&self, context: &mut GradientContext<'_>) -> Result<TakenGradient, StepErrorCause>;
}

/// A gradient, and where it was taken.
#[derive(Debug, Clone)]
pub struct TakenGradient {
    /// The gradient that the update goes by.
    pub gradient: ParamVec,
    /// The point at which curvature is to be taken.
    pub point: GradientPoint,
    /// For sources that reuse an older evaluation: whether this step made a new one.
    pub refreshed: Option<bool>,
}

/// A point at which a gradient was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GradientPoint {
    /// The weights themselves.
    Weights,
    /// The weights plus the offset of the last [`GradientContext::gradient_at`].
    LastEvaluated,
}

/// The evaluations that a context hands out.
pub(crate) trait Evaluations {
    fn parameters(&self) -> Result<&ParamVec, StepErrorCause>;
    fn gradient(&self) -> &ParamVec;
    fn gradient_at(&mut self, offset: &ParamVec) -> Result<ParamVec, StepErrorCause>;
    fn drawn_gradient_at(
        &mut self,
        what: &'static str,
        number: u64,
        offset: &ParamVec,
    ) -> Result<ParamVec, StepErrorCause>;
    fn hessian_product(
        &mut self,
        point: GradientPoint,
        memory: &ProductMemory,
        step: u64,
        v: &ParamVec,
    ) -> Result<(ParamVec, Found), StepErrorCause>;
    fn seed(&self) -> u64;
    fn accept_combined(&mut self, gradient: ParamVec) -> Result<ParamVec, StepErrorCause>;
    fn sound(&self) -> Option<FiniteFlags>;
}

/// What a [`GradientSource`] may evaluate, and its state.
pub struct GradientContext<'a> {
    evaluations: &'a mut dyn Evaluations,
    /// The source's state, by name.
    pub state: VectorState,
    products: &'a ProductMemory,
    found: Found,
    lr: f64,
    step: u64,
}

impl<'a> GradientContext<'a> {
    pub(crate) fn new(
        evaluations: &'a mut dyn Evaluations,
        state: VectorState,
        products: &'a ProductMemory,
        lr: f64,
        step: u64,
    ) -> Self {
        Self {
            evaluations,
            state,
            products,
            found: Found::before(products),
            lr,
            step,
        }
    }

    /// The state to keep, and what was found out about products.
    pub(crate) fn finish(self) -> (VectorState, Found) {
        (self.state, self.found)
    }

    /// The weights.
    ///
    /// # Errors
    /// None after the clean pass, which has been made.
    pub fn parameters(&self) -> Result<&ParamVec, StepErrorCause> {
        self.evaluations.parameters()
    }

    /// The gradient at the weights, zero where it is not finite and skipped.
    pub fn gradient(&self) -> &ParamVec {
        self.evaluations.gradient()
    }

    /// The gradient at `θ + offset`, under the policy for values that are not finite.
    ///
    /// Cost: one gradient evaluation.
    ///
    /// # Errors
    /// Whatever the objective fails with.
    pub fn gradient_at(&mut self, offset: &ParamVec) -> Result<ParamVec, StepErrorCause> {
        self.evaluations.gradient_at(offset)
    }

    /// The gradient at `θ + offset` on another batch of the same data, which the objective hands out by
    /// number: 0, 1, and so on within a step. The point of the curvature stays what it was.
    ///
    /// Cost: one gradient evaluation.
    ///
    /// # Errors
    /// [`CurvatureError::NoDraws`](osculate_curvature::CurvatureError::NoDraws), naming `what` asked, for an
    /// objective that is no [`Drawing`](osculate_curvature::Drawing), and whatever it fails with.
    pub fn drawn_gradient_at(
        &mut self,
        what: &'static str,
        number: u64,
        offset: &ParamVec,
    ) -> Result<ParamVec, StepErrorCause> {
        self.evaluations.drawn_gradient_at(what, number, offset)
    }

    /// The Hessian at a point times `v`, which may have any length, in the parameters' element types.
    ///
    /// Cost: 2 to 2.7 gradient evaluations where the objective hands its batch over, 2 to 4 by finite
    /// differences otherwise. Reads back a norm.
    ///
    /// # Errors
    /// Whatever the objective fails with, and under the policy `Error` products that are not finite.
    pub fn hessian_product(
        &mut self,
        point: GradientPoint,
        v: &ParamVec,
    ) -> Result<ParamVec, StepErrorCause> {
        let (product, found) =
            self.evaluations
                .hessian_product(point, self.products, self.step, v)?;
        self.found.update(found);
        Ok(product)
    }

    /// A seed that is a function of the run's seed and the step's number.
    pub fn seed(&self) -> u64 {
        self.evaluations.seed()
    }

    /// Passes a gradient that was made out of others through the policy: it may leave the range of
    /// numbers although they were in it.
    ///
    /// # Errors
    /// [`StepErrorCause::NonFiniteUpdate`] under the policy `Error`.
    pub fn combined(&mut self, gradient: ParamVec) -> Result<ParamVec, StepErrorCause> {
        self.evaluations.accept_combined(gradient)
    }

    /// Flags of the parameters whose gradients were finite so far; `None` where nobody looked.
    pub fn finite(&self) -> Option<FiniteFlags> {
        self.evaluations.sound()
    }

    /// The base learning rate of the step.
    pub fn lr(&self) -> f64 {
        self.lr
    }

    /// Steps made before this one.
    pub fn step(&self) -> u64 {
        self.step
    }
}

/// Added to norms that divide, as in the authors' code: a zero gradient is then not perturbed.
const NORM_EPSILON: f64 = 1e-12;

/// `rho / (norm + epsilon)` on the device. A norm that overflowed gives 0: the step then falls back
/// to the base optimizer's.
fn radius_over(rho: f64, norm: Tensor<1>, epsilon: f64) -> Tensor<1> {
    (norm.add_scalar(epsilon)).recip().mul_scalar(rho)
}

/// SAM's perturbation `rho g / |g|`.
pub(crate) fn perturbation(rho: f64, gradient: &ParamVec) -> ParamVec {
    gradient.scale_by(&radius_over(rho, gradient.norm_on_device(), NORM_EPSILON))
}

/// The vector at length 1, or 0 where it is zero.
fn unit(vector: &ParamVec) -> ParamVec {
    perturbation(1.0, vector)
}

/// The component of `vector` that is orthogonal to `direction`.
fn orthogonal(vector: &ParamVec, direction: &ParamVec) -> ParamVec {
    // Normalising first keeps the squares of tiny and huge gradients in range.
    let direction = unit(direction);
    let along = vector.dot_on_device(&direction).neg();
    vector.axpy_by(&along, &direction)
}

/// The perturbation `rho T^2 g / |T g|` of a diagonal normalisation `T`.
///
/// A weight that is not finite has no normalisation: it is left out, lest it take all others with
/// it through the norm.
fn scaled_perturbation(
    rho: f64,
    gradient: &ParamVec,
    normalisation: &ParamVec,
    epsilon: f64,
) -> ParamVec {
    let scaled = gradient.hadamard(normalisation).finite_or_zero();
    let factor = radius_over(rho, scaled.norm_on_device(), epsilon);
    scaled
        .scale_by(&factor)
        .hadamard(normalisation)
        .finite_or_zero()
}

/// Gives a gradient source the constructor that puts it over another optimizer.
macro_rules! over {
    ($source:ident) => {
        $crate::config::over_base!(
            $source,
            checked_gradient,
            "source",
            "and for an optimizer that has a gradient source already: perturbations do not nest"
        );
    };
}

use over;
