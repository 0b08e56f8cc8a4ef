use burn::tensor::{DType, Device, Tensor};
use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};
use rand_distr::StandardNormal;

use super::point::{FactorPoint, constant, parameter, read};
use super::{ClosedForm, Minimum, ProblemError, SquareMatrix, TensorProblem};

/// Factorisation `½ |U Vᵀ - A|²` of a matrix of exactly that rank: not convex, with saddle points,
/// an indefinite Hessian away from the solutions, and a continuum of solutions.
#[derive(Debug, Clone)]
pub struct MatrixFactorisation {
    rows: usize,
    columns: usize,
    rank: usize,
    /// The factors that `A` was made of.
    solution: Vec<f64>,
    target: Vec<f64>,
    start: Vec<f64>,
}

impl MatrixFactorisation {
    /// A random problem: `U` is `[rows, rank]`, `V` is `[columns, rank]`.
    ///
    /// # Errors
    /// [`ProblemError`] for a size of 0.
    pub fn new(rows: usize, columns: usize, rank: usize, seed: u64) -> Result<Self, ProblemError> {
        for (setting, value) in [("rows", rows), ("columns", columns), ("rank", rank)] {
            let name = "matrix-factorisation";
            ProblemError::check(value > 0, name, setting, value as f64, "at least 1")?;
        }
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut normal = |scale: f64| -> Vec<f64> {
            (0..(rows + columns) * rank)
                .map(|_| scale * rng.sample::<f64, _>(StandardNormal))
                .collect()
        };
        let solution = normal(1.0);
        let start = normal(0.3);
        let mut problem = Self {
            rows,
            columns,
            rank,
            target: vec![0.0; rows * columns],
            solution,
            start,
        };
        problem.target = problem.residual(&problem.solution);
        Ok(problem)
    }

    fn split<'a>(&self, x: &'a [f64]) -> (&'a [f64], &'a [f64]) {
        assert_eq!(x.len(), self.dim(), "number of variables");
        x.split_at(self.rows * self.rank)
    }

    /// `U Vᵀ - A`, row-major.
    fn residual(&self, x: &[f64]) -> Vec<f64> {
        let (u, v) = self.split(x);
        let r = self.rank;
        (0..self.rows * self.columns)
            .map(|index| {
                let (i, j) = (index / self.columns, index % self.columns);
                let product: f64 = (0..r).map(|k| u[i * r + k] * v[j * r + k]).sum();
                product - self.target[index]
            })
            .collect()
    }
}

impl ClosedForm for MatrixFactorisation {
    fn name(&self) -> &'static str {
        "matrix-factorisation"
    }

    fn dim(&self) -> usize {
        (self.rows + self.columns) * self.rank
    }

    fn start(&self) -> Vec<f64> {
        self.start.clone()
    }

    fn loss(&self, x: &[f64]) -> f64 {
        0.5 * self.residual(x).iter().map(|e| e * e).sum::<f64>()
    }

    fn gradient(&self, x: &[f64]) -> Vec<f64> {
        let (u, v) = self.split(x);
        let r = self.rank;
        let mut gradient = vec![0.0; self.dim()];
        for (index, e) in self.residual(x).into_iter().enumerate() {
            let (i, j) = (index / self.columns, index % self.columns);
            for k in 0..r {
                gradient[i * r + k] += e * v[j * r + k];
                gradient[(self.rows + j) * r + k] += e * u[i * r + k];
            }
        }
        gradient
    }

    fn hessian(&self, x: &[f64]) -> SquareMatrix {
        let (u, v) = self.split(x);
        let r = self.rank;
        let mut hessian = SquareMatrix::from_fn(self.dim(), |_, _| 0.0);
        for (index, e) in self.residual(x).into_iter().enumerate() {
            let (i, j) = (index / self.columns, index % self.columns);
            let (left, right) = (i * r, (self.rows + j) * r);
            for k in 0..r {
                for l in 0..r {
                    hessian.add(left + k, left + l, v[j * r + k] * v[j * r + l]);
                    hessian.add(right + k, right + l, u[i * r + k] * u[i * r + l]);
                    let cross = v[j * r + k] * u[i * r + l] + if k == l { e } else { 0.0 };
                    hessian.add(left + k, right + l, cross);
                    hessian.add(right + l, left + k, cross);
                }
            }
        }
        hessian
    }

    fn minimum(&self) -> Option<Minimum> {
        Some(Minimum {
            x: self.solution.clone(),
            loss: 0.0,
        })
    }
}

impl TensorProblem for MatrixFactorisation {
    type Point = FactorPoint;

    fn point(&self, x: &[f64], device: &Device, dtype: DType) -> FactorPoint {
        let (u, v) = self.split(x);
        FactorPoint {
            u: parameter([self.rows, self.rank], u, device, dtype),
            v: parameter([self.columns, self.rank], v, device, dtype),
        }
    }

    fn tensor_loss(&self, point: &FactorPoint) -> Tensor<1> {
        let product = point.u.val().matmul(point.v.val().transpose());
        let target = constant([self.rows, self.columns], &self.target, &product);
        (product - target).square().sum().mul_scalar(0.5)
    }

    fn flatten(&self, point: &FactorPoint) -> Vec<f64> {
        [read(&point.u), read(&point.v)].concat()
    }
}
