/// When something happened, or how long it was watched in vain.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Time {
    /// The time.
    pub at: f64,
    /// Whether it happened; where it did not, it is only known to happen later than `at`, if ever.
    pub happened: bool,
}

impl Time {
    /// It happened at this time.
    pub fn happened(at: f64) -> Self {
        Self { at, happened: true }
    }

    /// It had not happened by this time.
    pub fn censored(at: f64) -> Self {
        Self {
            at,
            happened: false,
        }
    }
}

/// Kaplan and Meier's estimate of the part that is still waiting after each time at which something
/// happened, in the order of time. A time that is censored at the moment of an event counts as watched
/// through it.
pub fn survival(times: &[Time]) -> Vec<(f64, f64)> {
    let mut sorted = times.to_vec();
    sorted.sort_by(|a, b| a.at.total_cmp(&b.at).then(b.happened.cmp(&a.happened)));
    let mut left = 1.0;
    let mut curve: Vec<(f64, f64)> = Vec::new();
    for (index, time) in sorted.iter().enumerate() {
        if !time.happened {
            continue;
        }
        let at_risk = (sorted.len() - index) as f64;
        left *= 1.0 - 1.0 / at_risk;
        match curve.last_mut() {
            Some(last) if last.0 == time.at => last.1 = left,
            _ => curve.push((time.at, left)),
        }
    }
    curve
}

/// The median time by [`survival`]: the first time at which no more than half are still waiting. `None`
/// where more than half were watched in vain.
///
/// Of an even number of times, none censored, it is the lower of the two in the middle.
pub fn survival_median(times: &[Time]) -> Option<f64> {
    // Products of fractions miss one half by rounding.
    const HALF: f64 = 0.5 + 1e-9;
    let curve = survival(times);
    curve
        .iter()
        .find(|point| point.1 <= HALF)
        .map(|point| point.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(happened: &[f64], censored: &[f64]) -> Vec<Time> {
        let happened = happened.iter().map(|at| Time::happened(*at));
        let censored = censored.iter().map(|at| Time::censored(*at));
        happened.chain(censored).collect()
    }

    #[test]
    fn without_censoring_it_is_the_lower_median() {
        assert_eq!(survival_median(&times(&[5.0, 1.0, 3.0], &[])), Some(3.0));
        assert_eq!(
            survival_median(&times(&[4.0, 1.0, 3.0, 2.0], &[])),
            Some(2.0)
        );
        assert_eq!(survival_median(&times(&[7.0], &[])), Some(7.0));
        assert_eq!(survival_median(&[]), None);
    }

    #[test]
    fn runs_that_never_arrive_push_the_median_up() {
        assert_eq!(survival_median(&times(&[1.0, 2.0], &[9.0])), Some(2.0));
        assert_eq!(
            survival_median(&times(&[1.0, 2.0, 3.0], &[9.0, 9.0])),
            Some(3.0)
        );
        assert_eq!(survival_median(&times(&[1.0], &[9.0, 9.0])), None);
        assert_eq!(survival_median(&times(&[1.0], &[9.0])), Some(1.0));
        assert_eq!(
            survival_median(&times(&[1.0, 2.0, 3.0], &[9.0; 3])),
            Some(3.0)
        );
        assert_eq!(survival_median(&times(&[1.0, 2.0], &[9.0; 3])), None);
        assert_eq!(survival_median(&times(&[], &[9.0, 9.0])), None);
    }

    /// The remission times of the 6-MP arm of Freireich et al. (1963), a standard example: the
    /// estimate at 6, 7, 10, 13, 16, 22 and 23 weeks, and a median of 23.
    #[test]
    fn the_standard_example_comes_out() {
        let happened = [6.0, 6.0, 6.0, 7.0, 10.0, 13.0, 16.0, 22.0, 23.0];
        let censored = [
            6.0, 9.0, 10.0, 11.0, 17.0, 19.0, 20.0, 25.0, 32.0, 32.0, 34.0, 35.0,
        ];
        let all = times(&happened, &censored);
        let expected = [
            (6.0, 0.857),
            (7.0, 0.807),
            (10.0, 0.753),
            (13.0, 0.690),
            (16.0, 0.627),
            (22.0, 0.538),
            (23.0, 0.448),
        ];
        let curve = survival(&all);
        assert_eq!(curve.len(), expected.len());
        for (found, expected) in curve.iter().zip(expected) {
            assert_eq!(found.0, expected.0);
            assert!((found.1 - expected.1).abs() < 5e-4, "{curve:?}");
        }
        assert_eq!(survival_median(&all), Some(23.0));
    }
}
