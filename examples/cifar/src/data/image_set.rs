use rand::SeedableRng;
use rand::rngs::ChaCha8Rng;
use rand::seq::index;

/// Size of every image of a set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImageShape {
    /// 1 for grey, 3 for colour.
    pub channels: usize,
    /// Rows of pixels.
    pub height: usize,
    /// Pixels of a row.
    pub width: usize,
}

impl ImageShape {
    /// Bytes of an image.
    pub fn len(&self) -> usize {
        self.channels * self.plane()
    }

    /// Whether an image has no pixel.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Pixels of one channel.
    pub fn plane(&self) -> usize {
        self.height * self.width
    }
}

/// One part of the images: bytes from 0 to 255, channel by channel and row by row, as the files have
/// them, and a class for each image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Split {
    shape: ImageShape,
    pixels: Vec<u8>,
    labels: Vec<u16>,
}

impl Split {
    /// A part without images, with room for some.
    pub fn with_capacity(shape: ImageShape, images: usize) -> Self {
        Self {
            shape,
            pixels: Vec::with_capacity(images * shape.len()),
            labels: Vec::with_capacity(images),
        }
    }

    /// Adds an image.
    ///
    /// # Panics
    /// If the number of bytes is not that of the shape.
    pub fn push(&mut self, pixels: &[u8], label: u16) {
        assert_eq!(pixels.len(), self.shape.len(), "bytes of an image");
        self.pixels.extend_from_slice(pixels);
        self.labels.push(label);
    }

    /// Number of images.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there is no image.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// Size of each image.
    pub fn shape(&self) -> ImageShape {
        self.shape
    }

    /// The bytes of an image.
    ///
    /// # Panics
    /// If the position is out of range.
    pub fn image(&self, position: usize) -> &[u8] {
        let len = self.shape.len();
        &self.pixels[position * len..(position + 1) * len]
    }

    /// The class of each image.
    pub fn labels(&self) -> &[u16] {
        &self.labels
    }

    /// The class of each image, to be changed.
    pub fn labels_mut(&mut self) -> &mut [u16] {
        &mut self.labels
    }

    /// At most `limit` of the images, always the same ones, drawn at random: whatever the order of the
    /// files, every class keeps about its share.
    pub fn thinned(self, limit: usize) -> Self {
        let len = self.len();
        if limit >= len {
            return self;
        }
        let mut rng = ChaCha8Rng::seed_from_u64(0);
        let mut positions = index::sample(&mut rng, len, limit).into_vec();
        positions.sort_unstable();
        let mut kept = Split::with_capacity(self.shape, limit);
        for position in positions {
            kept.push(self.image(position), self.labels[position]);
        }
        kept
    }
}

/// Images to train on and to test on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageSet {
    /// What the images are and where they came from, for people.
    pub source: String,
    /// Whether an image keeps its class when it is mirrored. It does not for digits.
    pub mirrors: bool,
    /// Name of each class.
    pub classes: Vec<String>,
    /// The images to train on.
    pub train: Split,
    /// The images to test on.
    pub test: Split,
    /// What a user should know about the files, such as a part that is missing.
    pub notes: Vec<String>,
}

impl ImageSet {
    /// Size of every image.
    pub fn shape(&self) -> ImageShape {
        self.train.shape()
    }

    /// Numbers of images and a checksum of pixels, labels and classes: two sets with one fingerprint are
    /// the same, wherever they lie and however they are stored.
    pub fn fingerprint(&self) -> String {
        let mut crc = crc32fast::Hasher::new();
        for class in &self.classes {
            // A length before each keeps a moved boundary apart.
            crc.update(&class.len().to_le_bytes());
            crc.update(class.as_bytes());
        }
        let ImageShape {
            channels,
            height,
            width,
        } = self.shape();
        for size in [channels, height, width] {
            crc.update(&size.to_le_bytes());
        }
        for split in [&self.train, &self.test] {
            crc.update(&split.len().to_le_bytes());
            crc.update(&split.pixels);
            for label in &split.labels {
                crc.update(&label.to_le_bytes());
            }
        }
        format!(
            "{} + {} images, checksum {:08x}",
            self.train.len(),
            self.test.len(),
            crc.finalize()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thinned_part_keeps_every_class() {
        let shape = ImageShape {
            channels: 1,
            height: 1,
            width: 2,
        };
        // Ordered by class, and class after class in turn.
        for class in [|image: u16| image / 100, |image| image % 10] {
            let mut split = Split::with_capacity(shape, 0);
            for image in 0..1000_u16 {
                split.push(&image.to_be_bytes(), class(image));
            }
            let thinned = split.clone().thinned(200);
            assert_eq!(thinned, split.clone().thinned(200));
            assert_eq!(thinned.len(), 200);
            let mut counts = [0; 10];
            let mut last = None;
            for position in 0..200 {
                let pixels = thinned.image(position);
                let image = u16::from_be_bytes([pixels[0], pixels[1]]);
                assert!(last < Some(image), "each image once, in order");
                last = Some(image);
                assert_eq!(thinned.labels()[position], class(image));
                counts[usize::from(class(image))] += 1;
            }
            assert!(counts.iter().all(|n| (8..35).contains(n)), "{counts:?}");
            assert_eq!(split.clone().thinned(1000), split);
        }
    }
}
