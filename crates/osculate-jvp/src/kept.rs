//! Products at one point of which everything that does not depend on the direction is computed
//! once.

use crate::adjoint::Adjoint;
use crate::binding::check_cotangents;
use crate::bound::{Bound, Tangents, Wrt};
use crate::dual::zeros_like;
use crate::error::JvpError;
use crate::footprint::footprint;
use crate::parallel::{side_by_side, width};
use crate::plan::{Kept, Plan};
use crate::program::Program;
use crate::tensors::AnyTensor;

/// Bytes that kept products take, counted from the shapes of what is computed. Weights, inputs and
/// directions are there in any case and are not counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeptMemory {
    /// What is kept from product to product.
    pub kept: usize,
    /// The most at once, while values are computed to be kept or in a product: with what is kept.
    pub peak: usize,
    /// The most at once in a gradient of the same function, to compare with.
    pub gradient: usize,
}

/// How a program's Hessian products are made where there will be several at one point: what does not
/// depend on the direction is computed once and kept.
///
/// The recorded function is replayed with tangents, its backward pass is recorded as well, and both
/// are split into the operations that a direction reaches and the rest. Of a matrix product `x w`
/// with both factors on the tape, [`Bound::hvp`] makes eight; four depend on the direction beyond the
/// two of its tangent, so a kept product makes six, and two where `x` is an input. A gradient makes
/// three and two.
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use osculate_jvp::{Program, Tangents, Wrt};
///
/// let x = Tensor::<1>::from_data([0.5, -1.0], &Device::flex());
/// let program = Program::record_function(&x, |x| x.clone().exp().sum() + x.clone().prod())?;
/// let plan = program.hessian_plan(Wrt::Inputs)?;
/// let memory = plan.memory();
/// assert!(memory.kept <= memory.peak);
///
/// let bound = program.bind_inputs(&x)?;
/// let kept = bound.keep_hessian(&plan)?;
/// for direction in [[1.0, 0.0], [0.0, 1.0]] {
///     let v = Tangents {
///         inputs: vec![Some(Tensor::<1>::from_data(direction, &Device::flex()).into())],
///         ..Tangents::default()
///     };
///     let product = |tangents: Tangents| tangents.inputs[0].clone().unwrap().float::<1>();
///     let anew = product(bound.hvp(&v, Wrt::Inputs)?.product);
///     let error = product(kept.product(&v)?) - anew;
///     assert!(error.abs().max().into_scalar::<f32>() < 1e-6);
/// }
/// # Ok::<(), osculate_jvp::JvpError>(())
/// ```
#[derive(Debug, Clone)]
pub struct HessianPlan(Plan);

/// How a program's Jacobian products, forward and backward, are made where there will be several at
/// one point. See [`HessianPlan`]. Of a matrix product with both factors on the tape, `J v` and
/// `J^T u` make two each.
#[derive(Debug, Clone)]
pub struct JacobianPlan(Plan);

/// The Hessian at one point, with what does not depend on the direction. It does not follow the
/// weights: what was bound does not change.
#[derive(Debug, Clone)]
pub struct KeptHessian(Kept);

/// The Jacobian at one point, with what depends neither on the direction nor on the cotangent.
#[derive(Debug, Clone)]
pub struct KeptJacobian {
    kept: Kept,
    outputs: Vec<AnyTensor>,
}

impl Program {
    /// The plan of products with the Hessian by `wrt`, for directions in `wrt`. The function must
    /// have a single number as its result.
    ///
    /// Cost: a recording of the function with its backward pass, some microseconds for each
    /// operation.
    ///
    /// # Errors
    /// [`JvpError::NotScalar`], [`JvpError::NotFloat`], [`JvpError::Count`], [`JvpError::Independent`] where
    /// `wrt` has nothing, and [`JvpError::NoRule`] where a backward pass is made of operations that cannot be
    /// replayed.
    pub fn hessian_plan(&self, wrt: Wrt) -> Result<HessianPlan, JvpError> {
        let gradient = footprint(&self.adjoint(wrt, Adjoint::Gradient)?.graph, false).peak;
        Ok(HessianPlan(Plan::new(
            self,
            wrt,
            Adjoint::Hessian,
            gradient,
        )?))
    }

    /// The plan of products with the Jacobian by `wrt` and with its transpose.
    ///
    /// # Errors
    /// As [`hessian_plan`](Self::hessian_plan).
    pub fn jacobian_plan(&self, wrt: Wrt) -> Result<JacobianPlan, JvpError> {
        let recorded = self.adjoint(wrt, Adjoint::Jacobian)?;
        // The backward pass of the results alone is a gradient's.
        let heads = 2 * self.graph.outputs.len();
        let pull_back = recorded.graph.with_outputs(|index| index >= heads);
        let gradient = footprint(&pull_back, false).peak;
        Ok(JacobianPlan(Plan::of(self, wrt, recorded, gradient)?))
    }
}

impl HessianPlan {
    /// What products by this plan take.
    pub fn memory(&self) -> KeptMemory {
        self.0.memory
    }

    /// Names of the operations that every product makes, as in [`rules`](crate::rules()).
    pub fn operations(&self) -> impl Iterator<Item = &'static str> + '_ {
        self.0.operations()
    }
}

