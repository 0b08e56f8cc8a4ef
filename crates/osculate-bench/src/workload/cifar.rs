use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use burn::tensor::{Device, Int, Tensor, TensorData};
use osculate::prelude::*;
use osculate_problems::digits::CLASSES;
use osculate_problems::modules::{ColourNet, ColourNetConfig, seeded};

use super::digits::{accuracy, positions};
use super::stage::Stage;
use super::{About, Metric, Workload, WorkloadError};

/// Sides and channels of an image, and the bytes of a record: the label, then red, green and blue.
const SIDE: usize = 32;
const CHANNELS: usize = 3;
const PIXELS: usize = CHANNELS * SIDE * SIDE;
const RECORD: usize = 1 + PIXELS;
/// Images in a batch.
const BATCH: usize = 64;
/// Images that are measured.
const MEASURED: usize = 1000;
/// One in so many training images, the last, is held out for tuning.
const HELD_OUT: usize = 10;

/// A small convolutional network on CIFAR-10, from a folder in its binary format.
#[derive(Debug, Clone)]
pub struct Cifar {
    stage: Stage,
    train: Arc<[u8]>,
    test: Arc<[u8]>,
}

impl Cifar {
    /// Reads `data_batch_*.bin` and `test_batch.bin` of a folder.
    ///
    /// # Errors
    /// [`WorkloadError`] where a file is missing or is not made of records of 3073 bytes.
    pub fn open(folder: &Path) -> Result<Self, WorkloadError> {
        let mut parts: Vec<PathBuf> = (1..=5)
            .map(|part| folder.join(format!("data_batch_{part}.bin")))
            .filter(|path| path.is_file())
            .collect();
        if parts.is_empty() {
            // The reading fails and names the file.
            parts.push(folder.join("data_batch_1.bin"));
        }
        let mut train = Vec::new();
        for path in &parts {
            train.extend(records(path)?);
        }
        if train.len() < 2 * RECORD {
            return Err(WorkloadError::new(format_args!(
                "{} has one training image; expected some to train on and some to hold out",
                folder.display()
            )));
        }
        Ok(Self {
            stage: Stage::Report,
            train: train.into(),
            test: records(&folder.join("test_batch.bin"))?.into(),
        })
    }

    /// The records to train on and those to measure.
    fn records(&self) -> [&[u8]; 2] {
        match self.stage {
            Stage::Report => [&self.train, &self.test],
            Stage::Tuning => {
                let all = self.train.len() / RECORD;
                let kept = all - all.div_ceil(HELD_OUT);
                self.train.split_at(kept * RECORD).into()
            }
        }
    }
}

fn records(path: &Path) -> Result<Vec<u8>, WorkloadError> {
    let bytes = fs::read(path).map_err(|error| {
        WorkloadError::new(format_args!("cannot read {}: {error}", path.display()))
    })?;
    let sound = !bytes.is_empty()
        && bytes.len().is_multiple_of(RECORD)
        && bytes
            .iter()
            .step_by(RECORD)
            .all(|label| usize::from(*label) < CLASSES);
    if sound {
        Ok(bytes)
    } else {
        Err(WorkloadError::new(format_args!(
            "{} is not CIFAR-10: expected records of {RECORD} bytes that begin with a label below {CLASSES}",
            path.display()
        )))
    }
}

fn images(records: &[u8], positions: &[usize], device: &Device) -> (Tensor<4>, Tensor<1, Int>) {
    let rows = positions.len();
    let record = |position: &usize| &records[position * RECORD..(position + 1) * RECORD];
    let pixels: Vec<f32> = positions
        .iter()
        .flat_map(|position| &record(position)[1..])
        .map(|byte| f32::from(*byte) / 127.5 - 1.0)
        .collect();
    let labels: Vec<i32> = positions
        .iter()
        .map(|at| i32::from(record(at)[0]))
        .collect();
    let shape = [rows, CHANNELS, SIDE, SIDE];
    (
        Tensor::from_data(TensorData::new(pixels, shape), device),
        Tensor::from_data(TensorData::new(labels, [rows]), device),
    )
}

