//! Tensors without data that stand for arguments while a function is recorded.

use burn::tensor::{DType, Device, Shape};
use burn_backend::ops::{BoolTensorOps, FloatTensorOps, IntTensorOps};
use burn_dispatch::backends::Capture;
use burn_dispatch::{Dispatch, DispatchKindConversion, DispatchTensor};
use burn_ir::TensorId;

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

/// The identity of a recorded tensor.
pub(crate) fn id(tensor: &AnyTensor) -> Result<TensorId, JvpError> {
    let value: DispatchTensor = tensor.clone().into_value();
    let recorded = <DispatchTensor as DispatchKindConversion<Capture>>::try_into_backend(value)
        .map_err(|message| JvpError::ForeignTensor { message })?;
    Ok(match tensor.dtype() {
        dtype if dtype.is_float() => recorded.float().id(),
        dtype if dtype.is_bool() => recorded.bool().id(),
        _ => recorded.int().id(),
    })
}
