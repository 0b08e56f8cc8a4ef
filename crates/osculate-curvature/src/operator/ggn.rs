use std::sync::Arc;

use burn::module::Module;
use burn::tensor::Tensor;
use osculate_jvp::KeptMemory;

use super::jacobian::Jacobian;
use super::keeping;
use super::step::{Stepper, epsilon, movement};
use super::{
    CurvatureOperator, ErrorEstimate, HvpFallback, HvpMode, Product, Provenance, Structure,
};
use crate::cost::Cost;
use crate::error::CurvatureError;
use crate::oracle::GradientOracle;
use crate::params::{ParamLayout, ParamVec};

/// Movement of the outputs that the finite-difference Jacobian-vector product aims for. Outputs are
/// far less noisy than gradients, so it can be shorter than for a Hessian, and fewer kinks of a ReLU
/// network lie within it.
const TAU: f64 = 0.003;
/// Rounding error of an output in units of epsilon times the size of the outputs.
const OUTPUT_NOISE: f64 = 2.0;

/// The generalised Gauss-Newton matrix `G = J^T H_loss J`.
///
/// `J` is the Jacobian of the outputs with respect to the parameters, `H_loss` the Hessian of the
/// criterion with respect to the outputs, in closed form. `J^T u` is one backward pass. `Jv` is exact
/// for a [`SupervisedBatch`](crate::SupervisedBatch), by a forward pass with tangents, and a central
/// difference of two forward passes otherwise: a product costs about 2 or 1.7 gradient evaluations.
/// From the second exact product on, or for several at once, what depends on neither the direction
/// nor the cotangent is computed once and kept, as by [`Hessian`](super::Hessian): 1.2 to 1.6 gradients a
/// product.
/// `G` is positive semi-definite and, unlike a finite-difference Hessian, well defined for networks
/// with kinks. For a model that is linear in its parameters it is the Hessian.
///
/// It needs a [`Supervised`](crate::Supervised) objective.
///
/// ```
/// # use burn::nn::{Linear, LinearConfig};
/// # use burn::tensor::{Device, Distribution, Int, Tensor};
/// # use osculate_curvature::{Criterion, GradientOracle, SupervisedBatch};
/// # let device = Device::flex().autodiff();
/// # device.seed(1);
/// # let model: Linear = LinearConfig::new(8, 3).init(&device);
/// # let x = Tensor::<2>::random([16, 8], Distribution::Default, &device);
/// # let labels = Tensor::<1, Int>::arange(0..16, &device).remainder_scalar(3);
/// # let forward = |model: &Linear, x: &Tensor<2>| model.forward(x.clone());
/// # let objective = SupervisedBatch::new(x, forward, Criterion::cross_entropy(labels));
/// # let oracle = GradientOracle::new(&model, &objective);
/// use osculate_curvature::{CurvatureOperator, GaussNewton, Hessian, ParamVec};
/// let gauss_newton = GaussNewton::new(&oracle)?;
/// let v = ParamVec::gaussian(&gauss_newton.layout(), 0);
/// let product = gauss_newton.apply(&v)?;
/// assert!(product.provenance.is_exact() && v.dot(&product.value) >= 0.0);
/// // The model is linear in its weights: the Hessian is the same.
/// assert!(product.value.sub(&Hessian::new(&oracle)?.apply(&v)?.value).norm() < 1e-4);
/// # Ok::<(), osculate_curvature::CurvatureError>(())
/// ```
pub struct GaussNewton<'a, M: Module> {
    oracle: &'a GradientOracle<'a, M>,
    layout: Arc<ParamLayout>,
    jacobian: Jacobian,
}

impl<'a, M: Module> GaussNewton<'a, M> {
    /// The Gauss-Newton matrix at the oracle's weights. Runs the clean pass if none has run.
    ///
    /// # Errors
    /// [`CurvatureError::NotSupervised`], and as [`GradientOracle::clean`].
    pub fn new(oracle: &'a GradientOracle<'a, M>) -> Result<Self, CurvatureError> {
        Self::with_mode(oracle, HvpMode::default())
    }

    /// The Gauss-Newton matrix with `J v` made as `mode` says.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn with_mode(
        oracle: &'a GradientOracle<'a, M>,
        mode: HvpMode,
    ) -> Result<Self, CurvatureError> {
        oracle.supervised("a Gauss-Newton product")?;
        let layout = oracle.layout()?;
        let jacobian = Jacobian::new(oracle, &layout, mode)?;
        Ok(Self {
            oracle,
            layout,
            jacobian,
        })
    }

    /// Sets how much memory exact products may take once there are several, in units of a gradient's
    /// peak. 0 keeps nothing from product to product. Default 3. It is the peak of one product:
    /// [`apply_many`](CurvatureOperator::apply_many) makes [`width`](CurvatureOperator::width) side by
    /// side, each with working memory of its own.
    ///
    /// # Errors
    /// [`CurvatureError::InvalidSetting`] for a negative number.
    pub fn with_keep_within(mut self, gradients: f64) -> Result<Self, CurvatureError> {
        keeping::validate(gradients)?;
        self.jacobian.keep_within = gradients;
        Ok(self)
    }

    /// The memory of what products share, once it is kept.
    pub fn kept(&self) -> Option<KeptMemory> {
        self.jacobian.kept()
    }

    /// Shares the decision to use finite differences with other operators, under
    /// [`HvpMode::Auto`].
    pub fn with_fallback(mut self, fallback: HvpFallback) -> Self {
        self.jacobian = self.jacobian.sharing(fallback);
        self
    }

    /// Why products are made by finite differences, where [`HvpMode::Auto`] had to.
    pub fn fallback(&self) -> Option<&str> {
        self.jacobian.fallback()
    }

    /// `v^T G v`, from forward passes alone.
    ///
    /// Cost: two forward passes, or three if exact.
    ///
    /// # Errors
    /// As [`apply`](CurvatureOperator::apply).
    pub fn quadratic_form(&self, v: &ParamVec) -> Result<f64, CurvatureError> {
        self.layout.check(v.layout())?;
        if is_zero(v)? {
            return Ok(0.0);
        }
        let outputs = clean_outputs(self.oracle)?;
        let criterion = self
            .oracle
            .supervised("a Gauss-Newton product")?
            .criterion();
        let (jv, _) = self.jacobian.product(self.oracle, v)?;
        let hjv = criterion.hessian_vp(outputs, jv.clone());
        Ok((jv * hjv).sum().into_data().iter::<f64>().sum())
    }
}

