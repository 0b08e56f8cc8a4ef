//! Functions whose derivatives are known.

mod beale;
mod logistic;
mod matrix;
mod matrix_factorisation;
mod p3;
mod point;
mod quadratic;
mod rosenbrock;

pub use beale::Beale;
pub use logistic::LogisticRegression;
pub use matrix::SquareMatrix;
pub use matrix_factorisation::MatrixFactorisation;
pub use p3::{P3, P3Point};
pub use point::{FactorPoint, VectorPoint};
pub use quadratic::RotatedQuadratic;
pub use rosenbrock::Rosenbrock;

use burn::module::Module;
use burn::tensor::{DType, Device, Tensor};
use thiserror::Error;

/// A problem that cannot be made.
#[derive(Debug, Clone, PartialEq, Error)]
#[error("{problem}: {setting} = {value} is invalid, expected {expected}")]
pub struct ProblemError {
    /// Name of the problem.
    pub problem: &'static str,
    /// Name of the setting.
    pub setting: &'static str,
    /// Its value.
    pub value: f64,
    /// What would be valid.
    pub expected: &'static str,
}

impl ProblemError {
    fn check(
        valid: bool,
        problem: &'static str,
        setting: &'static str,
        value: f64,
        expected: &'static str,
    ) -> Result<(), Self> {
        if valid {
            Ok(())
        } else {
            Err(Self {
                problem,
                setting,
                value,
                expected,
            })
        }
    }
}

/// Where a problem is least, and how much it is there.
#[derive(Debug, Clone, PartialEq)]
pub struct Minimum {
    /// A minimiser.
    pub x: Vec<f64>,
    /// The value there.
    pub loss: f64,
}

/// A twice differentiable function of `dim` numbers, with its exact derivatives in `f64`.
///
/// # Panics
/// All methods that take a point panic if its length is not [`dim`](ClosedForm::dim).
pub trait ClosedForm {
    /// Name of the problem.
    fn name(&self) -> &'static str;

    /// Number of variables.
    fn dim(&self) -> usize;

    /// The usual starting point.
    fn start(&self) -> Vec<f64>;

    /// The function's value.
    fn loss(&self, x: &[f64]) -> f64;

    /// The gradient.
    fn gradient(&self, x: &[f64]) -> Vec<f64>;

    /// The Hessian.
    fn hessian(&self, x: &[f64]) -> SquareMatrix;

    /// The Hessian times a vector.
    fn hvp(&self, x: &[f64], v: &[f64]) -> Vec<f64> {
        self.hessian(x).mul_vec(v)
    }

    /// The Hessian's diagonal.
    fn hessian_diagonal(&self, x: &[f64]) -> Vec<f64> {
        self.hessian(x).diagonal()
    }

    /// The Hessian's trace.
    fn hessian_trace(&self, x: &[f64]) -> f64 {
        self.hessian_diagonal(x).iter().sum()
    }

    /// A minimiser, where one is known.
    fn minimum(&self) -> Option<Minimum>;
}

/// The same function on burn tensors, for autodiff.
pub trait TensorProblem: ClosedForm {
    /// The variables as a module.
    type Point: Module;

    /// A module with the given variables, which require gradients on an autodiff device.
    fn point(&self, x: &[f64], device: &Device, dtype: DType) -> Self::Point;

    /// The function's value, one element.
    fn tensor_loss(&self, point: &Self::Point) -> Tensor<1>;

    /// The variables, read back in the order of [`ClosedForm`].
    fn flatten(&self, point: &Self::Point) -> Vec<f64>;
}

#[cfg(test)]
mod tests;
