//! The modules that hold the variables of the problems.

use burn::module::{Module, Param, ParamId};
use burn::tensor::{DType, Device, Tensor, TensorData};

/// A module of one vector.
#[derive(Module, Debug)]
pub struct VectorPoint {
    /// The variables.
    pub x: Param<Tensor<1>>,
}

impl VectorPoint {
    pub(super) fn new(x: &[f64], device: &Device, dtype: DType) -> Self {
        Self {
            x: parameter([x.len()], x, device, dtype),
        }
    }

    pub(super) fn values(&self) -> Vec<f64> {
        read(&self.x)
    }
}

/// A module of two matrices.
#[derive(Module, Debug)]
pub struct FactorPoint {
    /// The left factor.
    pub u: Param<Tensor<2>>,
    /// The right factor.
    pub v: Param<Tensor<2>>,
}

/// A parameter of the given values.
pub(super) fn parameter<const D: usize>(
    shape: [usize; D],
    values: &[f64],
    device: &Device,
    dtype: DType,
) -> Param<Tensor<D>> {
    let data = TensorData::new(values.to_vec(), shape);
    let tensor = Tensor::<D>::from_data(data, (device, dtype));
    let active = device.is_autodiff();
    Param::initialized(ParamId::new(), tensor.set_require_grad(active))
}

/// The values of a parameter.
pub(super) fn read<const D: usize>(param: &Param<Tensor<D>>) -> Vec<f64> {
    param.val().into_data().iter::<f64>().collect()
}

/// A constant matrix on the device and of the type of `like`.
pub(super) fn constant<const D: usize, const E: usize>(
    shape: [usize; E],
    values: &[f64],
    like: &Tensor<D>,
) -> Tensor<E> {
    let data = TensorData::new(values.to_vec(), shape);
    Tensor::from_data(data, (&like.device(), like.dtype()))
}
