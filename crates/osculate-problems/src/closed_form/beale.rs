use burn::tensor::{DType, Device, Tensor};

use super::point::VectorPoint;
use super::{ClosedForm, Minimum, SquareMatrix, TensorProblem};

/// Beale's function of two variables, `Σ_k (t_k - x (1 - yᵏ))²` with `t = (1.5, 2.25, 2.625)`: flat
/// plains, sharp corners, an indefinite Hessian at the start, and the minimum at `(3, 0.5)`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Beale;

const T: [f64; 3] = [1.5, 2.25, 2.625];

/// For each term its residual, its derivatives, and its second derivatives by `xy` and `yy`.
fn terms(x: &[f64]) -> impl Iterator<Item = [f64; 5]> {
    let (x, y) = (x[0], x[1]);
    (1..=3).zip(T).map(move |(k, t)| {
        let kf = f64::from(k);
        let power = y.powi(k);
        let slope = kf * y.powi(k - 1);
        let bend = kf * (kf - 1.0) * y.powi((k - 2).max(0));
        [
            t - x * (1.0 - power),
            -(1.0 - power),
            x * slope,
            slope,
            x * bend,
        ]
    })
}

impl ClosedForm for Beale {
    fn name(&self) -> &'static str {
        "beale"
    }

    fn dim(&self) -> usize {
        2
    }

    fn start(&self) -> Vec<f64> {
        vec![1.0, 1.0]
    }

    fn loss(&self, x: &[f64]) -> f64 {
        terms(x).map(|[r, ..]| r * r).sum()
    }

    fn gradient(&self, x: &[f64]) -> Vec<f64> {
        let mut gradient = vec![0.0; 2];
        for [r, rx, ry, ..] in terms(x) {
            gradient[0] += 2.0 * r * rx;
            gradient[1] += 2.0 * r * ry;
        }
        gradient
    }

    fn hessian(&self, x: &[f64]) -> SquareMatrix {
        let mut hessian = SquareMatrix::from_fn(2, |_, _| 0.0);
        for [r, rx, ry, rxy, ryy] in terms(x) {
            hessian.add(0, 0, 2.0 * rx * rx);
            hessian.add(0, 1, 2.0 * (rx * ry + r * rxy));
            hessian.add(1, 0, 2.0 * (rx * ry + r * rxy));
            hessian.add(1, 1, 2.0 * (ry * ry + r * ryy));
        }
        hessian
    }

    fn minimum(&self) -> Option<Minimum> {
        Some(Minimum {
            x: vec![3.0, 0.5],
            loss: 0.0,
        })
    }
}

impl TensorProblem for Beale {
    type Point = VectorPoint;

    fn point(&self, x: &[f64], device: &Device, dtype: DType) -> VectorPoint {
        VectorPoint::new(x, device, dtype)
    }

    fn tensor_loss(&self, point: &VectorPoint) -> Tensor<1> {
        let x = point.x.val().slice(0..1);
        let y = point.x.val().slice(1..2);
        let mut power = y.clone();
        let mut loss = x.zeros_like();
        for t in T {
            let residual = (x.clone() * power.clone().sub_scalar(1.0)).add_scalar(t);
            loss = loss + residual.square();
            power = power * y.clone();
        }
        loss
    }

    fn flatten(&self, point: &VectorPoint) -> Vec<f64> {
        point.values()
    }
}
