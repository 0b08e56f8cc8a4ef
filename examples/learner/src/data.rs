//! The digits as burn's data loaders.

use std::sync::Arc;

use burn::data::dataloader::batcher::Batcher;
use burn::data::dataloader::{DataLoader, DataLoaderBuilder};
use burn::data::dataset::InMemDataset;
use burn::tensor::Device;
use osculate_problems::digits::{Digits, DigitsBatch, DigitsError, Split};

/// Makes batches out of positions in a split.
#[derive(Debug, Clone)]
struct Images(&'static Split);

impl Batcher<usize, DigitsBatch> for Images {
    fn batch(&self, positions: Vec<usize>, device: &Device) -> DigitsBatch {
        self.0.batch(&positions, device)
    }
}

/// Loaders of the training split, shuffled anew in every epoch, and of the test split.
pub struct Loaders {
    pub train: Arc<dyn DataLoader<DigitsBatch>>,
    pub test: Arc<dyn DataLoader<DigitsBatch>>,
}

impl Loaders {
    pub fn new(batch_size: usize, seed: u64) -> Result<Self, DigitsError> {
        let digits = Digits::load()?;
        let all = |split: &Split| InMemDataset::new((0..split.len()).collect());
        Ok(Self {
            train: DataLoaderBuilder::new(Images(digits.train()))
                .batch_size(batch_size)
                .shuffle(seed)
                .build(all(digits.train())),
            test: DataLoaderBuilder::new(Images(digits.test()))
                .batch_size(128)
                .build(all(digits.test())),
        })
    }
}
