use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{DType, Tensor};
use osculate_jvp::ModulePath;

use crate::cost::Cost;
use crate::error::{CurvatureError, ObjectiveError};
use crate::objective::Objective;
use crate::params::{ParamLayout, ParamVec, unflatten};

/// A penalty at one point.
#[derive(Debug, Clone)]
pub struct PenaltyValue {
    /// Its value.
    pub value: f64,
    /// Its gradient with respect to the weights.
    pub gradient: ParamVec,
    /// What it cost.
    pub cost: Cost,
}

/// A function of a model's weights whose value and gradient can be computed, though not by
/// differentiating its value: most penalties on curvature.
pub trait Penalty<M> {
    /// Value and gradient at the model's weights.
    ///
    /// # Errors
    /// Whatever keeps them from being computed.
    fn evaluate(&self, model: &M) -> Result<PenaltyValue, CurvatureError>;
}

/// `L + weight · penalty`, an objective for any optimizer.
///
/// The penalty is evaluated beside the loss, and enters the tape as a linear function of the weights
/// that has its value and its gradient there. First derivatives are therefore those of the sum, and
/// Hessian products by differences see the penalty's curvature as well. The sum is not a criterion of
/// outputs, so Gauss-Newton methods do not take it.
///
/// Cost: the loss's pass, and the penalty's own.
///
/// ```
/// # use burn::nn::{Linear, LinearConfig};
/// # use burn::tensor::{Device, Distribution, Tensor};
/// use osculate_curvature::{
///     Batched, GradientNorm, GradientNormPenalty, GradientOracle, Penalised,
/// };
/// let device = Device::flex().autodiff();
/// let model: Linear = LinearConfig::new(4, 2).init(&device);
/// let x = Tensor::<2>::random([12, 4], Distribution::Default, &device);
/// let loss = Batched::new(x, |model: &Linear, x: &Tensor<2>| {
///     (model.forward(x.clone()) - 1.0).square().mean()
/// });
/// let penalty = GradientNormPenalty::new(&loss, GradientNorm::HalfSquared);
/// let sum = Penalised::new(loss.clone(), penalty, 0.1)?;
/// let gradient = GradientOracle::new(&model, &sum).clean()?.gradient.norm();
/// assert!(gradient > GradientOracle::new(&model, &loss).clean()?.gradient.norm());
/// # Ok::<(), osculate_curvature::CurvatureError>(())
/// ```
#[derive(Debug, Clone)]
pub struct Penalised<O, P> {
    inner: O,
    penalty: P,
    weight: f64,
}

impl<O, P> Penalised<O, P> {
    /// The sum of an objective and a weighted penalty.
    ///
    /// # Errors
    /// [`CurvatureError::InvalidSetting`] for a weight that is not finite.
    pub fn new(inner: O, penalty: P, weight: f64) -> Result<Self, CurvatureError> {
        CurvatureError::check(weight.is_finite(), "weight", weight, "a finite number")?;
        Ok(Self {
            inner,
            penalty,
            weight,
        })
    }

    /// The penalty.
    pub fn penalty(&self) -> &P {
        &self.penalty
    }
}

impl<M, O, P> Objective<M> for Penalised<O, P>
where
    M: Module,
    O: Objective<M>,
    P: Penalty<M>,
{
    fn loss(&self, model: &M) -> Result<Tensor<1>, ObjectiveError> {
        let penalty = self.penalty.evaluate(model).map_err(ObjectiveError::new)?;
        let loss = self.inner.loss(model)?;
        let gradient = penalty.gradient.scale(self.weight);
        let term = linear_term(model, &gradient).map_err(ObjectiveError::new)?;
        let value = self.weight * penalty.value;
        let (device, dtype) = (loss.device(), loss.dtype());
        let term = term.to_device(&device).cast(dtype);
        // The difference is zero and has the penalty's gradient.
        let zero = term.clone() - term.detach();
        Ok(loss + zero + value)
    }
}

/// `Σ_b p_b · g_b` over the parameters of `gradient`, tracked.
fn linear_term<M: Module>(model: &M, gradient: &ParamVec) -> Result<Tensor<1>, CurvatureError> {
    let mut visitor = Products {
        path: ModulePath::default(),
        gradient,
        next: 0,
        sum: None,
    };
    model.visit(&mut visitor);
    let found = visitor.next;
    match visitor.sum {
        Some(sum) if found == gradient.layout().len() => Ok(sum),
        _ => Err(CurvatureError::LayoutMismatch {
            expected: format!("{found} parameters in the model"),
            got: format!("{} in the penalty's gradient", gradient.layout().len()),
        }),
    }
}

struct Products<'a> {
    path: ModulePath,
    gradient: &'a ParamVec,
    next: usize,
    sum: Option<Tensor<1>>,
}

impl Products<'_> {
    fn layout(&self) -> &ParamLayout {
        self.gradient.layout()
    }
}

impl ModuleVisitor for Products<'_> {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.enter(name);
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.exit();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let expected = self.layout().entries().get(self.next);
        if expected.is_none_or(|entry| entry.path != self.path.as_str()) {
            return;
        }
        let value = param.val();
        let gradient = self.gradient.tensors()[self.next]
            .clone()
            .cast(value.dtype());
        let gradient = Tensor::<D>::from_inner(unflatten(gradient, value.shape()));
        let product = (value * gradient).sum();
        // Half precision and f64 meet in one sum.
        let product = match product.dtype() {
            DType::F64 => product,
            _ => product.cast(DType::F32),
        };
        self.sum = Some(match self.sum.take() {
            None => product,
            Some(sum) => {
                let product = product.to_device(&sum.device()).cast(sum.dtype());
                sum + product
            }
        });
        self.next += 1;
    }
}