impl JacobianPlan {
    /// What products by this plan take.
    pub fn memory(&self) -> KeptMemory {
        self.0.memory
    }

    /// Names of the operations that every product makes, as in [`rules`](crate::rules()).
    pub fn operations(&self) -> impl Iterator<Item = &'static str> + '_ {
        self.0.operations()
    }
}

impl Bound {
    /// Computes what all Hessian products at this point share.
    ///
    /// Cost: 2/3 of a gradient, which leaves out the weights' own gradients, and
    /// [`KeptMemory::kept`] until the result is dropped.
    ///
    /// # Errors
    /// [`JvpError::Mismatch`] and [`JvpError::Count`] for the plan of another program.
    pub fn keep_hessian(&self, plan: &HessianPlan) -> Result<KeptHessian, JvpError> {
        Ok(KeptHessian(plan.0.keep(self)?))
    }

    /// Computes what all Jacobian products at this point share.
    ///
    /// Cost: a forward pass, and [`KeptMemory::kept`] until the result is dropped.
    ///
    /// # Errors
    /// As [`keep_hessian`](Self::keep_hessian).
    pub fn keep_jacobian(&self, plan: &JacobianPlan) -> Result<KeptJacobian, JvpError> {
        let kept = plan.0.keep(self)?;
        let outputs = self.program.graph.outputs.iter().enumerate();
        let outputs = outputs.map(|(at, _)| {
            let output = kept.fixed[at].clone();
            output.map(AnyTensor::from_value)
        });
        let outputs = outputs.collect::<Option<Vec<_>>>();
        let outputs = outputs.ok_or_else(|| JvpError::Internal {
            what: "a result depends on a direction".to_string(),
        })?;
        Ok(KeptJacobian { kept, outputs })
    }
}

impl KeptHessian {
    /// The Hessian times a direction, as [`Bound::hvp`] gives it.
    ///
    /// Cost: up to 2 gradients; 1.3 to 1.9 for networks of a few layers.
    ///
    /// # Errors
    /// [`JvpError::Mismatch`] and [`JvpError::Count`] for a direction that does not fit, or that
    /// moves what the plan's `wrt` leaves out.
    pub fn product(&self, direction: &Tangents) -> Result<Tangents, JvpError> {
        let direction = self.0.direction(direction)?;
        let results = self.0.run(0, direction)?;
        Ok(self.0.gradient(results))
    }

    /// [`product`](Self::product) along several directions, in their order, side by side on the
    /// cores of a CPU. All share what is kept; each takes the rest of the memory anew.
    ///
    /// # Errors
    /// As [`product`](Self::product), of the first direction that fails.
    pub fn products(&self, directions: &[Tangents]) -> Result<Vec<Tangents>, JvpError> {
        side_by_side(self.width(), directions, |direction| {
            self.product(direction)
        })
    }

    /// How many products [`products`](Self::products) makes side by side.
    pub fn width(&self) -> usize {
        width(&self.0.bound.device)
    }
}

impl KeptJacobian {
    /// The results of the function.
    pub fn outputs(&self) -> &[AnyTensor] {
        &self.outputs
    }

    /// The derivative `J v` of every result.
    ///
    /// Cost: 2/3 of a gradient.
    ///
    /// # Errors
    /// As [`KeptHessian::product`].
    pub fn jvp(&self, direction: &Tangents) -> Result<Vec<AnyTensor>, JvpError> {
        let direction = self.kept.direction(direction)?;
        let made = self.kept.run(0, direction)?;
        let results = self.outputs.len();
        let tangents = made.into_iter().skip(results).zip(&self.outputs);
        let tangents = tangents.map(|(tangent, output)| {
            AnyTensor::from_value(tangent.unwrap_or_else(|| zeros_like(output.value())))
        });
        Ok(tangents.collect())
    }

    /// The gradient `J^T u` for a cotangent of every result.
    ///
    /// Cost: 2/3 of a gradient.
    ///
    /// # Errors
    /// [`JvpError::Count`] and [`JvpError::Mismatch`] where there is not one cotangent for each
    /// result, of its shape.
    pub fn vjp(&self, cotangents: Vec<AnyTensor>) -> Result<Tangents, JvpError> {
        check_cotangents(&self.outputs, &cotangents)?;
        let cotangents = cotangents.into_iter().map(AnyTensor::inner).collect();
        let results = self.kept.run(1, cotangents)?;
        Ok(self.kept.gradient(results))
    }
}

impl KeptJacobian {
    /// [`jvp`](Self::jvp) along several directions, side by side on the cores of a CPU.
    ///
    /// # Errors
    /// As [`jvp`](Self::jvp), of the first direction that fails.
    pub fn jvps(&self, directions: &[Tangents]) -> Result<Vec<Vec<AnyTensor>>, JvpError> {
        side_by_side(width(&self.kept.bound.device), directions, |v| self.jvp(v))
    }

    /// [`vjp`](Self::vjp) for several cotangents of every result, side by side.
    ///
    /// # Errors
    /// As [`vjp`](Self::vjp), of the first that fails.
    pub fn vjps(&self, cotangents: &[Vec<AnyTensor>]) -> Result<Vec<Tangents>, JvpError> {
        side_by_side(width(&self.kept.bound.device), cotangents, |u| {
            self.vjp(u.clone())
        })
    }
}
