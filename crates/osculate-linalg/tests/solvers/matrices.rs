//! Matrices that the solvers are tried on, their references in f64, and comparisons.

use burn::tensor::{DType, Device, Tensor, TensorData};
use faer::{Mat, Side};

pub fn device() -> Device {
    Device::flex()
}

/// Deterministic numbers between -1 and 1.
pub fn noise(seed: u64) -> impl FnMut() -> f64 {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    }
}

pub fn random(rows: usize, columns: usize, seed: u64) -> Mat<f64> {
    let mut next = noise(seed);
    Mat::from_fn(rows, columns, |_, _| next())
}

/// `Q diag(values) Qᵀ` with a random basis.
pub fn with_spectrum(values: &[f64], seed: u64) -> Mat<f64> {
    let n = values.len();
    let q = random(n, n, seed).qr().compute_Q();
    let scaled = Mat::from_fn(n, n, |i, j| q[(i, j)] * values[j]);
    let product = &scaled * q.transpose();
    Mat::from_fn(n, n, |i, j| 0.5 * (product[(i, j)] + product[(j, i)]))
}

/// Symmetric positive semi-definite matrices of the kinds that optimizers meet.
pub fn family(n: usize) -> Vec<(&'static str, Mat<f64>)> {
    let wide = random(n, 2 * n, 1);
    let thin = random(n, n.div_ceil(3), 2);
    let decades = |i: usize| 10f64.powf(-12.0 * i as f64 / (n.max(2) - 1) as f64);
    let spectrum: Vec<f64> = (0..n).map(decades).collect();
    vec![
        ("random", &wide * wide.transpose()),
        ("rank-deficient", &thin * thin.transpose()),
        (
            "tridiagonal",
            Mat::from_fn(n, n, |i, j| match i.abs_diff(j) {
                0 => 2.0,
                1 => -1.0,
                _ => 0.0,
            }),
        ),
        ("condition 1e12", with_spectrum(&spectrum, 3)),
        ("identity", Mat::<f64>::identity(n, n)),
        ("zero", Mat::<f64>::zeros(n, n)),
    ]
}

pub fn stack(matrices: &[Mat<f64>], dtype: DType) -> Tensor<3> {
    let (m, n) = (matrices[0].nrows(), matrices[0].ncols());
    let mut values = Vec::with_capacity(matrices.len() * m * n);
    for matrix in matrices {
        for i in 0..m {
            values.extend((0..n).map(|j| matrix[(i, j)]));
        }
    }
    Tensor::from_data(
        TensorData::new(values, [matrices.len(), m, n]),
        (&device(), dtype),
    )
}

pub fn matrix(stack: &Tensor<3>, index: usize) -> Mat<f64> {
    let [_, m, n] = stack.dims();
    let values: Vec<f64> = stack.to_data().iter::<f64>().collect();
    Mat::from_fn(m, n, |i, j| values[(index * m + i) * n + j])
}

pub fn vector(tensor: Tensor<1>) -> Vec<f64> {
    tensor.into_data().iter::<f64>().collect()
}

/// `‖a - b‖ / ‖b‖` in Frobenius norms; absolute where `b` is zero.
pub fn distance(a: &Mat<f64>, b: &Mat<f64>) -> f64 {
    let size = b.norm_l2();
    (a - b).norm_l2() / if size > 0.0 { size } else { 1.0 }
}

pub fn eigenvalues(matrix: &Mat<f64>) -> Vec<f64> {
    matrix
        .self_adjoint_eigenvalues(Side::Lower)
        .expect("converges")
}

/// `(A + ridge I)^-exponent` through faer in f64.
pub fn inverse_root(matrix: &Mat<f64>, exponent: f64, ridge: f64) -> Mat<f64> {
    let n = matrix.nrows();
    let eigen = matrix.self_adjoint_eigen(Side::Lower).expect("converges");
    let (values, vectors) = (eigen.S(), eigen.U());
    let weighted = Mat::from_fn(n, n, |i, j| {
        vectors[(i, j)] * (values[j].max(0.0) + ridge).powf(-exponent)
    });
    &weighted * vectors.transpose()
}

/// The roundoff that a type is held to.
pub fn roundoff(dtype: DType) -> f64 {
    if dtype == DType::F64 {
        f64::EPSILON
    } else {
        f64::from(f32::EPSILON)
    }
}

pub const TYPES: [DType; 2] = [DType::F32, DType::F64];
