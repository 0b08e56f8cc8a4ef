//! Comparisons of vectors and of estimates.

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
