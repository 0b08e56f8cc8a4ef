use burn::tensor::activation::log_sigmoid;
use burn::tensor::{DType, Device, Tensor};
use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};
use rand_distr::StandardNormal;

use super::point::{VectorPoint, constant};
use super::{ClosedForm, Minimum, ProblemError, SquareMatrix, TensorProblem};

/// Logistic regression on features whose scales spread over decades,
/// `mean_b log(1 + exp(-y_b a_bᵀx)) + (l2 / 2) |x|²` with labels `y = ±1`.
///
/// Feature `j` of `d` is normal with standard deviation `spread^(-j / (d - 1))`, so the condition
/// number of the unregularised Hessian is about `spread²`. Labels come from a random direction with
/// one label in ten flipped.
#[derive(Debug, Clone)]
pub struct LogisticRegression {
    features: Vec<f64>,
    labels: Vec<f64>,
    dim: usize,
    l2: f64,
}

const NAME: &str = "logistic-regression";

impl LogisticRegression {
    /// A problem of `samples` rows and `dim` features.
    ///
    /// # Errors
    /// [`ProblemError`] for no samples or features, a spread below 1, or a negative or non-finite
    /// number.
    pub fn new(
        samples: usize,
        dim: usize,
        spread: f64,
        l2: f64,
        seed: u64,
    ) -> Result<Self, ProblemError> {
        let at_least_one = "at least 1";
        ProblemError::check(samples > 0, NAME, "samples", samples as f64, at_least_one)?;
        ProblemError::check(dim > 0, NAME, "dim", dim as f64, at_least_one)?;
        let valid = spread.is_finite() && spread >= 1.0;
        ProblemError::check(valid, NAME, "spread", spread, "a finite number from 1")?;
        let valid = l2.is_finite() && l2 >= 0.0;
        ProblemError::check(valid, NAME, "l2", l2, "a finite number from 0")?;

        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let truth: Vec<f64> = (0..dim).map(|_| rng.sample(StandardNormal)).collect();
        let last = dim.saturating_sub(1).max(1) as f64;
        let (mut features, mut labels) = (Vec::new(), Vec::new());
        for _ in 0..samples {
            let row: Vec<f64> = (0..dim).map(|_| rng.sample(StandardNormal)).collect();
            let score: f64 = row.iter().zip(&truth).map(|(a, b)| a * b).sum();
            let flipped = rng.random::<f64>() < 0.1;
            labels.push(if (score > 0.0) != flipped { 1.0 } else { -1.0 });
            features.extend(
                row.iter()
                    .enumerate()
                    .map(|(j, a)| a * spread.powf(-(j as f64) / last)),
            );
        }
        Ok(Self {
            features,
            labels,
            dim,
            l2,
        })
    }

    fn samples(&self) -> usize {
        self.labels.len()
    }

    /// Rows with the label and the margin `y a.x`.
    fn margins(&self, x: &[f64]) -> impl Iterator<Item = (&[f64], f64, f64)> {
        self.features
            .chunks(self.dim)
            .zip(&self.labels)
            .map(move |(row, label)| {
                let score: f64 = row.iter().zip(x).map(|(a, b)| a * b).sum();
                (row, *label, label * score)
            })
    }
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

impl ClosedForm for LogisticRegression {
    fn name(&self) -> &'static str {
        NAME
    }

    fn dim(&self) -> usize {
        self.dim
    }

    fn start(&self) -> Vec<f64> {
        vec![0.0; self.dim]
    }

    fn loss(&self, x: &[f64]) -> f64 {
        // log(1 + e^-m) without overflow for very negative margins.
        let loss = |m: f64| (-m).max(0.0) + (-m.abs()).exp().ln_1p();
        let mean = self.margins(x).map(|(_, _, m)| loss(m)).sum::<f64>() / self.samples() as f64;
        mean + 0.5 * self.l2 * x.iter().map(|x| x * x).sum::<f64>()
    }

    fn gradient(&self, x: &[f64]) -> Vec<f64> {
        let mut gradient: Vec<f64> = x.iter().map(|x| self.l2 * x).collect();
        for (row, label, margin) in self.margins(x) {
            let weight = -label * sigmoid(-margin) / self.samples() as f64;
            for (g, a) in gradient.iter_mut().zip(row) {
                *g += weight * a;
            }
        }
        gradient
    }

    fn hessian(&self, x: &[f64]) -> SquareMatrix {
        let mut hessian =
            SquareMatrix::from_fn(self.dim, |i, j| if i == j { self.l2 } else { 0.0 });
        for (row, _, margin) in self.margins(x) {
            let weight = sigmoid(margin) * sigmoid(-margin) / self.samples() as f64;
            for (i, a) in row.iter().enumerate() {
                for (j, b) in row.iter().enumerate() {
                    // In this order the matrix is symmetric to the last bit.
                    hessian.add(i, j, weight * (a * b));
                }
            }
        }
        hessian
    }

    fn minimum(&self) -> Option<Minimum> {
        None
    }
}

impl TensorProblem for LogisticRegression {
    type Point = VectorPoint;

    fn point(&self, x: &[f64], device: &Device, dtype: DType) -> VectorPoint {
        VectorPoint::new(x, device, dtype)
    }

    fn tensor_loss(&self, point: &VectorPoint) -> Tensor<1> {
        let x = point.x.val();
        let n = self.samples();
        let features: Tensor<2> = constant([n, self.dim], &self.features, &x);
        let labels: Tensor<1> = constant([n], &self.labels, &x);
        let scores = features.matmul(x.clone().reshape([self.dim, 1]));
        let loss = log_sigmoid(scores.reshape([n]) * labels).mean().neg();
        loss + x.square().sum().mul_scalar(0.5 * self.l2)
    }

    fn flatten(&self, point: &VectorPoint) -> Vec<f64> {
        point.values()
    }
}
