//! Bytes to numbers of mean 0 and variance 1.

use crate::data::Split;

/// Mean and standard deviation of each channel over the training images.
#[derive(Debug, Clone)]
pub struct Normalisation {
    /// The number of each byte, channel by channel.
    table: Vec<[f32; 256]>,
    mean: Vec<f64>,
}

impl Normalisation {
    /// The normalisation that gives these images mean 0 and variance 1 in each channel. A channel
    /// that never changes becomes 0.
    pub fn of(images: &Split) -> Self {
        let shape = images.shape();
        let mut counts = vec![[0_u64; 256]; shape.channels];
        for position in 0..images.len() {
            let planes = images.image(position).chunks_exact(shape.plane());
            for (count, plane) in counts.iter_mut().zip(planes) {
                for byte in plane {
                    count[usize::from(*byte)] += 1;
                }
            }
        }
        let pixels = (images.len() * shape.plane()).max(1) as f64;
        let moment = |count: &[u64; 256], f: &dyn Fn(f64) -> f64| {
            let terms = count.iter().enumerate();
            terms
                .map(|(byte, n)| *n as f64 * f(byte as f64))
                .sum::<f64>()
                / pixels
        };
        let mean: Vec<f64> = counts.iter().map(|count| moment(count, &|x| x)).collect();
        let table = counts
            .iter()
            .zip(&mean)
            .map(|(count, mean)| {
                let variance = moment(count, &|x| (x - mean).powi(2));
                let scale = if variance > 0.0 {
                    variance.sqrt().recip()
                } else {
                    0.0
                };
                std::array::from_fn(|byte| ((byte as f64 - mean) * scale) as f32)
            })
            .collect();
        Self { table, mean }
    }

    /// The mean of each channel as a byte.
    pub fn mean_bytes(&self) -> Vec<u8> {
        self.mean.iter().map(|mean| mean.round() as u8).collect()
    }

    /// Adds the numbers of an image, whose channels have `plane` pixels each.
    pub fn extend(&self, image: &[u8], plane: usize, out: &mut Vec<f32>) {
        for (table, channel) in self.table.iter().zip(image.chunks_exact(plane)) {
            out.extend(channel.iter().map(|byte| table[usize::from(*byte)]));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::ImageShape;

    #[test]
    fn every_channel_gets_mean_0_and_variance_1() {
        let shape = ImageShape {
            channels: 3,
            height: 2,
            width: 2,
        };
        let mut split = Split::with_capacity(shape, 0);
        for image in 0..50_u8 {
            let bytes = [image, 3, 9, 200, 4, 4, 4, image, 77, 77, 77, 77];
            split.push(&bytes, 0);
        }
        let normalisation = Normalisation::of(&split);
        let mut channels = vec![Vec::new(); 3];
        for position in 0..split.len() {
            let mut numbers = Vec::new();
            normalisation.extend(split.image(position), shape.plane(), &mut numbers);
            for (channel, plane) in channels.iter_mut().zip(numbers.chunks(4)) {
                channel.extend(plane.iter().map(|x| f64::from(*x)));
            }
        }
        for (channel, numbers) in channels.iter().enumerate() {
            let n = numbers.len() as f64;
            let mean = numbers.iter().sum::<f64>() / n;
            let variance = numbers.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n;
            let expected = if channel == 2 { 0.0 } else { 1.0 };
            assert!(mean.abs() < 1e-6 && (variance - expected).abs() < 1e-5);
        }
        assert_eq!(normalisation.mean_bytes()[2], 77);
    }
}
