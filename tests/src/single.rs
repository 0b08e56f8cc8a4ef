//! A module of one parameter, whose gradients a test chooses.

use burn::module::{Module, Param, ParamId};
use burn::tensor::{DType, Device, Tensor, TensorData};
use osculate_optim::StateRecord;

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

/// An optimizer's record with the given state tensors and counters, made as a program that reads the
/// pack format would make it.
pub fn record_with(
    optimizer: &str,
    tensors: Vec<(String, Vec<f64>)>,
    counts: Vec<(String, u64)>,
    dtype: DType,
) -> StateRecord {
    let tensors = tensors
        .into_iter()
        .map(|(name, values)| {
            let shape = [values.len()];
            let data = TensorData::new(values, shape).convert_dtype(dtype);
            let (bytes, shape, dtype) = data.into_parts();
            burn_pack::Tensor::new(name, dtype, shape, None, bytes)
        })
        .collect();
    let writer = burn_pack::Writer::new(tensors).with_metadata("osculate.optimizer", optimizer);
    let writer = counts.into_iter().fold(writer, |writer, (name, value)| {
        writer.with_scalar(&name, burn_pack::Scalar::UInt(value))
    });
    let bytes = writer.into_bytes().expect("a pack").to_vec();
    StateRecord::from_bytes(bytes).expect("a record")
}
