//! Random changes of training images, on their bytes.

use rand::RngExt;
use rand::rngs::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::data::ImageShape;

/// Which random changes are made to each training image, each time that it is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Augmentation {
    /// Black pixels that are put around the image before a part of its old size is cut out at random.
    pub crop: usize,
    /// Whether every second image is mirrored left to right.
    pub flip: bool,
    /// Side of a square that is filled with the training images' mean, at a random place that may
    /// reach over the edge; 0 for none.
    pub cutout: usize,
}

impl Augmentation {
    /// No change.
    pub const NONE: Self = Self {
        crop: 0,
        flip: false,
        cutout: 0,
    };

    /// The usual changes for images of this size: crop with 4 pixels of padding at 32 pixels a side
    /// (an eighth of the shorter side), mirroring where classes survive it, no cutout.
    pub fn usual(shape: ImageShape, mirrors: bool) -> Self {
        Self {
            crop: shape.height.min(shape.width) / 8,
            flip: mirrors,
            cutout: 0,
        }
    }

    /// Changes one image. `fill` has one byte for each channel, with which cutout fills.
    ///
    /// # Panics
    /// If a length is not that of the shape.
    pub fn apply(
        &self,
        shape: ImageShape,
        fill: &[u8],
        rng: &mut ChaCha8Rng,
        image: &[u8],
        out: &mut [u8],
    ) {
        assert_eq!([image.len(), out.len()], [shape.len(); 2]);
        let draw = |rng: &mut ChaCha8Rng, end: usize| rng.random_range(0..end);
        let top = draw(rng, 2 * self.crop + 1);
        let left = draw(rng, 2 * self.crop + 1);
        let mirrored = rng.random_bool(0.5) && self.flip;
        let centre = [draw(rng, shape.height), draw(rng, shape.width)];
        let (height, width) = (shape.height, shape.width);
        for channel in 0..shape.channels {
            let plane = channel * shape.plane();
            for row in 0..height {
                // Row and column in the image, which the padding moves by `crop`.
                let from_row = (row + top).checked_sub(self.crop).filter(|r| *r < height);
                for column in 0..width {
                    let seen = if mirrored { width - 1 - column } else { column };
                    let from_column = (seen + left).checked_sub(self.crop).filter(|c| *c < width);
                    out[plane + row * width + column] = match (from_row, from_column) {
                        (Some(row), Some(column)) => image[plane + row * width + column],
                        _ => 0,
                    };
                }
            }
            let [rows, columns] = [(centre[0], height), (centre[1], width)].map(|(at, end)| {
                let start = at.saturating_sub(self.cutout / 2);
                start..(at + self.cutout.div_ceil(2)).min(end)
            });
            if self.cutout > 0 {
                for row in rows {
                    let start = plane + row * width;
                    out[start + columns.start..start + columns.end].fill(fill[channel]);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    const SHAPE: ImageShape = ImageShape {
        channels: 2,
        height: 4,
        width: 5,
    };

    fn image() -> Vec<u8> {
        (1..=SHAPE.len() as u8).collect()
    }

    fn changed(augmentation: Augmentation, seed: u64) -> Vec<u8> {
        let mut out = vec![0; SHAPE.len()];
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        augmentation.apply(SHAPE, &[100, 200], &mut rng, &image(), &mut out);
        out
    }

    #[test]
    fn without_changes_the_image_stays() {
        for seed in 0..20 {
            assert_eq!(changed(Augmentation::NONE, seed), image());
        }
    }

    #[test]
    fn half_of_the_images_are_mirrored() {
        let flip = Augmentation {
            flip: true,
            ..Augmentation::NONE
        };
        let mirror: Vec<u8> = image()
            .chunks(SHAPE.width)
            .flat_map(|row| row.iter().rev().copied())
            .collect();
        let mirrored = (0..1000).filter(|seed| {
            let out = changed(flip, *seed);
            assert!(out == mirror || out == image());
            out == mirror
        });
        let mirrored = mirrored.count();
        assert!((440..560).contains(&mirrored), "{mirrored}");
    }

    #[test]
    fn a_crop_moves_the_image_by_up_to_its_padding() {
        let crop = Augmentation {
            crop: 2,
            ..Augmentation::NONE
        };
        let mut seen = std::collections::HashSet::new();
        for seed in 0..1000 {
            let out = changed(crop, seed);
            let moves =
                (-2..=2_isize).flat_map(|down| (-2..=2_isize).map(move |right| (down, right)));
            let found: Vec<_> = moves
                .filter(|&(down, right)| {
                    (0..SHAPE.len()).all(|at| {
                        let (plane, at) = (at / SHAPE.plane(), at % SHAPE.plane());
                        let row = (at / SHAPE.width) as isize + down;
                        let column = (at % SHAPE.width) as isize + right;
                        let inside = (0..SHAPE.height as isize).contains(&row)
                            && (0..SHAPE.width as isize).contains(&column);
                        let start = plane * SHAPE.plane();
                        let expected = if inside {
                            image()[start + row as usize * SHAPE.width + column as usize]
                        } else {
                            0
                        };
                        out[start + at] == expected
                    })
                })
                .collect();
            assert_eq!(found.len(), 1, "seed {seed}: {out:?}");
            seen.extend(found);
        }
        assert_eq!(seen.len(), 25);
    }

    #[test]
    fn cutout_fills_a_square_in_every_channel() {
        let cutout = Augmentation {
            cutout: 2,
            ..Augmentation::NONE
        };
        let mut largest = 0;
        for seed in 0..200 {
            let out = changed(cutout, seed);
            let filled = |channel: usize| -> Vec<usize> {
                let plane = channel * SHAPE.plane()..(channel + 1) * SHAPE.plane();
                let fill = [100, 200][channel];
                (out[plane].iter().enumerate())
                    .filter(|(_, byte)| **byte == fill)
                    .map(|(at, _)| at)
                    .collect()
            };
            let places = filled(0);
            assert_eq!(places, filled(1));
            assert!([1, 2, 4].contains(&places.len()), "{places:?}");
            largest = largest.max(places.len());
            let untouched = out.iter().zip(image()).filter(|(a, b)| **a == *b);
            assert_eq!(untouched.count(), SHAPE.len() - 2 * places.len());
        }
        assert_eq!(largest, 4);
    }

    #[test]
    fn changes_are_a_function_of_the_generator() {
        let all = Augmentation {
            crop: 2,
            flip: true,
            cutout: 3,
        };
        assert_eq!(changed(all, 9), changed(all, 9));
        assert_ne!(changed(all, 9), changed(all, 10));
    }
}
