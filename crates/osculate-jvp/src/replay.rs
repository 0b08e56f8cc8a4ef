//! Running recorded operations.

use burn_backend::ops::{BoolTensorOps, FloatTensorOps, IntTensorOps};
use burn_dispatch::{Dispatch, DispatchDevice};

use crate::context::{Context, slot};
use crate::dual::{Dual, Value};
use crate::error::JvpError;
use crate::graph::Graph;
use crate::quiet::quietly;
use crate::rules;

impl Graph {
    /// The constants, on a device.
    pub(crate) fn constants_on(&self, device: &DispatchDevice) -> Vec<Value> {
        self.constants
            .iter()
            .map(|(_, data)| match data.dtype() {
                dtype if dtype.is_float() => Dispatch::float_from_data(data.clone(), device),
                dtype if dtype.is_bool() => Dispatch::bool_from_data(data.clone(), device),
                _ => Dispatch::int_from_data(data.clone(), device),
            })
            .collect()
    }

    /// Runs the operations on the arguments (a program's parameters, then its inputs), given with their tangents,
    /// and on constants and random tensors, on a device with or without autodiff.
    pub(crate) fn replay(
        &self,
        arguments: Vec<Dual>,
        givens: Vec<Value>,
        device: &DispatchDevice,
    ) -> Result<Vec<Dual>, JvpError> {
        let run = || {
            let mut cx = Context::new(self, device);
            for (&slot, dual) in self.arguments.iter().zip(arguments) {
                cx.bind(slot, dual);
            }
            let constants = self.constants.iter().map(|(slot, _)| *slot);
            let draws = self.draws.iter().flat_map(|draw| draw.outputs());
            let slots = constants.chain(draws.map(slot));
            for (slot, value) in slots.zip(givens) {
                cx.bind(slot, Dual::constant(value));
            }
            for step in &self.steps {
                rules::apply(step, &mut cx)?;
            }
            self.outputs.iter().map(|output| cx.get(output)).collect()
        };
        quietly(run)?
    }
}
