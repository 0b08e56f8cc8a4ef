//! A model of one matrix, optimizers behind both doors, and trajectories on given gradients.

use std::collections::BTreeMap;

use burn::optim::{GradientsParams, ModuleOptimizer};
use burn::tensor::{DType, Device, Tensor, TensorData};
use osculate_optim::ClosureOptimizer;

use crate::single::Single;

/// A single matrix.
pub type Matrix = Single<2>;

/// Weights after each step, by the name of an entry.
pub type Trajectories = BTreeMap<String, Vec<Vec<f64>>>;

/// Reads a file of `data`.
pub fn trajectories(text: &str) -> Trajectories {
    serde_json::from_str(text).expect("valid JSON")
}

/// A constant matrix.
pub fn tensor(values: &[f64], shape: [usize; 2], (device, dtype): (&Device, DType)) -> Tensor<2> {
    Tensor::from_data(TensorData::new(values.to_vec(), shape), (device, dtype))
}

/// A loss with this gradient, wherever the weight is.
pub fn tilted(model: &Matrix, gradient: &Tensor<2>) -> Tensor<1> {
    (model.weight.val() * gradient.clone()).sum()
}

/// An optimizer behind one of the doors.
pub enum Door {
    /// The closure door.
    Closure(Box<dyn ClosureOptimizer<Matrix>>),
    /// burn's own.
    Burn(ModuleOptimizer),
}

impl Door {
    /// A step with this gradient.
    pub fn step(&mut self, lr: f64, model: Matrix, gradient: &Tensor<2>) -> Matrix {
        match self {
            Door::Closure(optimizer) => {
                let loss = |model: &Matrix| tilted(model, gradient);
                optimizer.step(lr, model, &loss).expect("a step").model
            }
            Door::Burn(optimizer) => {
                let gradients = tilted(&model, gradient).backward();
                let gradients = GradientsParams::from_grads(gradients, &model);
                optimizer.step(lr, model, gradients)
            }
        }
    }
}

/// Follows the gradients and compares with the expected weights, from `first` on.
#[allow(clippy::too_many_arguments, reason = "one call in each of two places")]
pub fn follow(
    name: &str,
    mut door: Door,
    lr: f64,
    shape: [usize; 2],
    start: &[f64],
    gradients: &[Vec<f64>],
    expected: &[Vec<f64>],
    (device, dtype): (&Device, DType),
) {
    let tolerance = if dtype == DType::F64 { 1e-5 } else { 1e-4 };
    let mut model = Matrix::new(shape, start, (device, dtype));
    for (step, (gradient, want)) in gradients.iter().zip(expected).enumerate() {
        let gradient = tensor(gradient, shape, (device, dtype));
        model = door.step(lr, model, &gradient);
        for (got, want) in model.values().iter().zip(want) {
            assert!(
                (got - want).abs() <= tolerance * want.abs().max(1.0),
                "{name}, step {}: {got} instead of {want}",
                step + 1
            );
        }
    }
}
