//! The handwritten digits that are part of the program.

use osculate_problems::digits::{self, CLASSES, Digits, SIDE};

use super::error::DataError;
use super::image_set::{ImageSet, ImageShape, Split};

const SHAPE: ImageShape = ImageShape {
    channels: 1,
    height: SIDE,
    width: SIDE,
};

/// 1442 training and 355 test images of 8 x 8 pixels.
///
/// # Errors
/// [`DataError::Digits`] where the program was built from damaged data.
pub fn read() -> Result<ImageSet, DataError> {
    let digits = Digits::load()?;
    Ok(ImageSet {
        source: "handwritten digits of 8 x 8 pixels, embedded in the program".to_string(),
        mirrors: false,
        classes: (0..CLASSES).map(|digit| digit.to_string()).collect(),
        train: convert(digits.train()),
        test: convert(digits.test()),
        notes: Vec::new(),
    })
}

fn convert(part: &digits::Split) -> Split {
    let mut split = Split::with_capacity(SHAPE, part.len());
    let images = part.pixels().chunks_exact(SHAPE.len());
    for (pixels, label) in images.zip(part.labels()) {
        let bytes: Vec<u8> = pixels.iter().map(|p| (p * 255.0).round() as u8).collect();
        split.push(&bytes, u16::from(*label));
    }
    split
}