fn forward(model: &ColourNet, images: &Tensor<4>) -> Tensor<2> {
    model.forward(images.clone())
}

impl Workload for Cifar {
    type Model = ColourNet;

    fn about(&self) -> About {
        About::new(
            "cifar",
            "CIFAR-10, conv net 16-32-64",
            Metric::accuracy("test accuracy"),
            1000,
        )
        .because("natural images, the usual next step after digits")
        .on(format!(
            "{} images of CIFAR-10 from the folder, in batches of {BATCH}; measured on {} test images; tuning holds out a tenth of those to train on",
            self.train.len() / RECORD,
            MEASURED.min(self.test.len() / RECORD)
        ))
    }

    fn fingerprint(&self) -> Option<String> {
        let mut crc = crc32fast::Hasher::new();
        crc.update(&self.train);
        crc.update(&self.test);
        Some(format!(
            "{} + {} bytes, checksum {:08x}",
            self.train.len(),
            self.test.len(),
            crc.finalize()
        ))
    }

    fn model(&self, seed: u64, device: &Device) -> Result<ColourNet, WorkloadError> {
        Ok(seeded(ColourNetConfig::new().init(device), seed))
    }

    fn batch(
        &self,
        seed: u64,
        step: usize,
        device: &Device,
    ) -> Result<Box<dyn Objective<ColourNet>>, WorkloadError> {
        let [train, _] = self.records();
        let positions = positions(train.len() / RECORD, BATCH, seed, step);
        let (images, labels) = images(train, &positions, device);
        let criterion = Criterion::cross_entropy(labels);
        Ok(Box::new(SupervisedBatch::new(images, forward, criterion)))
    }

    fn measure(&self, model: &ColourNet, device: &Device) -> Result<f64, WorkloadError> {
        let [_, measured] = self.records();
        let rows = MEASURED.min(measured.len() / RECORD);
        let (images, labels) = images(measured, &(0..rows).collect::<Vec<_>>(), device);
        Ok(accuracy(forward(model, &images), labels))
    }

    fn for_tuning(&self) -> Option<Box<dyn Workload<Model = ColourNet>>> {
        Some(Box::new(Self {
            stage: Stage::Tuning,
            ..self.clone()
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_read_and_damage_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let missing = Cifar::open(folder.path()).unwrap_err().to_string();
        assert!(missing.contains("data_batch_1.bin"), "{missing}");
        let mut bytes = vec![255_u8; 3 * RECORD];
        for (number, label) in [3_u8, 9, 0].into_iter().enumerate() {
            bytes[number * RECORD] = label;
        }
        for file in ["data_batch_1.bin", "test_batch.bin"] {
            fs::write(folder.path().join(file), &bytes).unwrap();
        }
        let cifar = Cifar::open(folder.path()).unwrap();
        let (pixels, labels) = images(&cifar.train, &[1, 0], &Device::flex());
        assert_eq!(pixels.dims(), [2, 3, 32, 32]);
        assert_eq!(labels.into_data().iter::<i64>().collect::<Vec<_>>(), [9, 3]);
        assert_eq!(pixels.max().into_scalar::<f32>(), 1.0);
        let before = cifar.fingerprint();
        assert_eq!(before, Cifar::open(folder.path()).unwrap().fingerprint());
        let mut other = bytes.clone();
        other[5] ^= 1;
        fs::write(folder.path().join("data_batch_1.bin"), &other).unwrap();
        assert_ne!(before, Cifar::open(folder.path()).unwrap().fingerprint());
        let tuning = Cifar {
            stage: Stage::Tuning,
            ..cifar.clone()
        };
        let [train, measured] = tuning.records();
        assert_eq!([train, measured].concat(), *cifar.train);
        assert_eq!((train.len(), measured.len()), (2 * RECORD, RECORD));
        assert_eq!(cifar.records(), [&*cifar.train, &*cifar.test]);
        fs::write(folder.path().join("test_batch.bin"), &bytes[1..]).unwrap();
        let damaged = Cifar::open(folder.path()).unwrap_err().to_string();
        assert!(damaged.contains("test_batch.bin"), "{damaged}");
    }
}
