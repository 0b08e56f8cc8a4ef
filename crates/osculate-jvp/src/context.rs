//! The state of a replay.

use burn_backend::{BoolDType, DeviceSettings, IntDType, get_or_init_device_settings};
use burn_dispatch::{Dispatch, DispatchDevice};
use burn_ir::{BinaryOpIr, ScalarOpIr, TensorIr, UnaryOpIr};

use crate::dual::{Dual, Value, weighted};
use crate::error::JvpError;
use crate::graph::Graph;

/// The values that are alive at one step of a replay, by slot.
pub(crate) struct Context<'a> {
    slots: Vec<Option<Dual>>,
    /// How often each slot will still be read.
    reads: Vec<u32>,
    batch_statistics: &'a [usize],
    device: &'a DispatchDevice,
    settings: DeviceSettings,
}

impl<'a> Context<'a> {
    pub(crate) fn new(graph: &'a Graph, device: &'a DispatchDevice) -> Self {
        Self {
            slots: vec![None; graph.reads.len()],
            reads: graph.reads.clone(),
            batch_statistics: &graph.batch_statistics,
            device,
            settings: get_or_init_device_settings::<Dispatch>(device),
        }
    }

    /// A context for the random tensors alone, which keeps them all.
    pub(crate) fn of_draws(graph: &'a Graph, device: &'a DispatchDevice) -> Self {
        let mut context = Self::new(graph, device);
        for tensor in graph.draws.iter().flat_map(|draw| draw.outputs()) {
            context.reads[slot(tensor)] = 1;
        }
        context
    }

    /// Whether the layer with this running mean normalises by its batch instead.
    pub(crate) fn by_batch(&self, running_mean: &TensorIr) -> bool {
        self.batch_statistics.contains(&slot(running_mean))
    }

    pub(crate) fn device(&self) -> &'a DispatchDevice {
        self.device
    }

    pub(crate) fn int_dtype(&self) -> IntDType {
        self.settings.int_dtype
    }

    pub(crate) fn bool_dtype(&self) -> BoolDType {
        self.settings.bool_dtype
    }

    /// Puts a value into a slot before the replay.
    pub(crate) fn bind(&mut self, slot: usize, dual: Dual) {
        self.slots[slot] = Some(dual);
    }

    /// Reads a value. The last read takes it out, so that nothing outlives its use.
    pub(crate) fn get(&mut self, tensor: &TensorIr) -> Result<Dual, JvpError> {
        let slot = slot(tensor);
        self.reads[slot] = self.reads[slot].saturating_sub(1);
        let dual = if self.reads[slot] == 0 {
            self.slots[slot].take()
        } else {
            self.slots[slot].clone()
        };
        dual.ok_or_else(|| JvpError::Internal {
            what: format!("slot {slot} is read before it is written"),
        })
    }

    pub(crate) fn get_optional(
        &mut self,
        tensor: Option<&TensorIr>,
    ) -> Result<Option<Dual>, JvpError> {
        tensor.map(|tensor| self.get(tensor)).transpose()
    }

    /// Reads a value whose tangent, if it has one, does not matter.
    pub(crate) fn value(&mut self, tensor: &TensorIr) -> Result<Value, JvpError> {
        Ok(self.get(tensor)?.value)
    }

    pub(crate) fn set(&mut self, tensor: &TensorIr, dual: Dual) -> Result<(), JvpError> {
        let slot = slot(tensor);
        // A result that nothing reads is dropped at once.
        if self.reads[slot] > 0 {
            self.slots[slot] = Some(dual);
        }
        Ok(())
    }

    pub(crate) fn set_value(&mut self, tensor: &TensorIr, value: Value) -> Result<(), JvpError> {
        self.set(tensor, Dual::constant(value))
    }

    pub(crate) fn unary(
        &mut self,
        o: &UnaryOpIr,
        f: impl FnOnce(Value) -> Value,
        slope: impl FnOnce(Value, Value) -> Value,
    ) -> Result<(), JvpError> {
        let x = self.get(&o.input)?;
        self.set(&o.out, x.unary(f, slope))
    }

    /// A function whose derivative is zero wherever it has one.
    pub(crate) fn flat(
        &mut self,
        o: &UnaryOpIr,
        f: impl FnOnce(Value) -> Value,
    ) -> Result<(), JvpError> {
        let x = self.value(&o.input)?;
        self.set_value(&o.out, f(x))
    }

    pub(crate) fn linear(
        &mut self,
        input: &TensorIr,
        out: &TensorIr,
        f: impl Fn(Value) -> Value,
    ) -> Result<(), JvpError> {
        let x = self.get(input)?;
        self.set(out, x.linear(f))
    }

    /// An elementwise function of two arguments, with both partial derivatives.
    pub(crate) fn binary(
        &mut self,
        o: &BinaryOpIr,
        f: impl FnOnce(Value, Value) -> Value,
        partials: impl FnOnce(Value, Value, Value) -> (Value, Value),
    ) -> Result<(), JvpError> {
        let (a, b) = (self.get(&o.lhs)?, self.get(&o.rhs)?);
        let y = f(a.value.clone(), b.value.clone());
        if !a.is_active() && !b.is_active() {
            return self.set_value(&o.out, y);
        }
        let (left, right) = partials(a.value.clone(), b.value.clone(), y.clone());
        let y = weighted(y, &a, Some(left), &b, Some(right));
        self.set(&o.out, y)
    }

    pub(crate) fn compare(
        &mut self,
        o: &BinaryOpIr,
        f: impl FnOnce(Value, Value, BoolDType) -> Value,
    ) -> Result<(), JvpError> {
        let (a, b) = (self.value(&o.lhs)?, self.value(&o.rhs)?);
        self.set_value(&o.out, f(a, b, o.out.dtype.into()))
    }

    pub(crate) fn compare_scalar(
        &mut self,
        o: &ScalarOpIr,
        f: impl FnOnce(Value, burn_backend::Scalar, BoolDType) -> Value,
    ) -> Result<(), JvpError> {
        let a = self.value(&o.lhs)?;
        self.set_value(&o.out, f(a, o.rhs.into(), o.out.dtype.into()))
    }

    /// A function of two values without tangents.
    pub(crate) fn pure(
        &mut self,
        o: &BinaryOpIr,
        f: impl FnOnce(Value, Value) -> Value,
    ) -> Result<(), JvpError> {
        let (a, b) = (self.value(&o.lhs)?, self.value(&o.rhs)?);
        self.set_value(&o.out, f(a, b))
    }

    /// A function of a value without tangents and a number.
    pub(crate) fn pure_scalar(
        &mut self,
        o: &ScalarOpIr,
        f: impl FnOnce(Value, burn_backend::Scalar) -> Value,
    ) -> Result<(), JvpError> {
        let a = self.value(&o.lhs)?;
        self.set_value(&o.out, f(a, o.rhs.into()))
    }

    /// Stores elements that were picked along a dimension, and where they came from.
    pub(crate) fn select(
        &mut self,
        out: &TensorIr,
        out_indices: &TensorIr,
        x: Dual,
        y: Value,
        dim: usize,
        at: Value,
    ) -> Result<(), JvpError> {
        self.set(out, x.gather_tangents(y, dim, at.clone()))?;
        self.set_value(out_indices, at)
    }
}

/// The slot of a tensor: recorded graphs are renumbered densely.
pub(crate) fn slot(tensor: &TensorIr) -> usize {
    tensor.id.value() as usize
}
