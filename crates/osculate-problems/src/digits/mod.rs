//! 1797 handwritten digits of 8 x 8 pixels, embedded in the program.
//!
//! Source: *Optical Recognition of Handwritten Digits*, E. Alpaydin and C. Kaynak, UCI Machine
//! Learning Repository, 1998, <https://doi.org/10.24432/C50P49>, licensed CC BY 4.0; these are the
//! images of its test half as packaged by scikit-learn.
//!
//! The split is fixed: of the images of each digit, in the order of the file, every fifth is for
//! testing (355 images) and the others are for training (1442 images).

mod batches;
mod noise;

pub use batches::Batches;

use std::io::Read;
use std::sync::OnceLock;

use burn::tensor::{Device, Int, Tensor, TensorData};
use flate2::read::GzDecoder;
use thiserror::Error;

/// Pixels along a side.
pub const SIDE: usize = 8;
/// Pixels of an image.
pub const PIXELS: usize = SIDE * SIDE;
/// Number of digits.
pub const CLASSES: usize = 10;
/// Largest value of a pixel in the file.
const WHITE: f32 = 16.0;

static COMPRESSED: &[u8] = include_bytes!("../../data/digits.csv.gz");

/// The embedded data could not be read: the program was built from a damaged file.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("the embedded digits are damaged: {0}")]
pub struct DigitsError(String);

/// The images with their labels.
#[derive(Debug, Clone)]
pub struct Digits {
    train: Split,
    test: Split,
}

/// One part of the images.
#[derive(Debug, Clone, Default)]
pub struct Split {
    pixels: Vec<f32>,
    labels: Vec<u8>,
}

/// Images with their labels, on a device.
#[derive(Debug, Clone)]
pub struct DigitsBatch {
    /// Pixels from 0 to 1, of shape `[rows, 64]`.
    pub images: Tensor<2>,
    /// Digits from 0 to 9, of shape `[rows]`.
    pub labels: Tensor<1, Int>,
}

impl DigitsBatch {
    /// The images as one channel of 8 x 8 pixels, of shape `[rows, 1, 8, 8]`.
    pub fn grid(&self) -> Tensor<4> {
        let rows = self.images.dims()[0];
        self.images.clone().reshape([rows, 1, SIDE, SIDE])
    }
}

impl Digits {
    /// The embedded images, decompressed at the first call.
    ///
    /// # Errors
    /// [`DigitsError`] if the program was built from a damaged file.
    pub fn load() -> Result<&'static Digits, DigitsError> {
        static DIGITS: OnceLock<Result<Digits, DigitsError>> = OnceLock::new();
        DIGITS
            .get_or_init(Self::decompress)
            .as_ref()
            .map_err(Clone::clone)
    }

    /// The images to train on.
    pub fn train(&self) -> &Split {
        &self.train
    }

    /// The images to test on.
    pub fn test(&self) -> &Split {
        &self.test
    }

    fn decompress() -> Result<Self, DigitsError> {
        let mut text = String::new();
        GzDecoder::new(COMPRESSED)
            .read_to_string(&mut text)
            .map_err(|error| DigitsError(error.to_string()))?;
        let mut digits = Digits {
            train: Split::default(),
            test: Split::default(),
        };
        let mut seen = [0_usize; CLASSES];
        for (number, line) in text.lines().enumerate() {
            let damaged = || DigitsError(format!("line {}: {line:?}", number + 1));
            let values = line
                .split(',')
                .map(|value| value.parse::<u8>().map_err(|_| damaged()))
                .collect::<Result<Vec<_>, _>>()?;
            let (label, pixels) = values.split_last().ok_or_else(damaged)?;
            if pixels.len() != PIXELS || usize::from(*label) >= CLASSES {
                return Err(damaged());
            }
            let count = &mut seen[usize::from(*label)];
            *count += 1;
            let split = if *count % 5 == 0 {
                &mut digits.test
            } else {
                &mut digits.train
            };
            split.labels.push(*label);
            split
                .pixels
                .extend(pixels.iter().map(|pixel| f32::from(*pixel) / WHITE));
        }
        Ok(digits)
    }
}

