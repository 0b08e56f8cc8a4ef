//! A module of one parameter, whose gradients a test chooses.

use burn::module::{Module, Param, ParamId};
use burn::tensor::{DType, Device, Tensor, TensorData};

/// The weights that the oracles of matrix methods start from, a 2 by 3 matrix by rows.
pub const START: [f64; 6] = [1.0, -2.0, 0.5, 0.3, 0.8, -1.0];

/// The gradients of the oracles of matrix methods, step by step.
pub const GRADIENTS: [[f64; 6]; 4] = [
    [0.4, -0.3, 0.2, 0.1, 0.5, -0.6],
    [-0.2, 0.6, 0.1, 0.3, -0.1, 0.4],
    [0.5, 0.2, -0.4, -0.3, 0.2, 0.1],
    [0.1, -0.5, 0.3, 0.6, 0.4, 0.2],
];

/// One parameter of rank `D`.
#[derive(Module, Debug)]
pub struct Single<const D: usize> {
    /// The parameter.
    pub weight: Param<Tensor<D>>,
}

impl<const D: usize> Single<D> {
    /// A parameter of this shape with these values.
    pub fn new(shape: [usize; D], values: &[f64], at: (&Device, DType)) -> Self {
        let data = TensorData::new(values.to_vec(), shape);
        let tensor = Tensor::<D>::from_data(data, at).require_grad();
        Self {
            weight: Param::initialized(ParamId::new(), tensor),
        }
    }

    /// The values, read back.
    pub fn values(&self) -> Vec<f64> {
        self.weight.val().into_data().iter::<f64>().collect()
    }
}

/// A loss whose gradient is the given one everywhere.
pub fn linear<const D: usize>(model: &Single<D>, gradient: &[f64; 6]) -> Tensor<1> {
    let w = model.weight.val();
    let data = TensorData::new(gradient.to_vec(), w.shape());
    let gradient = Tensor::<D>::from_data(data, (&w.device(), w.dtype()));
    (w * gradient).sum()
}
