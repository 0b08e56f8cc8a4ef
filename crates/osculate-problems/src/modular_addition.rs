//! Sums modulo a number, of which a network is shown a part: it learns those by heart, and long after, with a
//! little help at once, the rule (grokking).
//!
//! Task: Power et al., *Grokking*, <https://arxiv.org/abs/2201.02177>.

use burn::tensor::{Device, Int, Tensor, TensorData};
use rand::SeedableRng;
use rand::rngs::ChaCha8Rng;
use rand::seq::SliceRandom;
use thiserror::Error;

/// A task that has no pairs to train on, or none to measure.
#[derive(Debug, Clone, Copy, PartialEq, Error)]
pub enum ModularAdditionError {
    /// There are no sums to tell apart.
    #[error("modular addition: modulus = {0} is invalid, expected at least 2")]
    Modulus(usize),
    /// One of the two parts would be empty.
    #[error(
        "modular addition: train = {train} of {pairs} pairs is invalid, expected a share in (0, 1) that leaves \
         both parts at least one"
    )]
    Share {
        /// The share given.
        train: f64,
        /// How many pairs there are.
        pairs: usize,
    },
}

/// Some pairs `a`, `b` with their sums.
#[derive(Debug, Clone)]
pub struct SumBatch {
    /// `a` and `b`, each one-hot, side by side: of shape `[rows, 2 modulus]`.
    pub pairs: Tensor<2>,
    /// `(a + b) mod modulus`, of shape `[rows]`.
    pub sums: Tensor<1, Int>,
}

/// All pairs below a modulus, split at random into those to train on and the rest.
///
/// ```
/// use burn::tensor::Device;
/// use osculate_problems::modular_addition::ModularAddition;
/// let task = ModularAddition::new(5, 0.4, 1)?;
/// let train = task.train(&Device::flex());
/// assert_eq!((train.pairs.dims(), train.sums.dims()), ([10, 10], [10]));
/// assert_eq!(task.test(&Device::flex()).sums.dims(), [15]);
/// # Ok::<(), osculate_problems::modular_addition::ModularAdditionError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct ModularAddition {
    modulus: usize,
    train: Vec<(usize, usize)>,
    test: Vec<(usize, usize)>,
}

impl ModularAddition {
    /// The pairs below `modulus`, of which the share `train` is trained on; `seed` decides which.
    ///
    /// # Errors
    /// [`ModularAdditionError`] for a modulus below 2, and a share that leaves one of the parts empty.
    pub fn new(modulus: usize, train: f64, seed: u64) -> Result<Self, ModularAdditionError> {
        if modulus < 2 {
            return Err(ModularAdditionError::Modulus(modulus));
        }
        let mut pairs: Vec<(usize, usize)> = (0..modulus)
            .flat_map(|a| (0..modulus).map(move |b| (a, b)))
            .collect();
        let own = (train * pairs.len() as f64).floor();
        if !(own >= 1.0 && own < pairs.len() as f64) {
            let pairs = pairs.len();
            return Err(ModularAdditionError::Share { train, pairs });
        }
        pairs.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
        let test = pairs.split_off(own as usize);
        Ok(Self {
            modulus,
            train: pairs,
            test,
        })
    }

    /// The pairs to train on.
    pub fn train(&self, device: &Device) -> SumBatch {
        self.batch(&self.train, device)
    }

    /// The pairs that were left out.
    pub fn test(&self, device: &Device) -> SumBatch {
        self.batch(&self.test, device)
    }

    fn batch(&self, pairs: &[(usize, usize)], device: &Device) -> SumBatch {
        let width = 2 * self.modulus;
        let mut hot = vec![0.0_f32; pairs.len() * width];
        for (row, (a, b)) in pairs.iter().enumerate() {
            hot[row * width + a] = 1.0;
            hot[row * width + self.modulus + b] = 1.0;
        }
        let sums = pairs.iter().map(|(a, b)| ((a + b) % self.modulus) as i64);
        let sums: Vec<i64> = sums.collect();
        let data = TensorData::new(hot, [pairs.len(), width]);
        SumBatch {
            pairs: Tensor::from_data(data, device),
            sums: Tensor::from_data(TensorData::new(sums, [pairs.len()]), device),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pair_is_in_one_part_with_its_sum() {
        let task = ModularAddition::new(7, 0.4, 3).unwrap();
        let mut seen = Vec::new();
        for batch in [task.train(&Device::flex()), task.test(&Device::flex())] {
            let hot: Vec<f32> = batch.pairs.into_data().iter::<f32>().collect();
            let sums: Vec<i64> = batch.sums.into_data().iter::<i64>().collect();
            for (row, sum) in hot.chunks(14).zip(sums) {
                let at: Vec<usize> = (0..14).filter(|&at| row[at] == 1.0).collect();
                assert_eq!(at.len(), 2);
                let (a, b) = (at[0], at[1] - 7);
                assert_eq!(sum as usize, (a + b) % 7);
                seen.push((a, b));
            }
        }
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), 49);
        assert_eq!(task, ModularAddition::new(7, 0.4, 3).unwrap());
        assert_ne!(task, ModularAddition::new(7, 0.4, 4).unwrap());
        assert!(ModularAddition::new(1, 0.5, 0).is_err());
        for share in [0.0, 1.0, f64::NAN, 0.001] {
            assert!(ModularAddition::new(7, share, 0).is_err(), "{share}");
        }
    }
}
