//! A program at given weights and inputs, and its derivatives.

use std::panic::{AssertUnwindSafe, catch_unwind};

use burn_backend::ops::FloatTensorOps;
use burn_backend::{AutodiffBackend, Shape, TensorMetadata};
use burn_dispatch::{Dispatch, DispatchDevice};

use crate::dual::{Dual, Value, zeros_like};
use crate::error::JvpError;
use crate::program::Program;
use crate::tensors::{AnyTensor, lift};

/// One tensor, or none for zero, for each parameter and each input of a program: a direction, or
/// a gradient.
#[derive(Debug, Clone, Default)]
pub struct Tangents {
    /// In the order of [`Program::parameters`]. May be left empty for zeros.
    pub parameters: Vec<Option<AnyTensor>>,
    /// In the order of [`Program::inputs`]. May be left empty for zeros.
    pub inputs: Vec<Option<AnyTensor>>,
}

/// With respect to what to differentiate backward.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wrt {
    /// The trained parameters.
    Parameters,
    /// The float inputs.
    Inputs,
    /// Both.
    Both,
}

/// The result of [`Bound::jvp`].
#[derive(Debug, Clone)]
pub struct Jvp {
    /// The program's results.
    pub outputs: Vec<AnyTensor>,
    /// For each direction, the derivative of each result along it.
    pub tangents: Vec<Vec<AnyTensor>>,
}

/// The result of [`Bound::hvp`].
#[derive(Debug, Clone)]
pub struct HessianProduct {
    /// The value of the function.
    pub value: AnyTensor,
    /// Its derivative along the direction, `∇L · v`.
    pub slope: AnyTensor,
    /// The Hessian times the direction, `∇(∇L · v)`.
    pub product: Tangents,
}

/// A [`Program`] at given weights and inputs.
///
/// Costs are in evaluations of the gradient of the same function. Tensors come back without
/// autodiff.
#[derive(Debug, Clone)]
pub struct Bound {
    program: Program,
    arguments: Vec<Value>,
    constants: Vec<Value>,
    device: DispatchDevice,
}

impl Bound {
    pub(crate) fn new(program: Program, arguments: Vec<Value>) -> Result<Self, JvpError> {
        let device = match arguments.first() {
            Some(first) => first.device(),
            None => DispatchDevice::default(),
        };
        let constants = program.constants_on(&device);
        Ok(Self {
            program,
            arguments,
            constants,
            device,
        })
    }

    /// The program.
    pub fn program(&self) -> &Program {
        &self.program
    }

    /// The results of the function. Cost: one forward pass.
    ///
    /// # Errors
    /// [`JvpError::Panicked`] where an operation fails on this device.
    pub fn evaluate(&self) -> Result<Vec<AnyTensor>, JvpError> {
        Ok(self.jvp(&[])?.outputs)
    }

    /// Binds a program that was made by [`Program::derivative`] or [`Program::second_derivative`]
    /// of this one to the same weights and inputs and to a direction, which lists the parameters,
    /// the inputs or both, as the program was made.
    ///
    /// # Errors
    /// [`JvpError::Count`] where the direction covers more or less than the program, and
    /// [`JvpError::Mismatch`].
    pub fn along(&self, program: &Program, direction: Tangents) -> Result<Bound, JvpError> {
        let own = &self.program;
        let mut arguments = self.arguments.clone();
        // A covered argument without a tangent does not move.
        for (index, tangent) in direction.parameters.into_iter().enumerate() {
            if own
                .parameters
                .get(index)
                .is_some_and(|parameter| parameter.trained)
            {
                arguments.push(self.tangent_or_zeros(index, tangent));
            }
        }
        for (index, tangent) in direction.inputs.into_iter().enumerate() {
            if own
                .inputs
                .get(index)
                .is_some_and(|input| input.dtype.is_float())
            {
                arguments.push(self.tangent_or_zeros(own.parameters.len() + index, tangent));
            }
        }
        let expected = program.graph.arguments.len();
        if arguments.len() != expected {
            return Err(JvpError::Count {
                what: "tensors of weights, inputs and direction",
                expected,
                got: arguments.len(),
            });
        }
        for (index, argument) in arguments.iter().enumerate() {
            program.check_argument("", index, &AnyTensor::from_value(argument.clone()))?;
        }
        Bound::new(program.clone(), arguments)
    }

