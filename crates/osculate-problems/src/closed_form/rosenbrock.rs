use burn::tensor::{DType, Device, Tensor};

use super::point::VectorPoint;
use super::{ClosedForm, Minimum, ProblemError, SquareMatrix, TensorProblem};

/// Rosenbrock's function in any dimension,
/// `Σ 100 (x_{i+1} - x_i²)² + (1 - x_i)²`: a curved valley that leads to `(1, ..., 1)`.
#[derive(Debug, Clone, Copy)]
pub struct Rosenbrock {
    dim: usize,
}

impl Rosenbrock {
    /// The function of `dim` variables.
    ///
    /// # Errors
    /// [`ProblemError`] for fewer than two.
    pub fn new(dim: usize) -> Result<Self, ProblemError> {
        ProblemError::check(dim >= 2, "rosenbrock", "dim", dim as f64, "at least 2")?;
        Ok(Self { dim })
    }
}

impl ClosedForm for Rosenbrock {
    fn name(&self) -> &'static str {
        "rosenbrock"
    }

    fn dim(&self) -> usize {
        self.dim
    }

    fn start(&self) -> Vec<f64> {
        (0..self.dim)
            .map(|i| if i % 2 == 0 { -1.2 } else { 1.0 })
            .collect()
    }

    fn loss(&self, x: &[f64]) -> f64 {
        x.windows(2)
            .map(|w| 100.0 * (w[1] - w[0] * w[0]).powi(2) + (1.0 - w[0]).powi(2))
            .sum()
    }

    fn gradient(&self, x: &[f64]) -> Vec<f64> {
        let mut gradient = vec![0.0; self.dim];
        for (i, w) in x.windows(2).enumerate() {
            let gap = w[1] - w[0] * w[0];
            gradient[i] += -400.0 * w[0] * gap - 2.0 * (1.0 - w[0]);
            gradient[i + 1] += 200.0 * gap;
        }
        gradient
    }

    fn hessian(&self, x: &[f64]) -> SquareMatrix {
        let mut hessian = SquareMatrix::from_fn(self.dim, |_, _| 0.0);
        for (i, w) in x.windows(2).enumerate() {
            hessian.add(i, i, 1200.0 * w[0] * w[0] - 400.0 * w[1] + 2.0);
            hessian.add(i, i + 1, -400.0 * w[0]);
            hessian.add(i + 1, i, -400.0 * w[0]);
            hessian.add(i + 1, i + 1, 200.0);
        }
        hessian
    }

    fn minimum(&self) -> Option<Minimum> {
        Some(Minimum {
            x: vec![1.0; self.dim],
            loss: 0.0,
        })
    }
}

impl TensorProblem for Rosenbrock {
    type Point = VectorPoint;

    fn point(&self, x: &[f64], device: &Device, dtype: DType) -> VectorPoint {
        VectorPoint::new(x, device, dtype)
    }

    fn tensor_loss(&self, point: &VectorPoint) -> Tensor<1> {
        let x = point.x.val();
        let head = x.clone().slice(0..self.dim - 1);
        let tail = x.slice(1..self.dim);
        let gap = tail - head.clone().square();
        let rest = head.sub_scalar(1.0).square();
        (gap.square().mul_scalar(100.0) + rest).sum()
    }

    fn flatten(&self, point: &VectorPoint) -> Vec<f64> {
        point.values()
    }
}