impl Split {
    /// Number of images.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there is no image.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// The digits.
    pub fn labels(&self) -> &[u8] {
        &self.labels
    }

    /// Pixels of all images, from 0 to 1, image by image and row by row.
    pub fn pixels(&self) -> &[f32] {
        &self.pixels
    }

    /// The images at the given positions.
    ///
    /// # Panics
    /// If a position is out of range.
    pub fn batch(&self, positions: &[usize], device: &Device) -> DigitsBatch {
        let rows = positions.len();
        let mut pixels = Vec::with_capacity(rows * PIXELS);
        for &position in positions {
            pixels.extend_from_slice(&self.pixels[position * PIXELS..(position + 1) * PIXELS]);
        }
        let labels: Vec<i32> = positions
            .iter()
            .map(|&position| i32::from(self.labels[position]))
            .collect();
        DigitsBatch {
            images: Tensor::from_data(TensorData::new(pixels, [rows, PIXELS]), device),
            labels: Tensor::from_data(TensorData::new(labels, [rows]), device),
        }
    }

    /// The images without every `one_in`-th, and those.
    ///
    /// # Panics
    /// If `one_in` is 0.
    pub fn hold_out(&self, one_in: usize) -> (Self, Self) {
        let (mut kept, mut held_out) = (Self::default(), Self::default());
        for (position, label) in self.labels.iter().enumerate() {
            let split = if (position + 1).is_multiple_of(one_in) {
                &mut held_out
            } else {
                &mut kept
            };
            split.labels.push(*label);
            let pixels = &self.pixels[position * PIXELS..(position + 1) * PIXELS];
            split.pixels.extend_from_slice(pixels);
        }
        (kept, held_out)
    }

    /// All images.
    pub fn all(&self, device: &Device) -> DigitsBatch {
        self.batch(&(0..self.len()).collect::<Vec<_>>(), device)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_image_is_in_one_split_and_every_digit_in_both() {
        let digits = Digits::load().unwrap();
        assert_eq!((digits.train().len(), digits.test().len()), (1442, 355));
        for split in [digits.train(), digits.test()] {
            assert_eq!(split.pixels().len(), split.len() * PIXELS);
            assert!(split.pixels().iter().all(|p| (0.0..=1.0).contains(p)));
            for digit in 0..CLASSES as u8 {
                let count = split.labels().iter().filter(|l| **l == digit).count();
                let share = count as f64 / split.len() as f64;
                assert!((0.09..0.11).contains(&share), "{digit}: {share}");
            }
        }
    }

    #[test]
    fn what_is_held_out_is_the_rest() {
        let train = Digits::load().unwrap().train();
        let (kept, held_out) = train.hold_out(5);
        assert_eq!((kept.len(), held_out.len()), (1154, 288));
        assert_eq!(held_out.labels()[1], train.labels()[9]);
        assert_eq!(kept.labels()[4], train.labels()[5]);
        assert_eq!(
            held_out.pixels()[..PIXELS],
            train.pixels()[4 * PIXELS..5 * PIXELS]
        );
    }

    #[test]
    fn a_batch_holds_the_images_asked_for() {
        let train = Digits::load().unwrap().train();
        let batch = train.batch(&[3, 0], &Device::flex());
        assert_eq!(batch.grid().dims(), [2, 1, SIDE, SIDE]);
        let labels: Vec<i64> = batch.labels.into_data().iter::<i64>().collect();
        assert_eq!(
            labels,
            [train.labels()[3], train.labels()[0]].map(i64::from)
        );
        let pixels: Vec<f32> = batch.images.try_into_vec_as().unwrap();
        assert_eq!(pixels[PIXELS..], train.pixels()[..PIXELS]);
    }
}
