//! The residual networks for CIFAR of He et al., <https://arxiv.org/abs/1512.03385>, section 4.2.

use burn::module::Module;
use burn::nn::conv::Conv2d;
use burn::nn::{BatchNorm, Linear, LinearConfig};
use burn::tensor::activation::relu;
use burn::tensor::module::avg_pool2d;
use burn::tensor::ops::{AvgPoolOptions, PadMode};
use burn::tensor::{Device, Tensor};

use super::layers::{conv, norm};
use super::precision::Precision;

/// Channels of the three stages.
const WIDTHS: [usize; 3] = [16, 32, 64];

/// Three stages of residual blocks with 16, 32 and 64 channels, each after the first on half of the
/// side, and shortcuts without parameters (the paper's option A).
#[derive(Module, Debug)]
pub struct ResNet {
    conv: Conv2d,
    norm: BatchNorm,
    blocks: Vec<Block>,
    head: Linear,
    #[module(skip)]
    precision: Precision,
}

/// Two convolutions of 3 x 3, each followed by batch normalisation, around a shortcut.
#[derive(Module, Debug)]
pub struct Block {
    conv1: Conv2d,
    norm1: BatchNorm,
    conv2: Conv2d,
    norm2: BatchNorm,
    #[module(skip)]
    precision: Precision,
}

impl ResNet {
    /// A network of `6 * per_stage + 2` layers: `per_stage` is 3 for ResNet-20.
    pub fn new(
        per_stage: usize,
        channels: usize,
        classes: usize,
        precision: Precision,
        device: &Device,
    ) -> Self {
        let mut blocks = Vec::new();
        let mut from = WIDTHS[0];
        for (stage, to) in WIDTHS.into_iter().enumerate() {
            for index in 0..per_stage {
                let stride = if stage > 0 && index == 0 { 2 } else { 1 };
                blocks.push(Block::new([from, to], stride, precision, device));
                from = to;
            }
        }
        Self {
            conv: conv([channels, WIDTHS[0]], 3, 1, device),
            norm: norm(WIDTHS[0], device),
            blocks,
            head: LinearConfig::new(from, classes).init(device),
            precision,
        }
    }

    /// Logits `[rows, classes]` of images `[rows, channels, height, width]`.
    pub fn forward(&self, images: Tensor<4>) -> Tensor<2> {
        let x = relu(self.norm.forward(self.precision.conv(&self.conv, images)));
        let x = self.blocks.iter().fold(x, |x, block| block.forward(x));
        let pooled = x.flatten::<3>(2, 3).mean_dim(2).squeeze_dim::<2>(2);
        self.precision.linear(&self.head, pooled)
    }
}

impl Block {
    fn new([from, to]: [usize; 2], stride: usize, precision: Precision, device: &Device) -> Self {
        Self {
            conv1: conv([from, to], 3, stride, device),
            norm1: norm(to, device),
            conv2: conv([to, to], 3, 1, device),
            norm2: norm(to, device),
            precision,
        }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let precision = self.precision;
        let y = self.norm1.forward(precision.conv(&self.conv1, x.clone()));
        let y = self.norm2.forward(precision.conv(&self.conv2, relu(y)));
        relu(y + self.shortcut(x))
    }

    /// Every second pixel where the convolution takes every second, and zeros in the new channels.
    fn shortcut(&self, x: Tensor<4>) -> Tensor<4> {
        let stride = self.conv1.stride;
        let x = if stride == [1, 1] {
            x
        } else {
            avg_pool2d(x, AvgPoolOptions::new([1, 1]).with_stride(stride))
        };
        let (from, to) = (x.dims()[1], self.conv2.weight.dims()[0]);
        if from == to {
            return x;
        }
        let before = (to - from) / 2;
        let padding = [(before, to - from - before), (0, 0), (0, 0)];
        x.pad(padding, PadMode::Constant(0.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Distribution;

    #[test]
    fn the_shortcut_takes_every_second_pixel_and_pads_channels() {
        let device = Device::flex();
        let x = Tensor::<4>::random([2, 16, 6, 7], Distribution::Default, &device);
        let block = Block::new([16, 32], 2, Precision::F32, &device);
        let y = block.shortcut(x.clone());
        assert_eq!(y.dims(), block.forward(x.clone()).dims());
        assert_eq!(y.dims(), [2, 32, 3, 4]);
        let value = |t: &Tensor<4>, at: [usize; 4]| {
            let ranges = at.map(|i| i..i + 1);
            t.clone().slice(ranges).into_scalar::<f32>()
        };
        for channel in [0, 7, 8, 15, 23, 24, 31] {
            for (row, column) in [(0, 0), (1, 2), (2, 3)] {
                let expected = match channel {
                    8..24 => value(&x, [1, channel - 8, 2 * row, 2 * column]),
                    _ => 0.0,
                };
                assert_eq!(value(&y, [1, channel, row, column]), expected);
            }
        }
    }
}