    fn tangent_or_zeros(&self, argument: usize, tangent: Option<AnyTensor>) -> Value {
        match tangent {
            Some(tangent) => tangent.inner(),
            None => zeros_like(&self.arguments[argument]),
        }
    }

    /// The derivative `J v` of every result along each direction, by one forward pass with
    /// tangents. What all directions share is computed once.
    ///
    /// Cost: about one forward pass and two more for each direction; no tape is kept.
    ///
    /// # Errors
    /// [`JvpError::Mismatch`] and [`JvpError::Count`] for directions that do not fit.
    pub fn jvp(&self, directions: &[Tangents]) -> Result<Jvp, JvpError> {
        let tangents = self.collect(directions)?;
        let arguments = self
            .arguments
            .iter()
            .zip(tangents)
            .map(|(value, tangents)| Dual::new(value.clone(), tangents))
            .collect();
        let constants = self.constants.iter().cloned().map(Dual::constant).collect();
        let results = self.program.replay(arguments, constants, &self.device)?;
        let mut outputs = Vec::with_capacity(results.len());
        let mut by_direction = vec![Vec::with_capacity(results.len()); directions.len()];
        for dual in results {
            for (direction, tangents) in by_direction.iter_mut().enumerate() {
                let tangent = match dual.tangent(direction) {
                    Some(tangent) => tangent.clone(),
                    None => zeros_like(&dual.value),
                };
                tangents.push(AnyTensor::from_value(tangent));
            }
            outputs.push(AnyTensor::from_value(dual.value));
        }
        Ok(Jvp {
            outputs,
            tangents: by_direction,
        })
    }

    /// The results, and the gradient `Jᵀ u` of `sum(u · results)` for the cotangents `u` that
    /// `cotangents` makes from the results.
    ///
    /// Cost: one gradient.
    ///
    /// # Errors
    /// [`JvpError::Count`] where there is not one cotangent for each result.
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
        if cotangents.len() != outputs.len() {
            return Err(JvpError::Count {
                what: "cotangents",
                expected: outputs.len(),
                got: cotangents.len(),
            });
        }
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
    /// [`JvpError::NotScalar`].
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
    /// [`JvpError::NotScalar`], and as [`jvp`](Self::jvp).
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

    /// [`hvp`](Self::hvp) along several directions, in their order.
    ///
    /// burn's backward pass consumes its tape, so each product has a replay and a tape of its own.
    /// On CPU backends the products are made side by side, one thread a core: most operations of
    /// small and medium networks keep one core busy, and what is idle does the next product.
    ///
    /// Cost: as many products; on a CPU of `c` cores down to a `c`-th of their time, in up to `c`
    /// times the memory of one.
    ///
    /// # Errors
    /// As [`hvp`](Self::hvp), of the first direction that fails.
    pub fn hvps(&self, directions: &[Tangents], wrt: Wrt) -> Result<Vec<HessianProduct>, JvpError> {
        let share = directions.len().div_ceil(self.width()).max(1);
        // Plain threads: a pool's thread that waits for one product would begin another, and meet
        // its own locks there.
        let parts: Vec<Result<Vec<HessianProduct>, JvpError>> = std::thread::scope(|scope| {
            let mut parts = directions.chunks(share);
            let first = parts.next().unwrap_or_default();
            let others: Vec<_> = parts
                .map(|part| {
                    let bound = self.clone();
                    scope.spawn(move || bound.each_hvp(part, wrt))
                })
                .collect();
            let own = self.each_hvp(first, wrt);
            let others = others.into_iter().map(|other| match other.join() {
                Ok(made) => made,
                Err(payload) => Err(JvpError::from_panic(payload.as_ref())),
            });
            std::iter::once(own).chain(others).collect()
        });
        let parts = parts.into_iter().collect::<Result<Vec<_>, _>>()?;
        Ok(parts.into_iter().flatten().collect())
    }

