use burn::tensor::{DType, Device, Tensor};
use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};
use rand_distr::StandardNormal;

use super::point::{VectorPoint, constant};
use super::{ClosedForm, Minimum, ProblemError, SquareMatrix, TensorProblem};

/// A quadratic `½ (x - x*)ᵀ H (x - x*)` with a chosen spectrum and eigenvectors in general position.
///
/// `H = Q diag(λ) Qᵀ`, where `Q` is a product of Householder reflections along random directions.
/// The minimiser `x*` has ones everywhere and the start is the origin.
#[derive(Debug, Clone)]
pub struct RotatedQuadratic {
    spectrum: Vec<f64>,
    hessian: SquareMatrix,
}

const NAME: &str = "rotated-quadratic";

impl RotatedQuadratic {
    /// Eigenvalues spaced evenly in their logarithm, from 1 down to `1 / condition`.
    ///
    /// # Errors
    /// [`ProblemError`] for no variables, or a condition number below 1 or above 1e12, where `f64`
    /// could not hold the matrix.
    pub fn new(dim: usize, condition: f64, seed: u64) -> Result<Self, ProblemError> {
        ProblemError::check(
            (1.0..=1e12).contains(&condition),
            NAME,
            "condition",
            condition,
            "a number from 1 to 1e12",
        )?;
        let last = dim.saturating_sub(1).max(1) as f64;
        let spectrum = (0..dim)
            .map(|i| condition.powf(-(i as f64) / last))
            .collect();
        Self::with_spectrum(spectrum, seed)
    }

    /// The given eigenvalues, of either sign.
    ///
    /// # Errors
    /// [`ProblemError`] for no eigenvalues, or one that is not finite.
    pub fn with_spectrum(spectrum: Vec<f64>, seed: u64) -> Result<Self, ProblemError> {
        let n = spectrum.len();
        ProblemError::check(n > 0, NAME, "dim", n as f64, "at least 1")?;
        if let Some(bad) = spectrum.iter().find(|x| !x.is_finite()) {
            ProblemError::check(false, NAME, "eigenvalue", *bad, "a finite number")?;
        }
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut q = SquareMatrix::from_fn(n, |i, j| f64::from(u8::from(i == j)));
        for _ in 0..3 {
            let v: Vec<f64> = (0..n).map(|_| rng.sample(StandardNormal)).collect();
            let square: f64 = v.iter().map(|x| x * x).sum();
            let qv = q.mul_vec(&v);
            q = SquareMatrix::from_fn(n, |i, j| q.get(i, j) - 2.0 * qv[i] * v[j] / square);
        }
        let element = |i: usize, j: usize| {
            (0..n)
                .map(|k| q.get(i, k) * spectrum[k] * q.get(j, k))
                .sum::<f64>()
        };
        // Rounding must not make the matrix asymmetric.
        let hessian =
            SquareMatrix::from_fn(n, |i, j| if i <= j { element(i, j) } else { element(j, i) });
        Ok(Self { spectrum, hessian })
    }

    /// The eigenvalues.
    pub fn spectrum(&self) -> &[f64] {
        &self.spectrum
    }

    fn residual(x: &[f64]) -> Vec<f64> {
        x.iter().map(|x| x - 1.0).collect()
    }
}

impl ClosedForm for RotatedQuadratic {
    fn name(&self) -> &'static str {
        NAME
    }

    fn dim(&self) -> usize {
        self.spectrum.len()
    }

    fn start(&self) -> Vec<f64> {
        vec![0.0; self.dim()]
    }

    fn loss(&self, x: &[f64]) -> f64 {
        let r = Self::residual(x);
        let hr = self.hessian.mul_vec(&r);
        0.5 * r.iter().zip(hr).map(|(a, b)| a * b).sum::<f64>()
    }

    fn gradient(&self, x: &[f64]) -> Vec<f64> {
        self.hessian.mul_vec(&Self::residual(x))
    }

    fn hessian(&self, _x: &[f64]) -> SquareMatrix {
        self.hessian.clone()
    }

    fn minimum(&self) -> Option<Minimum> {
        self.spectrum.iter().all(|x| *x >= 0.0).then(|| Minimum {
            x: vec![1.0; self.dim()],
            loss: 0.0,
        })
    }
}

impl TensorProblem for RotatedQuadratic {
    type Point = VectorPoint;

    fn point(&self, x: &[f64], device: &Device, dtype: DType) -> VectorPoint {
        VectorPoint::new(x, device, dtype)
    }

    fn tensor_loss(&self, point: &VectorPoint) -> Tensor<1> {
        let n = self.dim();
        let r = point.x.val().sub_scalar(1.0).reshape([n, 1]);
        let h = constant([n, n], self.hessian.elements(), &r);
        (r.clone() * h.matmul(r)).sum().mul_scalar(0.5)
    }

    fn flatten(&self, point: &VectorPoint) -> Vec<f64> {
        point.values()
    }
}
