use burn::module::{Module, Param};
use burn::tensor::{DType, Device, Tensor};

use super::point::{constant, parameter, read};
use super::{ClosedForm, Minimum, SquareMatrix, TensorProblem};

/// The three-dimensional test problem
///
/// ```text
/// f(θ) = ½ θᵀAθ - cᵀθ + 0.1 Σ θᵢ⁴,   A = [[3, 1, .5], [1, 2, .3], [.5, .3, 1]],  c = (1, -1, .5)
/// ```
///
/// from `(1, -2, 0.5)`. It is neither diagonal nor quadratic, and its variables are two tensors, so
/// that row sums taken for the diagonal, or a gradient taken at the wrong point, give wrong numbers.
#[derive(Debug, Clone, Copy, Default)]
pub struct P3;

const A: [[f64; 3]; 3] = [[3.0, 1.0, 0.5], [1.0, 2.0, 0.3], [0.5, 0.3, 1.0]];
const C: [f64; 3] = [1.0, -1.0, 0.5];

/// The variables of [`P3`].
#[derive(Module, Debug)]
pub struct P3Point {
    /// The first two variables, of shape `[1, 2]`.
    pub weight: Param<Tensor<2>>,
    /// The third variable, of shape `[1]`.
    pub bias: Param<Tensor<1>>,
}

impl ClosedForm for P3 {
    fn name(&self) -> &'static str {
        "p3"
    }

    fn dim(&self) -> usize {
        3
    }

    fn start(&self) -> Vec<f64> {
        vec![1.0, -2.0, 0.5]
    }

    fn loss(&self, x: &[f64]) -> f64 {
        let ax = SquareMatrix::from_fn(3, |i, j| A[i][j]).mul_vec(x);
        (0..3)
            .map(|i| 0.5 * x[i] * ax[i] - C[i] * x[i] + 0.1 * x[i].powi(4))
            .sum()
    }

    fn gradient(&self, x: &[f64]) -> Vec<f64> {
        let ax = SquareMatrix::from_fn(3, |i, j| A[i][j]).mul_vec(x);
        (0..3).map(|i| ax[i] - C[i] + 0.4 * x[i].powi(3)).collect()
    }

    fn hessian(&self, x: &[f64]) -> SquareMatrix {
        SquareMatrix::from_fn(3, |i, j| {
            A[i][j] + if i == j { 1.2 * x[i] * x[i] } else { 0.0 }
        })
    }

    fn minimum(&self) -> Option<Minimum> {
        None
    }
}

impl TensorProblem for P3 {
    type Point = P3Point;

    fn point(&self, x: &[f64], device: &Device, dtype: DType) -> P3Point {
        P3Point {
            weight: parameter([1, 2], &x[..2], device, dtype),
            bias: parameter([1], &x[2..], device, dtype),
        }
    }

    fn tensor_loss(&self, point: &P3Point) -> Tensor<1> {
        let weight = point.weight.val().reshape([2]);
        let x = Tensor::cat(vec![weight, point.bias.val()], 0);
        let a = constant([3, 3], A.as_flattened(), &x);
        let c = constant([3], &C, &x);
        let column = x.clone().reshape([3, 1]);
        let ax = a.matmul(column).reshape([3]);
        let quartic = x.clone().square().square().mul_scalar(0.1);
        (x.clone() * ax.mul_scalar(0.5) - c * x + quartic).sum()
    }

    fn flatten(&self, point: &P3Point) -> Vec<f64> {
        [read(&point.weight), read(&point.bias)].concat()
    }
}
