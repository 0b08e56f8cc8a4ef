use rand::rngs::ChaCha8Rng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};

use super::{CLASSES, Split};

impl Split {
    /// The same images with wrong labels on a part of them: exactly `share` of the images, rounded,
    /// chosen by the seed, each labelled with one of the nine other digits at random.
    ///
    /// # Panics
    /// If the share is not between 0 and 1.
    pub fn with_wrong_labels(&self, share: f64, seed: u64) -> Self {
        assert!(
            (0.0..=1.0).contains(&share),
            "share of wrong labels {share}"
        );
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut order: Vec<usize> = (0..self.len()).collect();
        order.shuffle(&mut rng);
        order.truncate((share * self.len() as f64).round() as usize);
        let mut noisy = self.clone();
        for position in order {
            let shift = rng.random_range(1..CLASSES as u8);
            let label = &mut noisy.labels[position];
            *label = (*label + shift) % CLASSES as u8;
        }
        noisy
    }
}

#[cfg(test)]
mod tests {
    use crate::digits::Digits;

    #[test]
    fn exactly_the_share_is_wrong() {
        let train = Digits::load().unwrap().train();
        let noisy = train.with_wrong_labels(0.4, 0);
        let wrong = noisy.labels().iter().zip(train.labels());
        assert_eq!(wrong.filter(|(a, b)| a != b).count(), 577);
        assert_eq!(noisy.pixels(), train.pixels());
        assert_eq!(noisy.labels(), train.with_wrong_labels(0.4, 0).labels());
        assert_ne!(noisy.labels(), train.with_wrong_labels(0.4, 1).labels());
        assert_eq!(train.with_wrong_labels(0.0, 0).labels(), train.labels());
    }
}