impl<M: Module> CurvatureOperator for GaussNewton<'_, M> {
    fn layout(&self) -> Arc<ParamLayout> {
        self.layout.clone()
    }

    fn structure(&self) -> Structure {
        Structure::PositiveSemidefinite
    }

    fn apply(&self, v: &ParamVec) -> Result<Product, CurvatureError> {
        let _span = tracing::debug_span!("ggn_vp").entered();
        self.layout.check(v.layout())?;
        let before = self.oracle.cost();
        if is_zero(v)? {
            return Ok(zero_product(&self.layout));
        }
        let outputs = clean_outputs(self.oracle)?;
        let supervised = self.oracle.supervised("a Gauss-Newton product")?;
        let (jv, provenance) = self.jacobian.product(self.oracle, v)?;
        let cotangent = supervised.criterion().hessian_vp(outputs.clone(), jv);
        let value = self
            .jacobian
            .pull_back(self.oracle, &self.layout, cotangent)?;
        Ok(Product {
            provenance: with_rounding(provenance, &outputs, &value),
            value,
            cost: self.oracle.cost().since(before),
        })
    }

    fn width(&self) -> usize {
        self.jacobian.width()
    }

    fn apply_many(&self, vectors: &[ParamVec]) -> Result<Vec<Product>, CurvatureError> {
        let supervised = self.oracle.supervised("a Gauss-Newton product")?;
        let criterion = supervised.criterion();
        let made = self
            .jacobian
            .squares(self.oracle, &self.layout, vectors, |outputs, jv| {
                criterion.hessian_vp(outputs.clone(), jv)
            })?;
        made.map_or_else(|| vectors.iter().map(|v| self.apply(v)).collect(), Ok)
    }
}

/// Whether a direction is the zero vector. It must be finite. One read-back, of less work than the
/// norm's.
pub(super) fn is_zero(v: &ParamVec) -> Result<bool, CurvatureError> {
    let largest = v.max_abs();
    if largest.is_finite() {
        return Ok(largest == 0.0);
    }
    Err(CurvatureError::NonFinite {
        what: "the norm of the direction",
        value: largest,
    })
}

/// The norm of a direction.
pub(super) fn checked_norm(v: &ParamVec) -> Result<f64, CurvatureError> {
    let norm = v.norm();
    if norm.is_finite() {
        Ok(norm)
    } else {
        Err(CurvatureError::NonFinite {
            what: "the norm of the direction",
            value: norm,
        })
    }
}

/// The product with the zero vector.
pub(super) fn zero_product(layout: &Arc<ParamLayout>) -> Product {
    Product {
        value: ParamVec::zeros(layout).to_compute_dtype(),
        cost: Cost::ZERO,
        provenance: Provenance::Exact,
    }
}

/// Adds to a finite difference of outputs that move by [`TAU`] the rounding error of the product
/// made out of it: an order of magnitude, from the size of the outputs and the element type. Two
/// read-backs.
pub(super) fn with_rounding(
    provenance: Provenance,
    outputs: &Tensor<2>,
    value: &ParamVec,
) -> Provenance {
    let Provenance::FiniteDifference { step, reason, .. } = provenance else {
        return provenance;
    };
    let size = movement(outputs, &outputs.clone().neg());
    let relative = epsilon(value.layout()).powf(2.0 / 3.0)
        * f64::from(f32::EPSILON).powf(1.0 / 3.0)
        * OUTPUT_NOISE
        * size.max(1.0)
        / TAU;
    Provenance::FiniteDifference {
        step,
        reason,
        error: ErrorEstimate {
            truncation: None,
            rounding: Some(relative * value.norm()),
            kinks: None,
        },
    }
}

/// The outputs of the clean pass.
pub(super) fn clean_outputs<M: Module>(
    oracle: &GradientOracle<'_, M>,
) -> Result<Tensor<2>, CurvatureError> {
    match &oracle.clean()?.outputs {
        Some(outputs) => Ok(outputs.clone()),
        None => oracle.outputs_at(None),
    }
}

/// Two outputs on either side of the weights along `v`, and the step between them.
pub(super) fn outputs_around<M: Module>(
    oracle: &GradientOracle<'_, M>,
    stepper: &Stepper,
    v: &ParamVec,
    norm: f64,
) -> Result<((Tensor<2>, Tensor<2>), f64), CurvatureError> {
    let first = stepper.last().unwrap_or_else(|| stepper.start());
    stepper.in_function_space(TAU, first, |h| {
        let plus = oracle.outputs_at(Some((v, h / norm)))?;
        let minus = oracle.outputs_at(Some((v, -h / norm)))?;
        let moved = movement(&plus, &minus);
        Ok(((plus, minus), moved))
    })
}
