use std::cell::OnceCell;

use burn::tensor::Tensor;
use burn::tensor::activation::{log_softmax, softmax};

use super::{Criterion, Objective};
use crate::error::{CurvatureError, ObjectiveError};

/// A loss that also holds the model's answers to those of a reference, such as itself at earlier weights.
///
/// ```text
/// L + weight τ² mean_b Σ_k q_bk (ln q_bk - ln p_bk),    p = softmax(f / τ),  q = softmax(reference / τ)
/// ```
///
/// for outputs `f` and a constant `reference` of shape `[B, C]`, `τ` being the temperature. A reference that an
/// exponential average of the weights gives is MESA: the loss is then lowered where it is flat along the way of
/// training, for one forward pass more and no perturbation of the weights. [`Saf`](super::Saf) takes it from
/// the model's own past outputs. The authors weigh MESA's term by 0.8 at a temperature of 5, from the 6th
/// epoch on. The factor `τ²` is their code's; it keeps gradients of one size over temperatures.
///
/// The inner objective must be supervised, by any criterion of classes. The sum is no criterion of outputs, so
/// Gauss-Newton methods do not take it; Hessian products go by differences.
///
/// Paper: Du et al., *Sharpness-Aware Training for Free*, <https://arxiv.org/abs/2205.14083>.
///
/// ```
/// use burn::nn::{Linear, LinearConfig};
/// use burn::tensor::{Device, Int, Tensor};
/// use osculate_curvature::{Criterion, Distilled, Objective, Supervised, SupervisedObjective};
///
/// let device = Device::flex().autodiff();
/// let model: Linear = LinearConfig::new(4, 3).init(&device);
/// // Under an optimizer with an average: `optimizer.evaluation_model(&model)?`.
/// let teacher = model.clone();
/// let x = Tensor::<2>::ones([2, 4], &device);
/// let y = Tensor::<1, Int>::from_data([0, 2], &device);
/// let loss = Supervised::new(
///     move |model: &Linear| model.forward(x.clone()),
///     Criterion::cross_entropy(y),
/// );
/// let reference = loss.outputs(&teacher);
/// let both = Distilled::new(loss.clone(), reference, 0.8, 5.0)?;
/// // A model that agrees with its teacher pays nothing.
/// let apart = both.loss(&model)? - loss.loss(&model)?;
/// assert!(apart.into_scalar::<f32>().abs() < 1e-6);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Distilled<O> {
    inner: O,
    reference: Option<Tensor<2>>,
    weight: f64,
    temperature: f64,
    /// Of the first evaluation, which is the clean pass of a step.
    outputs: OnceCell<Tensor<2>>,
}

impl<O> Distilled<O> {
    /// A supervised objective with a reference's outputs on the same batch; gradients do not reach those.
    ///
    /// # Errors
    /// [`CurvatureError::InvalidSetting`] for a weight that is negative, and a temperature that is not positive.
    pub fn new(
        inner: O,
        reference: Tensor<2>,
        weight: f64,
        temperature: f64,
    ) -> Result<Self, CurvatureError> {
        Self::with_reference(inner, Some(reference), weight, temperature)
    }

    /// Without a reference it is the inner objective, whose outputs are kept.
    pub(super) fn with_reference(
        inner: O,
        reference: Option<Tensor<2>>,
        weight: f64,
        temperature: f64,
    ) -> Result<Self, CurvatureError> {
        let valid = weight.is_finite() && weight >= 0.0;
        CurvatureError::check(valid, "weight", weight, "a finite number, zero or greater")?;
        let positive = temperature.is_finite() && temperature > 0.0;
        CurvatureError::check(
            positive,
            "temperature",
            temperature,
            "a positive finite number",
        )?;
        Ok(Self {
            inner,
            reference: reference.map(|reference| match reference.is_autodiff() {
                true => reference.detach(),
                false => Tensor::from_inner(reference),
            }),
            weight,
            temperature,
            outputs: OnceCell::new(),
        })
    }

    /// The model's outputs at its first evaluation, without autodiff: those before the step, after one. `None`
    /// before any.
    pub fn outputs(&self) -> Option<&Tensor<2>> {
        self.outputs.get()
    }

    fn term(&self, outputs: Tensor<2>, reference: Tensor<2>) -> Result<Tensor<1>, ObjectiveError> {
        if outputs.dims() != reference.dims() {
            return Err(ObjectiveError::new(format!(
                "the reference has outputs of shape {:?}, the model of {:?}",
                reference.dims(),
                outputs.dims()
            )));
        }
        let rows = outputs.dims()[0].max(1) as f64;
        let reference = reference.div_scalar(self.temperature).cast(outputs.dtype());
        let log_p = log_softmax(outputs.div_scalar(self.temperature), 1);
        let q = softmax(reference.clone(), 1);
        let apart = (q * (log_softmax(reference, 1) - log_p)).sum();
        let scale = self.weight * self.temperature * self.temperature / rows;
        Ok(apart.mul_scalar(scale))
    }
}

impl<M, O: Objective<M>> Objective<M> for Distilled<O> {
    fn loss(&self, model: &M) -> Result<Tensor<1>, ObjectiveError> {
        let supervised = self.inner.supervised().ok_or_else(|| {
            ObjectiveError::new(CurvatureError::NotSupervised {
                what: "a distilled loss",
            })
        })?;
        let criterion = supervised.criterion();
        if matches!(
            criterion,
            Criterion::Mse { .. } | Criterion::BceWithLogits { .. }
        ) {
            return Err(ObjectiveError::new(format!(
                "a distilled loss needs a criterion of classes, not {}",
                criterion.name()
            )));
        }
        let outputs = supervised.outputs(model);
        self.outputs
            .get_or_init(|| outputs.clone().without_autodiff());
        let loss = criterion.loss(outputs.clone());
        let loss = loss.map_err(ObjectiveError::new)?;
        match &self.reference {
            Some(reference) => Ok(loss + self.term(outputs, reference.clone())?),
            None => Ok(loss),
        }
    }
}
