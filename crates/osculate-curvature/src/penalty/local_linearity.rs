use burn::tensor::Tensor;

use crate::error::{CurvatureError, ObjectiveError};
use crate::objective::Objective;

/// How far a loss is from linear in its inputs: the mean over samples of
/// `|l(x + δ) - l(x) - δᵀ ∇l(x)|`.
///
/// The directional derivative is a central difference of losses, `(l(x + hδ) - l(x - hδ)) / 2h`, so
/// that the whole is an ordinary loss of the weights, which reverse mode differentiates once. Small
/// values make gradient-based attacks on inputs honest and adversarial training cheaper.
///
/// `δ` is chosen by the caller: random, or by a few steps that raise the value.
///
/// Cost: four forward passes and their backward pass.
///
/// Paper: Qin et al., <https://arxiv.org/abs/1907.02610>.
///
/// ```
/// # use burn::nn::{Linear, LinearConfig};
/// # use burn::tensor::{Device, Distribution, Tensor};
/// use osculate_curvature::{GradientOracle, LocalLinearity};
/// let device = Device::flex().autodiff();
/// let model: Linear = LinearConfig::new(4, 1).init(&device);
/// let x = Tensor::<2>::random([12, 4], Distribution::Default, &device);
/// let delta = Tensor::<2>::random([12, 4], Distribution::Uniform(-0.1, 0.1), &device);
/// // A linear output is its own linearisation.
/// let penalty = LocalLinearity::new(x, delta, 1e-2, |model: &Linear, x: Tensor<2>| {
///     model.forward(x).squeeze_dim::<1>(1)
/// })?;
/// let oracle = GradientOracle::new(&model, &penalty);
/// let value: f32 = oracle.clean()?.loss.clone().into_scalar();
/// assert!(value < 1e-5);
/// # Ok::<(), osculate_curvature::CurvatureError>(())
/// ```
#[derive(Debug, Clone)]
pub struct LocalLinearity<const D: usize, F> {
    inputs: Tensor<D>,
    delta: Tensor<D>,
    step: f64,
    losses: F,
}

impl<const D: usize, F> LocalLinearity<D, F> {
    /// The departure along `delta` for a function of model and inputs that gives one loss for each
    /// sample. `step` is `h`, relative to `delta`: 1e-2 in `f32`, 1e-4 in `f64`.
    ///
    /// # Errors
    /// [`CurvatureError::InvalidSetting`] where the shapes differ or the step is not positive.
    pub fn new<M>(
        inputs: Tensor<D>,
        delta: Tensor<D>,
        step: f64,
        losses: F,
    ) -> Result<Self, CurvatureError>
    where
        F: Fn(&M, Tensor<D>) -> Tensor<1>,
    {
        CurvatureError::check(
            inputs.dims() == delta.dims(),
            "shape of delta",
            format_args!("{:?}", delta.dims()),
            "the shape of the inputs",
        )?;
        CurvatureError::check(
            step.is_finite() && step > 0.0,
            "step",
            step,
            "a positive finite number",
        )?;
        Ok(Self {
            inputs,
            delta,
            step,
            losses,
        })
    }
}

impl<M, const D: usize, F> Objective<M> for LocalLinearity<D, F>
where
    F: Fn(&M, Tensor<D>) -> Tensor<1>,
{
    fn loss(&self, model: &M) -> Result<Tensor<1>, ObjectiveError> {
        let at = |t: f64| (self.losses)(model, self.inputs.clone() + self.delta.clone() * t);
        let slope = (at(self.step) - at(-self.step)).div_scalar(2.0 * self.step);
        Ok((at(1.0) - at(0.0) - slope).abs().mean())
    }
}
