//! Tensors without data that stand for arguments while a function is recorded.

use burn::tensor::{DType, Device, Shape};
use burn_backend::AutodiffBackend;
use burn_backend::ops::{BoolTensorOps, FloatTensorOps, IntTensorOps};
use burn_dispatch::backends::{Autodiff, Capture};
use burn_dispatch::{BackendTensor, Dispatch, DispatchAutodiffContext, DispatchTensorKind};
use burn_ir::TensorId;

use crate::dual::Value;
use crate::error::JvpError;
use crate::tensors::AnyTensor;

/// An argument of a recorded function. It has no value, so that code which asks for one fails
/// instead of turning the value of one batch into a constant.
pub(crate) fn placeholder(shape: Shape, dtype: DType, device: &Device) -> AnyTensor {
    let device = device.as_dispatch();
    AnyTensor::from_value(match dtype {
        dtype if dtype.is_float() => Dispatch::float_empty(shape, device, dtype.into()),
        dtype if dtype.is_bool() => Dispatch::bool_empty(shape, device, dtype.into()),
        dtype => Dispatch::int_empty(shape, device, dtype.into()),
    })
}

/// A placeholder of a recording in training mode: associated with autodiff, as the tensor was that
/// it stands for, and untracked, so that burn records what it computes and no tape.
pub(crate) fn associate(tensor: AnyTensor, context: DispatchAutodiffContext) -> AnyTensor {
    let mut value = tensor.into_value();
    if context == DispatchAutodiffContext::Disabled {
        return AnyTensor::from_value(value);
    }
    value.autodiff = context;
    value.kind = match value.kind {
        DispatchTensorKind::Capture(BackendTensor::Float(recorded)) => {
            let wrapped = BackendTensor::Autodiff(Autodiff::<Capture>::from_inner(recorded));
            DispatchTensorKind::Autodiff(Box::new(DispatchTensorKind::Capture(wrapped)))
        }
        kind => kind,
    };
    AnyTensor::from_value(value)
}

/// Whether a tensor belongs to a recording.
pub(crate) fn is_recorded(value: &Value) -> bool {
    matches!(value.kind, DispatchTensorKind::Capture(_))
}

/// The identity of a recorded tensor.
pub(crate) fn id(tensor: &AnyTensor) -> Result<TensorId, JvpError> {
    let mut kind = tensor.clone().into_value().kind;
    if let DispatchTensorKind::Autodiff(inner) = kind {
        kind = *inner;
    }
    match kind {
        DispatchTensorKind::Capture(BackendTensor::Float(recorded)) => Ok(recorded.id()),
        DispatchTensorKind::Capture(BackendTensor::Autodiff(recorded)) => {
            Ok(recorded.into_primitive().id())
        }
        DispatchTensorKind::Capture(BackendTensor::Int(recorded)) => Ok(recorded.id()),
        DispatchTensorKind::Capture(BackendTensor::Bool(recorded)) => Ok(recorded.id()),
        _ => Err(JvpError::ForeignTensor {
            message: "a result does not come from the recorded function".to_string(),
        }),
    }
}
