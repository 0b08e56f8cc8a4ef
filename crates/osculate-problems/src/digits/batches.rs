use rand::SeedableRng;
use rand::rngs::ChaCha8Rng;
use rand::seq::SliceRandom;

/// The positions of one epoch's batches, shuffled.
///
/// The order is a function of the seed and the epoch alone, so that a resumed run sees the batches
/// that the interrupted one would have seen. The last batch may be shorter.
#[derive(Debug, Clone)]
pub struct Batches {
    order: Vec<usize>,
    size: usize,
    next: usize,
}

impl Batches {
    /// The batches of `size` out of `len` images in an epoch. A size of 0 counts as 1.
    pub fn new(len: usize, size: usize, seed: u64, epoch: u64) -> Self {
        let mut order: Vec<usize> = (0..len).collect();
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(epoch);
        order.shuffle(&mut rng);
        Self {
            order,
            size: size.max(1),
            next: 0,
        }
    }
}

impl Iterator for Batches {
    type Item = Vec<usize>;

    fn next(&mut self) -> Option<Vec<usize>> {
        let rest = &self.order[self.next..];
        if rest.is_empty() {
            return None;
        }
        let batch = rest[..self.size.min(rest.len())].to_vec();
        self.next += batch.len();
        Some(batch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_is_a_permutation_that_seed_and_epoch_decide() {
        let epoch = |seed, epoch| Batches::new(103, 10, seed, epoch).collect::<Vec<_>>();
        let batches = epoch(1, 2);
        assert_eq!(batches.len(), 11);
        assert_eq!(batches[10].len(), 3);
        let mut all = batches.concat();
        all.sort_unstable();
        assert_eq!(all, (0..103).collect::<Vec<_>>());
        assert_eq!(batches, epoch(1, 2));
        assert_ne!(batches, epoch(1, 3));
        assert_ne!(batches, epoch(2, 2));
    }
}
