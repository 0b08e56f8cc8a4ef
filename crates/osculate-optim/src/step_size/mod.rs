//! How far a step goes along its direction.

mod armijo;
mod momo;
mod prodigy;
mod random_scale;
mod sania;

pub use armijo::Armijo;
pub use momo::Momo;
pub use prodigy::Prodigy;
pub use random_scale::RandomScale;
pub use sania::Sania;

pub(crate) use {
    armijo::ROW as ARMIJO, momo::ROW as MOMO, prodigy::ROW as PRODIGY,
    random_scale::ROW as RANDOM_SCALE, sania::ROW as SANIA,
};

use std::fmt::Debug;

use burn::tensor::Tensor;
use osculate_curvature::{CurvatureError, ParamVec};

use crate::config::ConfigError;
use crate::engine::RuleError;
use crate::vector_state::{VectorField, VectorState, scalar_dtype};

/// How far a step goes along its direction: a factor on the learning rate, on the device.
///
/// Without a policy the rate is the given one. [`Driver::with_step_size`](crate::Driver::with_step_size)
/// puts one over any optimizer.
///
/// ```
/// use burn::tensor::Tensor;
/// use osculate_optim::{RuleError, StepSize, StepSizeContext};
///
/// /// Shorter steps where the loss is small: `min(1, loss)`.
/// #[derive(Debug)]
/// struct ByLoss;
///
/// impl StepSize for ByLoss {
///     fn name(&self) -> &'static str {
///         "by-loss"
///     }
///     fn factor(&self, context: &mut StepSizeContext<'_>) -> Result<Tensor<1>, RuleError> {
///         Ok(context.loss.clone().clamp_max(1.0))
///     }
/// }
/// # use burn::{nn::{Linear, LinearConfig}, optim::SgdConfig, tensor::Device};
/// # use osculate_optim::{ClosureOptimizer, Driver};
/// # let device = Device::flex().autodiff();
/// # let model: Linear = LinearConfig::new(2, 1).init(&device);
/// # let x = Tensor::<2>::ones([4, 2], &device);
/// # let loss = |model: &Linear| model.forward(x.clone()).square().mean();
/// let mut optimizer = Driver::from(SgdConfig::new().init()).with_step_size(ByLoss);
/// let step = optimizer.step(0.1, model, &loss)?;
/// let factor = step.report.step_size_factor().expect("a policy");
/// assert!((factor - step.report.loss().min(1.0)).abs() < 1e-6);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait StepSize: Debug + Send + Sync {
    /// Name of the policy, in lower case.
    fn name(&self) -> &'static str;

    /// The vectors that it keeps from step to step.
    fn fields(&self) -> &'static [VectorField] {
        &[]
    }

    /// The scalars that it keeps on the device.
    fn scalars(&self) -> &'static [&'static str] {
        &[]
    }

    /// Whether it looks at the loss. Of an objective that gives gradients alone it is evaluated by the
    /// supervised terms, one forward pass more; without any a step is an error.
    fn needs_loss(&self) -> bool {
        true
    }

    /// Whether weight decay is at the rate that the factor makes, as where the factor *is* the rate, or at the given
    /// one, as where it only bounds steps.
    fn scales_decay(&self) -> bool {
        false
    }

    /// What the policy takes for a value that the loss cannot fall below, where that is fixed. A loss below it
    /// is an error of the step under [`NonFinitePolicy::Error`](crate::NonFinitePolicy::Error), which reads
    /// the loss back.
    fn lower_bound(&self) -> Option<f64> {
        None
    }

    /// Checks the settings; the first step does, for a policy that is put over by
    /// [`Driver::with_step_size`](crate::Driver::with_step_size).
    ///
    /// # Errors
    /// [`ConfigError`] for a setting that is out of its range.
    fn validate(&self) -> Result<(), ConfigError> {
        Ok(())
    }

    /// The factor on the learning rate of all parameters, a tensor of one element. A factor of exactly 1
    /// is the given rate, bit for bit.
    ///
    /// # Errors
    /// [`RuleError`] for a state that was not declared.
    fn factor(&self, context: &mut StepSizeContext<'_>) -> Result<Tensor<1>, RuleError>;

    /// Looks at the displacement that was made of the factor, decay included.
    ///
    /// # Errors
    /// [`RuleError`] for a state that was not declared.
    fn observe(
        &self,
        context: &mut StepSizeContext<'_>,
        displacement: &ParamVec,
    ) -> Result<(), RuleError> {
        let _ = (context, displacement);
        Ok(())
    }
}

/// What a [`StepSize`] policy may look at.
pub struct StepSizeContext<'a> {
    /// The policy's state, by name.
    pub state: VectorState,
    /// The loss at the weights, one element, in the type of the state's scalars.
    pub loss: Tensor<1>,
    /// The weights, in the type in which statistics are kept.
    pub weights: &'a ParamVec,
    /// The gradient that the update goes by, in the same type.
    pub gradient: &'a ParamVec,
    /// The directions `u`: at a factor of 1 the step is `θ ← θ - lr u`, decay apart.
    pub direction: &'a ParamVec,
    /// The learning rate of each parameter.
    pub lrs: &'a [f64],
    /// The weight decay of each parameter; 0 where it is part of the direction.
    pub weight_decays: &'a [f64],
    /// Steps made before this one.
    pub step: u64,
    /// Seed of the run.
    pub seed: u64,
    /// The loss at the weights plus a multiple of an offset.
    pub(crate) trial: &'a dyn Fn(&ParamVec, f64) -> Result<Tensor<1>, CurvatureError>,
}

impl StepSizeContext<'_> {
    /// The loss at `θ + scale * offset` on the batch of the step, one element, with its dropout mask; running
    /// statistics do not notice.
    ///
    /// Cost: one forward pass.
    ///
    /// # Errors
    /// [`RuleError::Evaluation`] where the objective fails.
    pub fn loss_at(&self, offset: &ParamVec, scale: f64) -> Result<Tensor<1>, RuleError> {
        Ok((self.trial)(offset, scale)?)
    }

    /// `Σ_p c_p <a_p, b_p>` over the parameters, as a scalar on the device. Parameters whose
    /// coefficient is 0 cost nothing.
    ///
    /// # Panics
    /// If the vectors are not of the model's layout.
    pub fn weighted_dot(&self, coefficients: &[f64], a: &ParamVec, b: &ParamVec) -> Tensor<1> {
        let (device, dtype) = (self.loss.device(), scalar_dtype(&self.loss.device()));
        let zero = Tensor::zeros([1], (&device, dtype));
        let pairs = a.tensors().iter().zip(b.tensors()).zip(coefficients);
        pairs
            .filter(|(_, c)| **c != 0.0)
            .map(|((a, b), c)| {
                let dot = (a.clone() * b.clone()).sum().to_device(&device);
                dot.cast(dtype).mul_scalar(*c)
            })
            .fold(zero, |sum, dot| sum + dot)
    }
}

/// Gives a policy the constructor that puts it over another optimizer.
macro_rules! over {
    ($policy:ident) => {
        $crate::config::over_base!(
            $policy,
            checked_step_size,
            "policy",
            "and for an optimizer that has a step-size policy already"
        );
    };
}

use over;
