//! Programs made from programs: derivatives as functions that can be evaluated, differentiated
//! again, or used inside a loss.

use crate::bound::Wrt;
use crate::capture::capture;
use crate::dual::{Dual, zeros_like};
use crate::error::JvpError;
use crate::placeholder::placeholder;
use crate::program::{InputSpec, Program};
use crate::reverse::check_float;
use crate::tensors::AnyTensor;

impl Program {
    /// The program that also gives the first and second derivative of every result along one
    /// direction `v`: for each result `y(θ)` the three results `y`, `∂y(θ + s v)/∂s` and
    /// `∂²y(θ + s v)/∂s²` at `s = 0`, as all values, then all first, then all second derivatives.
    ///
    /// Its inputs are those of this program and after them the direction: a tensor for every
    /// trained parameter, every float input, or both, as `wrt` says. For a loss and a direction in
    /// the parameters, the second derivative is `vᵀ H v`. For a network and a direction in its
    /// inputs, it is a pure second derivative, which is what partial differential equations ask
    /// for; it is a function of the parameters like any other, and can be trained on.
    ///
    /// Cost of an evaluation: five products where this program has one, and no backward pass.
    ///
    /// # Errors
    /// [`JvpError::NoRule`] where a rule's own operations have none, and [`JvpError::Independent`] where `wrt` has
    /// nothing.
    pub fn second_derivative(&self, wrt: Wrt) -> Result<Program, JvpError> {
        let first = self.with_direction(wrt, false)?;
        first.along(self, wrt)
    }

    /// The program that also gives the derivative of every result along a direction `v`: all
    /// values, then all derivatives. Inputs are as for
    /// [`second_derivative`](Self::second_derivative).
    ///
    /// # Errors
    /// As [`second_derivative`](Self::second_derivative).
    pub fn derivative(&self, wrt: Wrt) -> Result<Program, JvpError> {
        self.with_direction(wrt, true)
    }

    /// Which arguments a direction covers, as positions among parameters, then inputs.
    pub(crate) fn covered(&self, wrt: Wrt) -> Vec<usize> {
        let trained = self.parameters.iter().map(|parameter| parameter.trained);
        let float = self.inputs.iter().map(|input| input.dtype.is_float());
        let trained = trained.map(|trained| trained && wrt != Wrt::Inputs);
        let float = float.map(|float| float && wrt != Wrt::Parameters);
        let covered = trained.chain(float).enumerate();
        let covered = covered.filter_map(|(index, covered)| covered.then_some(index));
        covered.collect()
    }

    /// As [`covered`](Self::covered), where that is anything at all.
    pub(crate) fn covered_by(&self, wrt: Wrt) -> Result<Vec<usize>, JvpError> {
        let covered = self.covered(wrt);
        if covered.is_empty() {
            return Err(JvpError::Independent {
                what: match wrt {
                    Wrt::Parameters => "trained parameter",
                    Wrt::Inputs => "input of floats",
                    Wrt::Both => "trained parameter and no input of floats",
                },
            });
        }
        Ok(covered)
    }

    pub(crate) fn spec(&self, argument: usize) -> InputSpec {
        match self.parameters.get(argument) {
            Some(parameter) => InputSpec {
                shape: parameter.shape.clone(),
                dtype: parameter.dtype,
            },
            None => self.inputs[argument - self.parameters.len()].clone(),
        }
    }

    fn with_direction(&self, wrt: Wrt, simplify: bool) -> Result<Program, JvpError> {
        let covered = self.covered_by(wrt)?;
        let directions = covered.iter().map(|&argument| self.spec(argument));
        let inputs: Vec<InputSpec> = self.inputs.iter().cloned().chain(directions).collect();
        self.rerecord(inputs, simplify, |arguments| {
            let own = self.graph.arguments.len();
            (0..own)
                .map(|argument| {
                    let at = covered.iter().position(|&other| other == argument);
                    let tangent = at.map(|at| arguments[own + at].clone());
                    (arguments[argument].clone(), tangent)
                })
                .collect()
        })
    }

    /// This program, which was made from `original` by [`with_direction`](Self::with_direction),
    /// differentiated along the same direction once more.
    fn along(&self, original: &Program, wrt: Wrt) -> Result<Program, JvpError> {
        let covered = original.covered(wrt);
        let own = original.graph.arguments.len();
        let program = self.rerecord(self.inputs.to_vec(), true, |arguments| {
            arguments
                .iter()
                .enumerate()
                .map(|(index, argument)| {
                    let at = covered.iter().position(|&other| other == index);
                    let tangent = at.map(|at| arguments[own + at].clone());
                    (argument.clone(), tangent)
                })
                .collect()
        })?;
        // Values and first derivatives, and the derivatives of both: the first derivatives come
        // twice.
        let results = original.graph.outputs.len();
        program.with_outputs(|index| index < 2 * results || index >= 3 * results)
    }

    /// Records a replay on arguments and tangents that `duals` makes from placeholders for the
    /// parameters and the new inputs. Results are followed by their tangents.
    fn rerecord(
        &self,
        inputs: Vec<InputSpec>,
        simplify: bool,
        duals: impl FnOnce(&[AnyTensor]) -> Vec<(AnyTensor, Option<AnyTensor>)>,
    ) -> Result<Program, JvpError> {
        let device = self.device.clone();
        let graph = capture(&device, simplify, |device| {
            let parameters = self
                .parameters
                .iter()
                .map(|parameter| (parameter.shape.clone(), parameter.dtype));
            let arguments: Vec<AnyTensor> = parameters
                .chain(
                    inputs
                        .iter()
                        .map(|input| (input.shape.clone(), input.dtype)),
                )
                .map(|(shape, dtype)| placeholder(shape, dtype, device))
                .collect();
            let duals = duals(&arguments)
                .into_iter()
                .map(|(value, tangent)| {
                    let tangent = tangent.map(AnyTensor::into_value);
                    Dual::new(value.into_value(), vec![tangent])
                })
                .collect();
            let givens = self.givens_on(device.as_dispatch())?;
            let results = self.graph.replay(duals, givens, device.as_dispatch())?;
            check_float(&results)?;
            let (values, tangents): (Vec<_>, Vec<_>) = results
                .into_iter()
                .map(|dual| {
                    let tangent = match dual.tangent(0) {
                        Some(tangent) => tangent.clone(),
                        None => zeros_like(&dual.value),
                    };
                    (dual.value, tangent)
                })
                .unzip();
            let outputs = values.into_iter().chain(tangents);
            Ok((arguments, outputs.map(AnyTensor::from_value).collect()))
        })?;
        let program = Program {
            parameters: self.parameters.clone(),
            inputs: inputs.into(),
            graph: graph.into(),
            device,
        };
        program.check_rules()?;
        Ok(program)
    }
}
