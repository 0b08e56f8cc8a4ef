//! Backward passes as programs: a replay on autodiff over recorded tensors, and its backward pass,
//! recorded.

use burn_backend::TensorMetadata;
use burn_backend::ops::FloatTensorOps;
use burn_dispatch::{Dispatch, DispatchDevice};

use crate::bound::Wrt;
use crate::capture::capture;
use crate::dual::{Dual, zeros_like};
use crate::error::JvpError;
use crate::graph::Graph;
use crate::placeholder::placeholder;
use crate::program::Program;
use crate::reverse::{check_float, scalar};
use crate::tape;
use crate::tensors::{AnyTensor, is_tracked};

/// What is differentiated backward.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Adjoint {
    /// The function itself.
    Gradient,
    /// Its derivative along a direction.
    Hessian,
    /// The results weighted by cotangents, beside their derivatives along a direction.
    Jacobian,
}

/// A function with its backward pass.
pub(crate) struct Recorded {
    /// Arguments are those of the function, then a direction, then cotangents. Results are those of
    /// the function and their derivatives along the direction for [`Adjoint::Jacobian`], and
    /// gradients.
    pub(crate) graph: Graph,
    /// Number of tensors of the direction, and of cotangents.
    pub(crate) moving: [usize; 2],
    /// For each argument of the function, the position of its gradient among the results.
    pub(crate) gradients: Vec<Option<usize>>,
}

impl Program {
    /// Records the function and its backward pass.
    pub(crate) fn adjoint(&self, wrt: Wrt, kind: Adjoint) -> Result<Recorded, JvpError> {
        let covered = self.covered_by(wrt)?;
        let own = self.graph.arguments.len();
        let mut moving = [0; 2];
        let mut gradients = Vec::new();
        // A gradient is recorded for its memory, as burn computes it.
        let simplify = kind != Adjoint::Gradient;
        let graph = capture(&self.device, simplify, |device| {
            let made = |argument: usize| {
                let spec = self.spec(argument);
                placeholder(spec.shape, spec.dtype, device)
            };
            let mut arguments: Vec<AnyTensor> = (0..own).map(made).collect();
            if kind != Adjoint::Gradient {
                arguments.extend(covered.iter().map(|&argument| made(argument)));
                moving[0] = covered.len();
            }
            let mut leaves = vec![None; own];
            let duals = (0..own).map(|index| {
                let mut value = tape::lift(arguments[index].clone().into_value());
                let at = covered.iter().position(|&other| other == index);
                if at.is_some() {
                    value = Dispatch::float_set_require_grad(value, true);
                    leaves[index] = Some(value.clone());
                }
                let tangent = at.and_then(|at| arguments.get(own + at));
                let tangent = tangent.map(|tangent| tape::lift(tangent.clone().into_value()));
                Dual::new(value, vec![tangent])
            });
            let duals = duals.collect();
            let givens = self.givens_on(device.as_dispatch())?;
            let givens = givens.into_iter().map(tape::lift).collect();
            let tracking = DispatchDevice::autodiff(device.as_dispatch().clone());
            let results = self.graph.replay(duals, givens, &tracking)?;
            check_float(&results)?;

            let mut heads = Vec::new();
            let total = match kind {
                Adjoint::Gradient => Some(scalar(&results)?.value.clone()),
                Adjoint::Hessian => scalar(&results)?.tangent(0).cloned(),
                Adjoint::Jacobian => {
                    moving[1] = results.len();
                    heads.extend(results.iter().map(|dual| dual.value.clone()));
                    let mut total = None;
                    for dual in &results {
                        let tangent = dual.tangent(0).cloned();
                        heads.push(tangent.unwrap_or_else(|| zeros_like(&dual.value)));
                        let value = dual.value.clone();
                        let cotangent = placeholder(value.shape(), value.dtype(), device);
                        arguments.push(cotangent.clone());
                        let cotangent = tape::lift(cotangent.into_value());
                        let term = Dispatch::float_sum(Dispatch::float_mul(value, cotangent));
                        total = Some(match total {
                            Some(sum) => Dispatch::float_add(sum, term),
                            None => term,
                        });
                    }
                    total
                }
            };
            let mut outputs: Vec<AnyTensor> = heads
                .into_iter()
                .map(|head| AnyTensor::from_value(tape::inner(head)))
                .collect();
            gradients = match total.filter(is_tracked) {
                Some(total) => tape::backward(total, &leaves),
                None => vec![None; own],
            }
            .into_iter()
            .map(|gradient| {
                outputs.push(AnyTensor::from_value(gradient?));
                Some(outputs.len() - 1)
            })
            .collect();
            Ok((arguments, outputs))
        })?;
        Ok(Recorded {
            graph,
            moving,
            gradients,
        })
    }
}
