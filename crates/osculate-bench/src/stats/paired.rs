use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};
use serde::{Deserialize, Serialize};

/// Whether paired differences are more than chance.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct PairedTest {
    /// Number of pairs.
    pub pairs: usize,
    /// Mean difference.
    pub mean: f64,
    /// Two-sided p-value: the part of all choices of signs whose mean is at least as far from zero.
    pub p: f64,
    /// The smallest p-value that so many pairs can give.
    pub smallest: f64,
}

/// Up to this many pairs all choices of signs are counted; beyond it, [`DRAWN`] are drawn.
const COUNTED: usize = 16;
const DRAWN: usize = 20_000;

/// The permutation test of paired differences: were the two of every pair alike, each difference could
/// as well have had the other sign. `None` of no pairs, or where a difference is not finite.
pub fn paired_test(differences: &[f64]) -> Option<PairedTest> {
    let n = differences.len();
    if n == 0 || differences.iter().any(|d| !d.is_finite()) {
        return None;
    }
    let observed: f64 = differences.iter().sum();
    // Sums of the same numbers in another order differ by rounding.
    let bound = observed.abs() * (1.0 - 1e-9);
    let (mut extreme, mut all) = (0_usize, 0_usize);
    let mut count = |signs: &mut dyn FnMut(usize) -> bool| {
        let sum: f64 = differences
            .iter()
            .enumerate()
            .map(|(index, d)| if signs(index) { *d } else { -d })
            .sum();
        all += 1;
        extreme += usize::from(sum.abs() >= bound);
    };
    if n <= COUNTED {
        for choice in 0_u32..1 << n {
            count(&mut |index| choice & (1 << index) != 0);
        }
    } else {
        count(&mut |_| true);
        let mut rng = ChaCha8Rng::seed_from_u64(0);
        for _ in 1..DRAWN {
            count(&mut |_| rng.random());
        }
    }
    Some(PairedTest {
        pairs: n,
        mean: observed / n as f64,
        p: extreme as f64 / all as f64,
        smallest: smallest_p(n),
    })
}

/// The smallest p-value that [`paired_test`] can give of so many pairs.
pub fn smallest_p(pairs: usize) -> f64 {
    if pairs > COUNTED {
        1.0 / DRAWN as f64
    } else {
        // All signs alike, either way.
        (2.0 / f64::from(1_u32 << pairs)).min(1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_signs_are_counted() {
        // Of 2^3 choices only +++ and --- are as far from zero.
        let found = paired_test(&[1.0, 2.0, 3.0]).unwrap();
        assert_eq!((found.p, found.smallest, found.mean), (0.25, 0.25, 2.0));
        // Sums: ±6, ±4 (twice), 0, ±2...: as far as 4 are 4 of 8.
        let found = paired_test(&[1.0, 2.0, -3.0, 4.0]).unwrap();
        assert_eq!(found.p, 10.0 / 16.0);
        assert_eq!(paired_test(&[0.0, 0.0]).unwrap().p, 1.0);
        assert!(paired_test(&[]).is_none());
        assert!(paired_test(&[f64::NAN]).is_none());
    }

    #[test]
    fn many_pairs_are_drawn() {
        let clear: Vec<f64> = (0..30).map(|i| 1.0 + f64::from(i % 3)).collect();
        assert!(paired_test(&clear).unwrap().p <= 1e-4);
        let even: Vec<f64> = (0..30)
            .map(|i| if i % 2 == 0 { 1.0 } else { -1.0 })
            .collect();
        assert_eq!(paired_test(&even).unwrap().p, 1.0);
    }
}
