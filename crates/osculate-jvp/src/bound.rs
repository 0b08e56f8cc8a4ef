//! A program at given weights and inputs, and its derivatives along directions.

use burn_backend::TensorMetadata;
use burn_dispatch::DispatchDevice;

use crate::binding::check_count;
use crate::dual::{Dual, Value, zeros_like};
use crate::error::JvpError;
use crate::program::Program;
use crate::reverse::check_float;
use crate::tensors::AnyTensor;

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

/// A [`Program`] at given weights and inputs, and at the random numbers that were drawn when it was
/// bound.
///
/// Costs are in evaluations of the gradient of the same function. Tensors come back without
/// autodiff.
#[derive(Debug, Clone)]
pub struct Bound {
    pub(crate) program: Program,
    pub(crate) arguments: Vec<Value>,
    /// Constants, then random tensors.
    pub(crate) givens: Vec<Value>,
    pub(crate) device: DispatchDevice,
}

impl Bound {
    pub(crate) fn new(program: Program, arguments: Vec<Value>) -> Result<Self, JvpError> {
        let device = match arguments.first() {
            Some(first) => first.device(),
            None => DispatchDevice::default(),
        };
        let givens = program.givens_on(&device)?;
        Ok(Self {
            program,
            arguments,
            givens,
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
        self.check_direction(&direction)?;
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
        // A derivative draws what its function draws, in the same order, and is taken at the same
        // random numbers.
        let drawn = self.drawn();
        let expected = program.num_draws();
        if drawn.len() != expected {
            return Err(JvpError::Count {
                what: "random tensors",
                expected,
                got: drawn.len(),
            });
        }
        let mut givens = program.constants_on(&self.device);
        givens.extend_from_slice(drawn);
        Ok(Bound {
            program: program.clone(),
            arguments,
            givens,
            device: self.device.clone(),
        })
    }

    /// The random tensors that the function draws.
    pub(crate) fn drawn(&self) -> &[Value] {
        &self.givens[self.program.graph.constants.len()..]
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
    /// [`JvpError::Mismatch`] and [`JvpError::Count`] for directions that do not fit, and
    /// [`JvpError::NotFloat`].
    pub fn jvp(&self, directions: &[Tangents]) -> Result<Jvp, JvpError> {
        let tangents = self.collect(directions)?;
        let arguments = self
            .arguments
            .iter()
            .zip(tangents)
            .map(|(value, tangents)| Dual::new(value.clone(), tangents))
            .collect();
        let givens = self.givens.clone();
        let results = self.program.graph.replay(arguments, givens, &self.device)?;
        if !directions.is_empty() {
            check_float(&results)?;
        }
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

    /// A direction lists all parameters or none, and all inputs or none.
    fn check_direction(&self, direction: &Tangents) -> Result<(), JvpError> {
        let parameters = self.program.parameters.len();
        let inputs = self.arguments.len() - parameters;
        for (what, given, expected) in [
            ("tangents of parameters", &direction.parameters, parameters),
            ("tangents of inputs", &direction.inputs, inputs),
        ] {
            if !given.is_empty() {
                check_count(what, expected, given.len())?;
            }
        }
        Ok(())
    }

    /// For each argument, its tangent along each direction.
    pub(crate) fn collect(
        &self,
        directions: &[Tangents],
    ) -> Result<Vec<Vec<Option<Value>>>, JvpError> {
        let parameters = self.program.parameters.len();
        let mut collected = vec![Vec::with_capacity(directions.len()); self.arguments.len()];
        for direction in directions {
            self.check_direction(direction)?;
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
