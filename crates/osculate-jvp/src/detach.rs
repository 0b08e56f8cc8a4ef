//! Values that derivatives do not pass, also in recordings.

use burn::tensor::Tensor;
use burn_backend::{AutodiffBackend, TensorMetadata};
use burn_dispatch::backends::{Autodiff, Capture};
use burn_dispatch::{BackendTensor, DispatchTensorKind};
use burn_ir::{CustomOpIr, OperationIr, TensorIr};
use burn_router::RouterClient;

use crate::dual::Value;
use crate::error::JvpError;
use crate::tensors::untracked;

/// Name of the operation in a recording.
pub(crate) const DETACH: &str = "osculate::detach";

/// [`Tensor::detach`] that leaves a trace in recordings: the result is a constant to all
/// derivatives, the first and the second.
///
/// burn's own `detach` computes nothing, so a recorder does not see it, and what was recorded is
/// differentiated as if it were not there. Where the gradient is the same either way, no comparison
/// tells: `(f - f.detach())^2` has gradient zero, and the Hessian `2 J^T J` with the detached value
/// held fixed. Use this function in losses whose second derivatives are asked for.
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use osculate_jvp::{Program, Tangents, Wrt, detach};
///
/// let x = Tensor::<1>::from_data([0.5], &Device::flex());
/// let program = Program::record_function(&x, |x| {
///     let f = x.clone().square();
///     (f.clone() - detach(f)).square()
/// })?;
/// let v = Tangents {
///     inputs: vec![Some(Tensor::<1>::ones([1], &Device::flex()).into())],
///     ..Tangents::default()
/// };
/// let product = program.bind_inputs(&x)?.hvp(&v, Wrt::Inputs)?.product;
/// let hessian: f32 = product.inputs[0].clone().unwrap().float::<1>().into_scalar();
/// assert!((hessian - 2.0).abs() < 1e-6);
/// # Ok::<(), osculate_jvp::JvpError>(())
/// ```
pub fn detach<const D: usize>(tensor: Tensor<D>) -> Tensor<D> {
    let value = tensor.detach().into_dispatch();
    if !matches!(recorded(&value.kind), DispatchTensorKind::Capture(_)) {
        return Tensor::from_dispatch(value);
    }
    match marked(value) {
        Ok(value) => Tensor::from_dispatch(value),
        // Recorded code reports by panics, which recording turns back into errors.
        Err(error) => panic!("{error}"),
    }
}

/// The same value without derivatives, on any device.
pub(crate) fn detached(value: Value) -> Result<Value, JvpError> {
    match recorded(&value.kind) {
        DispatchTensorKind::Capture(_) => marked(value),
        _ => Ok(untracked(value)),
    }
}

fn recorded(kind: &DispatchTensorKind) -> &DispatchTensorKind {
    match kind {
        DispatchTensorKind::Autodiff(inner) => inner,
        kind => kind,
    }
}

/// Records that derivatives end here.
fn marked(mut value: Value) -> Result<Value, JvpError> {
    let mark = |tensor: <Capture as burn_backend::BackendTypes>::FloatTensorPrimitive| {
        let client = tensor.client.clone();
        let (shape, dtype) = (tensor.shape(), tensor.dtype());
        let out = TensorIr::uninit(client.create_empty_handle(), shape, dtype);
        let operation = CustomOpIr::new(DETACH, &[tensor.into_ir()], &[out]);
        let made = client.register(OperationIr::Custom(operation)).pop();
        made.ok_or_else(|| JvpError::Internal {
            what: "a recorded operation has no result".to_string(),
        })
    };
    value.kind = match value.kind {
        DispatchTensorKind::Capture(BackendTensor::Float(tensor)) => {
            DispatchTensorKind::Capture(BackendTensor::Float(mark(tensor)?))
        }
        DispatchTensorKind::Autodiff(inner) => match *inner {
            DispatchTensorKind::Capture(BackendTensor::Autodiff(tensor)) => {
                let made = Autodiff::<Capture>::from_inner(mark(tensor.into_primitive())?);
                let made = DispatchTensorKind::Capture(BackendTensor::Autodiff(made));
                DispatchTensorKind::Autodiff(Box::new(made))
            }
            kind => DispatchTensorKind::Autodiff(Box::new(kind)),
        },
        kind => kind,
    };
    Ok(value)
}
