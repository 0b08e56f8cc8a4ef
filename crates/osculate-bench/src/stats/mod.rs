//! What may be concluded from a few runs.
//!
//! Nothing here knows of optimizers: the functions take numbers and are tested on numbers whose
//! answers are known.

mod bootstrap;
mod paired;
mod profile;
mod survival;

pub use bootstrap::{Bootstrap, Interval};
pub use paired::{PairedTest, paired_test, smallest_p};
pub use profile::{Profile, profiles};
pub use survival::{Time, survival, survival_median};

/// The median; the mean of the two in the middle of an even number. `None` of nothing. Infinite values are
/// allowed.
pub fn median(values: &[f64]) -> Option<f64> {
    quantile(values, 0.5)
}

/// The quantile at `q` from 0 to 1, on a line between neighbouring values. `None` of nothing. Infinite
/// values are allowed.
pub fn quantile(values: &[f64], q: f64) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let last = sorted.len().checked_sub(1)?;
    let place = q.clamp(0.0, 1.0) * last as f64;
    let (low, high) = (
        sorted[place.floor() as usize],
        sorted[place.ceil() as usize],
    );
    let part = place.fract();
    Some(if part == 0.0 || low == high {
        low
    } else {
        low * (1.0 - part) + high * part
    })
}

/// The mean. `None` of nothing.
pub fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_lie_between_neighbours() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(quantile(&[0.0, 10.0], 0.25), Some(2.5));
        assert_eq!(quantile(&[1.0, f64::INFINITY], 1.0), Some(f64::INFINITY));
        assert_eq!(median(&[1.0, f64::INFINITY]), Some(f64::INFINITY));
        assert_eq!(mean(&[1.0, 3.0]), Some(2.0));
    }
}
