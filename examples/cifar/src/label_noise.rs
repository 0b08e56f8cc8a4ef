//! Wrong labels on purpose.

use rand::rngs::ChaCha8Rng;
use rand::seq::index;
use rand::{RngExt, SeedableRng};

/// Gives a part of the labels, `rate` in `0..=1` rounded to whole images, another class, each of the
/// others with the same probability. Which images and classes is a function of the seed.
pub fn add_label_noise(labels: &mut [u16], classes: usize, rate: f64, seed: u64) {
    if classes < 2 {
        return;
    }
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let count = (rate * labels.len() as f64).round() as usize;
    let count = count.min(labels.len());
    for position in index::sample(&mut rng, labels.len(), count) {
        // A step around the circle of classes that does not come back to where it began.
        let step = rng.random_range(1..classes);
        let label = usize::from(labels[position]);
        labels[position] = ((label + step) % classes) as u16;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_met_and_other_classes_are_equally_likely() {
        let clean: Vec<u16> = (0..10_000).map(|i| (i % 10) as u16).collect();
        let noisy = |rate, seed| {
            let mut labels = clean.clone();
            add_label_noise(&mut labels, 10, rate, seed);
            labels
        };
        let labels = noisy(0.4, 1);
        let mut moved = [[0; 10]; 10];
        for (from, to) in clean.iter().zip(&labels) {
            moved[usize::from(*from)][usize::from(*to)] += 1;
        }
        let kept: usize = (0..10).map(|class| moved[class][class]).sum();
        assert_eq!(kept, 6_000);
        // 4000 moves over 90 pairs: 44 each, standard deviation 6.6.
        for (from, row) in moved.iter().enumerate() {
            for (to, count) in row.iter().enumerate() {
                assert!(
                    from == to || (15..75).contains(count),
                    "{from} {to} {count}"
                );
            }
        }
        assert_eq!(labels, noisy(0.4, 1));
        assert_ne!(labels, noisy(0.4, 2));
        assert_eq!(clean, noisy(0.0, 1));
        assert!(noisy(1.0, 1).iter().zip(&clean).all(|(a, b)| a != b));
    }
}
