//! Numbers and how far they are apart.

use osculate_jvp::AnyTensor;
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;

use crate::machine::ELEMENTS;

pub fn values(tensor: &AnyTensor) -> Vec<f64> {
    let n = tensor.shape().num_elements();
    let flat = tensor.clone().float_reshaped([n]);
    flat.into_data().iter::<f64>().collect()
}

pub fn all(tensors: &[Option<AnyTensor>]) -> Vec<f64> {
    tensors
        .iter()
        .flat_map(|tensor| tensor.as_ref().map_or(vec![0.0; ELEMENTS], values))
        .collect()
}

pub fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn distance(a: &[f64], b: &[f64]) -> f64 {
    let size = dot(b, b).sqrt();
    let difference: Vec<f64> = a.iter().zip(b).map(|(a, b)| a - b).collect();
    dot(&difference, &difference).sqrt() / (1.0 + size)
}

pub fn close(
    what: &str,
    got: &[f64],
    expected: &[f64],
    tolerance: f64,
) -> Result<(), TestCaseError> {
    prop_assert_eq!(got.len(), expected.len(), "{}", what);
    let off = distance(got, expected);
    prop_assert!(
        off <= tolerance,
        "{}: {:?} and {:?}, {:e} apart",
        what,
        got,
        expected,
        off
    );
    Ok(())
}

/// Differences at two steps, where they agree: next to a kink they do not.
pub fn differences(f: impl Fn(f64) -> Vec<f64>) -> Option<Vec<f64>> {
    let at = |h: f64| -> Vec<f64> {
        let (plus, minus) = (f(h), f(-h));
        let pairs = plus.iter().zip(&minus);
        pairs.map(|(p, m)| (p - m) / (2.0 * h)).collect()
    };
    let (one, other) = (at(1e-5), at(3e-6));
    (distance(&one, &other) < 1e-7).then_some(one)
}