    /// How many products [`hvps`](Self::hvps) makes side by side: the cores of a CPU backend, 1 on
    /// others.
    pub fn width(&self) -> usize {
        if is_cpu(&self.device) {
            std::thread::available_parallelism().map_or(1, usize::from)
        } else {
            1
        }
    }

    fn each_hvp(&self, directions: &[Tangents], wrt: Wrt) -> Result<Vec<HessianProduct>, JvpError> {
        let run = || {
            let products = directions.iter().map(|direction| self.hvp(direction, wrt));
            products.collect()
        };
        catch_unwind(AssertUnwindSafe(run))
            .unwrap_or_else(|payload| Err(JvpError::from_panic(payload.as_ref())))
    }

    /// Replays on autodiff with fresh leaves for what is differentiated.
    fn tracked(
        &self,
        wrt: Wrt,
        direction: &Tangents,
    ) -> Result<(Vec<Option<Value>>, Vec<Dual>), JvpError> {
        let tangents = self.collect(core::slice::from_ref(direction))?;
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
        let constants = self
            .constants
            .iter()
            .map(|value| Dual::constant(lift(value.clone())))
            .collect();
        let device = DispatchDevice::autodiff(self.device.clone());
        let results = self.program.replay(arguments, constants, &device)?;
        Ok((leaves, results))
    }

    fn is_leaf(&self, index: usize, wrt: Wrt) -> bool {
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
        let flat = Dispatch::float_reshape(scalar, Shape::new([1]));
        let mut gradients = Dispatch::backward(flat);
        let all = leaves
            .iter()
            .map(|leaf| {
                let gradient = Dispatch::grad_remove(leaf.as_ref()?, &mut gradients)?;
                Some(AnyTensor::from_value(gradient))
            })
            .collect();
        self.split(all)
    }

    fn backward_of_nothing(&self) -> Tangents {
        self.split(vec![None; self.arguments.len()])
    }

    fn split(&self, mut all: Vec<Option<AnyTensor>>) -> Tangents {
        let inputs = all.split_off(self.program.parameters.len());
        Tangents {
            parameters: all,
            inputs,
        }
    }

    /// For each argument, its tangent along each direction.
    fn collect(&self, directions: &[Tangents]) -> Result<Vec<Vec<Option<Value>>>, JvpError> {
        let parameters = self.program.parameters.len();
        let inputs = self.arguments.len() - parameters;
        let mut collected = vec![Vec::with_capacity(directions.len()); self.arguments.len()];
        for direction in directions {
            for (what, given, expected) in [
                ("tangents of parameters", &direction.parameters, parameters),
                ("tangents of inputs", &direction.inputs, inputs),
            ] {
                if !given.is_empty() && given.len() != expected {
                    return Err(JvpError::Count {
                        what,
                        expected,
                        got: given.len(),
                    });
                }
            }
            for (index, tangents) in collected.iter_mut().enumerate() {
                let given = match index.checked_sub(parameters) {
                    None => direction.parameters.get(index),
                    Some(index) => direction.inputs.get(index),
                };
                let tangent = given.cloned().flatten();
                if let Some(tangent) = &tangent {
                    self.program
                        .check_argument("the tangent of ", index, tangent)?;
                }
                tangents.push(tangent.map(AnyTensor::inner));
            }
        }
        Ok(collected)
    }
}

/// Whether operations run on the calling thread.
fn is_cpu(device: &DispatchDevice) -> bool {
    let name = format!("{device:?}");
    ["Flex", "NdArray"].iter().any(|cpu| name.contains(cpu))
}

/// The only result, of one element.
fn scalar(results: &[Dual]) -> Result<&Dual, JvpError> {
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
