//! Autodiff over tensors of any device, recorded ones included, which burn's dispatch does not take
//! off a tape.

use burn_backend::ops::FloatTensorOps;
use burn_backend::{AutodiffBackend, Shape, TensorMetadata};
use burn_dispatch::backends::{Autodiff, Capture};
use burn_dispatch::{
    BackendTensor, Dispatch, DispatchAutodiffContext, DispatchTensorKind,
    GradientCheckpointingStrategy,
};

use crate::dual::Value;
use crate::placeholder::{associate, is_recorded};
use crate::tensors::AnyTensor;

type Tape = Autodiff<Capture>;
type Tracked = <Tape as burn_backend::BackendTypes>::FloatTensorPrimitive;

/// Associates a tensor without autodiff with it, as a constant.
pub(crate) fn lift(value: Value) -> Value {
    let float = value.dtype().is_float();
    if float && is_recorded(&value) {
        let context = DispatchAutodiffContext::Enabled(GradientCheckpointingStrategy::Disabled);
        return associate(AnyTensor::from_value(value), context).into_value();
    }
    match value.dtype() {
        _ if float => Dispatch::from_inner(value),
        dtype if dtype.is_bool() => Dispatch::bool_from_inner(value),
        _ => Dispatch::int_from_inner(value),
    }
}

/// A float tensor on autodiff, without it.
pub(crate) fn inner(value: Value) -> Value {
    match recorded(&value) {
        Some(tensor) => plain(tensor.clone().into_primitive()),
        None => Dispatch::inner(value),
    }
}

/// The gradients of one element by the leaves that a backward pass reaches.
pub(crate) fn backward(scalar: Value, leaves: &[Option<Value>]) -> Vec<Option<Value>> {
    let flat = Dispatch::float_reshape(scalar, Shape::new([1]));
    if let Some(tensor) = recorded(&flat) {
        let mut gradients = Tape::backward(tensor.clone());
        let all = leaves.iter().map(|leaf| {
            let gradient = Tape::grad_remove(recorded(leaf.as_ref()?)?, &mut gradients)?;
            Some(plain(gradient))
        });
        return all.collect();
    }
    let mut gradients = Dispatch::backward(flat);
    let all = leaves
        .iter()
        .map(|leaf| Dispatch::grad_remove(leaf.as_ref()?, &mut gradients));
    all.collect()
}

/// The recorded tensor of a value on autodiff.
fn recorded(value: &Value) -> Option<&Tracked> {
    match &value.kind {
        DispatchTensorKind::Autodiff(inner) => match &**inner {
            DispatchTensorKind::Capture(BackendTensor::Autodiff(tensor)) => Some(tensor),
            _ => None,
        },
        _ => None,
    }
}

fn plain(tensor: <Capture as burn_backend::BackendTypes>::FloatTensorPrimitive) -> Value {
    Value {
        kind: DispatchTensorKind::Capture(BackendTensor::Float(tensor)),
        autodiff: DispatchAutodiffContext::Disabled,
    }
}
