//! Gradients and Hessian products of a bound program: a replay on autodiff and one backward pass.

use burn_backend::ops::FloatTensorOps;
use burn_backend::{AutodiffBackend, TensorMetadata};
use burn_dispatch::{Dispatch, DispatchDevice};

use crate::binding::check_cotangents;
use crate::bound::{Bound, HessianProduct, Tangents, Wrt};
use crate::dual::{Dual, Value, zeros_like};
use crate::error::JvpError;
use crate::tape::{self, lift};
use crate::tensors::AnyTensor;

impl Bound {
    /// The results, and the gradient `Jᵀ u` of `sum(u · results)` for the cotangents `u` that
    /// `cotangents` makes from the results.
    ///
    /// Cost: one gradient.
    ///
    /// # Errors
    /// [`JvpError::Count`] and [`JvpError::Mismatch`] where there is not one cotangent for each result, of its
    /// shape, and as [`gradient`](Self::gradient).
    pub fn vjp(
        &self,
        wrt: Wrt,
        cotangents: impl FnOnce(&[AnyTensor]) -> Vec<AnyTensor>,
    ) -> Result<(Vec<AnyTensor>, Tangents), JvpError> {
        let (leaves, results) = self.tracked(wrt, &Tangents::default())?;
        let outputs: Vec<AnyTensor> = results
            .iter()
            .map(|dual| AnyTensor::from_value(Dispatch::inner(dual.value.clone())))
            .collect();
        let cotangents = cotangents(&outputs);
        check_cotangents(&outputs, &cotangents)?;
        let weighted = results
            .into_iter()
            .zip(cotangents)
            .map(|(dual, cotangent)| {
                Dispatch::float_sum(Dispatch::float_mul(dual.value, lift(cotangent.inner())))
            });
        let total = weighted.reduce(Dispatch::float_add);
        let gradient = match total {
            Some(total) => self.backward(total, &leaves),
            None => self.backward_of_nothing(),
        };
        Ok((outputs, gradient))
    }

    /// The value and the gradient of a function with a single number as its result.
    ///
    /// # Errors
    /// [`JvpError::NotScalar`], [`JvpError::NotFloat`], and [`JvpError::Independent`] where `wrt` has nothing:
    /// all parameters are frozen, or no input is of floats.
    pub fn gradient(&self, wrt: Wrt) -> Result<(AnyTensor, Tangents), JvpError> {
        let (leaves, results) = self.tracked(wrt, &Tangents::default())?;
        let value = scalar(&results)?.value.clone();
        let inner = AnyTensor::from_value(Dispatch::inner(value.clone()));
        Ok((inner, self.backward(value, &leaves)))
    }

    /// The Hessian of a function with a single number as its result, times a direction: the
    /// gradient of its derivative `∇L · v`, by one backward pass.
    ///
    /// The rows of the result are those of `wrt`; the columns are where `direction` is not zero, so
    /// that mixed second derivatives of parameters and inputs are products too. Exact up to
    /// rounding. Where the function has kinks (ReLU, max pooling) it is the Hessian almost
    /// everywhere, as PyTorch gives it.
    ///
    /// Cost: 2 to 2.7 gradients.
    ///
    /// # Errors
    /// As [`gradient`](Self::gradient) and [`jvp`](Self::jvp).
    pub fn hvp(&self, direction: &Tangents, wrt: Wrt) -> Result<HessianProduct, JvpError> {
        let (leaves, results) = self.tracked(wrt, direction)?;
        let dual = scalar(&results)?;
        let value = AnyTensor::from_value(Dispatch::inner(dual.value.clone()));
        let Some(slope) = dual.tangent(0).cloned() else {
            let slope = Dispatch::inner(zeros_like(&dual.value));
            return Ok(HessianProduct {
                value,
                slope: AnyTensor::from_value(slope),
                product: self.backward_of_nothing(),
            });
        };
        drop(results);
        Ok(HessianProduct {
            value,
            slope: AnyTensor::from_value(Dispatch::inner(slope.clone())),
            product: self.backward(slope, &leaves),
        })
    }

    /// Replays on autodiff with fresh leaves for what is differentiated.
    fn tracked(
        &self,
        wrt: Wrt,
        direction: &Tangents,
    ) -> Result<(Vec<Option<Value>>, Vec<Dual>), JvpError> {
        let tangents = self.collect(core::slice::from_ref(direction))?;
        self.program.covered_by(wrt)?;
        let mut leaves = Vec::with_capacity(self.arguments.len());
        let mut arguments = Vec::with_capacity(self.arguments.len());
        for (index, (value, tangents)) in self.arguments.iter().zip(tangents).enumerate() {
            let mut value = lift(value.clone());
            let leaf = self.is_leaf(index, wrt);
            if leaf {
                value = Dispatch::float_set_require_grad(value, true);
            }
            leaves.push(leaf.then(|| value.clone()));
            let tangents = tangents.into_iter().map(|d| d.map(lift)).collect();
            arguments.push(Dual::new(value, tangents));
        }
        let givens = self.givens.iter().cloned().map(lift).collect();
        let device = DispatchDevice::autodiff(self.device.clone());
        let results = self.program.graph.replay(arguments, givens, &device)?;
        check_float(&results)?;
        Ok((leaves, results))
    }

    pub(crate) fn is_leaf(&self, index: usize, wrt: Wrt) -> bool {
        match self.program.parameters.get(index) {
            Some(parameter) => parameter.trained && wrt != Wrt::Inputs,
            None => wrt != Wrt::Parameters && self.arguments[index].dtype().is_float(),
        }
    }

    fn backward(&self, scalar: Value, leaves: &[Option<Value>]) -> Tangents {
        // A function that is linear in the leaves has a constant derivative: no tape.
        if !Dispatch::is_tracked(&scalar) {
            return self.backward_of_nothing();
        }
        let gradients = tape::backward(scalar, leaves).into_iter();
        let all = gradients.map(|gradient| gradient.map(AnyTensor::from_value));
        self.split(all.collect())
    }

    fn backward_of_nothing(&self) -> Tangents {
        self.split(vec![None; self.arguments.len()])
    }

    pub(crate) fn split(&self, mut all: Vec<Option<AnyTensor>>) -> Tangents {
        let inputs = all.split_off(self.program.parameters.len());
        Tangents {
            parameters: all,
            inputs,
        }
    }
}

/// Results that can be differentiated backward.
pub(crate) fn check_float(results: &[Dual]) -> Result<(), JvpError> {
    let mut types = results.iter().map(|dual| dual.value.dtype()).enumerate();
    match types.find(|(_, dtype)| !dtype.is_float()) {
        Some((result, dtype)) => Err(JvpError::NotFloat { result, dtype }),
        None => Ok(()),
    }
}

/// The only result, of one element.
pub(crate) fn scalar(results: &[Dual]) -> Result<&Dual, JvpError> {
    match results {
        [dual] if dual.shape().num_elements() == 1 => Ok(dual),
        [dual] => Err(JvpError::NotScalar {
            shape: dual.shape().as_slice().to_vec(),
        }),
        several => Err(JvpError::Count {
            what: "results of a function to be differentiated twice",
            expected: 1,
            got: several.len(),
        }),
    }
}
