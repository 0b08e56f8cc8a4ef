//! Giving a program its weights and inputs.

use burn::module::Module;
use burn::tensor::{DType, Shape};

use crate::bound::Bound;
use crate::dual::Dual;
use crate::error::JvpError;
use crate::module::{self, Parameter};
use crate::program::Program;
use crate::tensors::{AnyTensor, Tensors};

impl Program {
    /// Fixes the values of parameters and inputs. Tensors are shared, not copied; changing the
    /// module afterwards does not change what was bound. A function that draws random numbers draws
    /// them now: seed the device before to choose them.
    ///
    /// # Errors
    /// [`JvpError::Mismatch`] or [`JvpError::Count`] where a shape, an element type or the number
    /// of tensors differs from the recording.
    pub fn bind<M: Module>(&self, module: &M, inputs: &impl Tensors) -> Result<Bound, JvpError> {
        self.bind_values(module::parameters(module), inputs)
    }

    /// Fixes the inputs of a program without a module.
    ///
    /// # Errors
    /// As [`bind`](Self::bind).
    pub fn bind_inputs(&self, inputs: &impl Tensors) -> Result<Bound, JvpError> {
        self.bind_values(Vec::new(), inputs)
    }

    fn bind_values(
        &self,
        found: Vec<(Parameter, AnyTensor)>,
        inputs: &impl Tensors,
    ) -> Result<Bound, JvpError> {
        check_count("parameters", self.parameters.len(), found.len())?;
        let mut values = Vec::with_capacity(found.len());
        for (expected, (parameter, value)) in self.parameters.iter().zip(found) {
            let path = if expected.path == parameter.path {
                expected.path.clone()
            } else {
                format!("{} (now {})", expected.path, parameter.path)
            };
            check(&path, (&expected.shape, expected.dtype), &value)?;
            values.push(value.into_value());
        }
        let inputs = inputs.tensors();
        check_count("inputs", self.inputs.len(), inputs.len())?;
        for (index, tensor) in inputs.iter().enumerate() {
            self.check_argument("", self.parameters.len() + index, tensor)?;
        }
        values.extend(inputs.into_iter().map(AnyTensor::inner));
        Bound::new(self.clone(), values)
    }

    /// Calls the program as a function of the module's own parameters and of `inputs`, which stay
    /// connected to autodiff: the results can enter a loss, and `backward` reaches the parameters
    /// and inputs that they came from. Parameters and inputs must agree in being on autodiff.
    ///
    /// # Errors
    /// As [`bind`](Self::bind).
    pub fn call<M: Module>(
        &self,
        module: &M,
        inputs: &impl Tensors,
    ) -> Result<Vec<AnyTensor>, JvpError> {
        let arguments: Vec<AnyTensor> = module::live_parameters(module)
            .into_iter()
            .chain(inputs.tensors())
            .collect();
        let own = self.parameters.len() + self.inputs.len();
        check_count("parameters and inputs", own, arguments.len())?;
        for (index, argument) in arguments.iter().enumerate() {
            self.check_argument("", index, argument)?;
        }
        let device = match arguments.first() {
            Some(first) => first.dispatch_device(),
            None => self.device.clone(),
        };
        let givens = self.givens_on(&device)?;
        let results = self.graph.replay(
            arguments
                .into_iter()
                .map(|argument| Dual::constant(argument.into_value()))
                .collect(),
            givens,
            &device,
        )?;
        Ok(results
            .into_iter()
            .map(|dual| AnyTensor::from_value(dual.value))
            .collect())
    }

    /// Checks the tensor for an argument, or its tangent: parameters first, then inputs.
    pub(crate) fn check_argument(
        &self,
        what: &str,
        index: usize,
        tensor: &AnyTensor,
    ) -> Result<(), JvpError> {
        match self.parameters.get(index) {
            Some(parameter) => {
                let what = format!("{what}{}", parameter.path);
                check(&what, (&parameter.shape, parameter.dtype), tensor)
            }
            None => {
                let index = index - self.parameters.len();
                let input = &self.inputs[index];
                check(
                    &format!("{what}input {index}"),
                    (&input.shape, input.dtype),
                    tensor,
                )
            }
        }
    }
}

pub(crate) fn check_count(what: &'static str, expected: usize, got: usize) -> Result<(), JvpError> {
    if expected == got {
        Ok(())
    } else {
        Err(JvpError::Count {
            what,
            expected,
            got,
        })
    }
}

/// One cotangent for each result, of its shape and element type.
pub(crate) fn check_cotangents(
    results: &[AnyTensor],
    cotangents: &[AnyTensor],
) -> Result<(), JvpError> {
    check_count("cotangents", results.len(), cotangents.len())?;
    for (index, (result, cotangent)) in results.iter().zip(cotangents).enumerate() {
        let like = (&result.shape(), result.dtype());
        check(&format!("cotangent {index}"), like, cotangent)?;
    }
    Ok(())
}

fn check(what: &str, (shape, dtype): (&Shape, DType), tensor: &AnyTensor) -> Result<(), JvpError> {
    if *shape == tensor.shape() && dtype == tensor.dtype() {
        return Ok(());
    }
    let describe = |shape: &Shape, dtype: DType| format!("{:?} {dtype:?}", shape.as_slice());
    Err(JvpError::Mismatch {
        what: what.to_string(),
        expected: describe(shape, dtype),
        got: describe(&tensor.shape(), tensor.dtype()),
    })
}
