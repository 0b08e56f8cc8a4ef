//! Comparisons of vectors and of estimates.

use burn::tensor::DType;

/// Checks that a vector is within a relative distance of another.
///
/// # Panics
/// If it is not.
pub fn assert_vector(got: &[f64], want: &[f64], tolerance: f64, what: &str) {
    let scale = want.iter().map(|x| x * x).sum::<f64>().sqrt();
    let error: f64 = got.iter().zip(want).map(|(a, b)| (a - b).powi(2)).sum();
    assert!(
        error.sqrt() <= tolerance * scale,
        "{what}: {got:?} against {want:?}"
    );
}

/// Whether every estimate is within so many standard errors of the truth.
pub fn within(value: &[f64], error: &[f64], truth: &[f64], sigmas: f64) -> bool {
    let floor = 1e-9;
    value
        .iter()
        .zip(error)
        .zip(truth)
        .all(|((v, e), t)| (v - t).abs() <= sigmas * e + floor)
}

/// The weights after each step of two runs are the same but for rounding.
///
/// # Panics
/// If they are not.
pub fn assert_near(a: &[Vec<f64>], b: &[Vec<f64>], dtype: DType, what: &str) {
    // burn's optimizers keep their settings and bias corrections in single precision.
    let tolerance = if dtype == DType::F64 { 1e-6 } else { 1e-5 };
    for (a, b) in a.iter().flatten().zip(b.iter().flatten()) {
        assert!((a - b).abs() <= tolerance, "{what}: {a} against {b}");
    }
}
