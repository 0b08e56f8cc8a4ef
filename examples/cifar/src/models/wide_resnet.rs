//! Wide residual networks of Zagoruyko and Komodakis, <https://arxiv.org/abs/1605.07146>.

use burn::module::Module;
use burn::nn::conv::Conv2d;
use burn::nn::{BatchNorm, Linear, LinearConfig};
use burn::tensor::activation::relu;
use burn::tensor::{Device, Tensor};

use super::layers::{conv, norm};
use super::precision::Precision;

/// Channels of the first convolution, and of the three stages before they are widened.
const STEM: usize = 16;
const WIDTHS: [usize; 3] = [16, 32, 64];

/// Three stages of residual blocks whose normalisation and ReLU come before the convolutions.
#[derive(Module, Debug)]
pub struct WideResNet {
    conv: Conv2d,
    blocks: Vec<WideBlock>,
    norm: BatchNorm,
    head: Linear,
    #[module(skip)]
    precision: Precision,
}

/// Two convolutions of 3 x 3, each after batch normalisation and ReLU, around a shortcut.
#[derive(Module, Debug)]
pub struct WideBlock {
    norm1: BatchNorm,
    conv1: Conv2d,
    norm2: BatchNorm,
    conv2: Conv2d,
    /// A convolution of 1 x 1 where the number of channels or the side changes.
    shortcut: Option<Conv2d>,
    #[module(skip)]
    precision: Precision,
}

impl WideResNet {
    /// A network of `6 * per_stage + 4` layers and `widening` times the channels of a ResNet:
    /// `per_stage` is 2 and `widening` 4 for WRN-16-4.
    pub fn new(
        [per_stage, widening]: [usize; 2],
        channels: usize,
        classes: usize,
        precision: Precision,
        device: &Device,
    ) -> Self {
        let mut blocks = Vec::new();
        let mut from = STEM;
        for (stage, width) in WIDTHS.into_iter().enumerate() {
            let to = width * widening;
            for index in 0..per_stage {
                let stride = if stage > 0 && index == 0 { 2 } else { 1 };
                blocks.push(WideBlock::new([from, to], stride, precision, device));
                from = to;
            }
        }
        Self {
            conv: conv([channels, STEM], 3, 1, device),
            blocks,
            norm: norm(from, device),
            head: LinearConfig::new(from, classes).init(device),
            precision,
        }
    }

    /// Logits `[rows, classes]` of images `[rows, channels, height, width]`.
    pub fn forward(&self, images: Tensor<4>) -> Tensor<2> {
        let x = self.precision.conv(&self.conv, images);
        let x = self.blocks.iter().fold(x, |x, block| block.forward(x));
        let x = relu(self.norm.forward(x));
        let pooled = x.flatten::<3>(2, 3).mean_dim(2).squeeze_dim::<2>(2);
        self.precision.linear(&self.head, pooled)
    }
}

impl WideBlock {
    fn new([from, to]: [usize; 2], stride: usize, precision: Precision, device: &Device) -> Self {
        let changes = from != to || stride != 1;
        Self {
            norm1: norm(from, device),
            conv1: conv([from, to], 3, stride, device),
            norm2: norm(to, device),
            conv2: conv([to, to], 3, 1, device),
            shortcut: changes.then(|| conv([from, to], 1, stride, device)),
            precision,
        }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let precision = self.precision;
        let active = relu(self.norm1.forward(x.clone()));
        // The shortcut's convolution sees the normalised input, as in the authors' code.
        let shortcut = match &self.shortcut {
            Some(layer) => precision.conv(layer, active.clone()),
            None => x,
        };
        let y = self.norm2.forward(precision.conv(&self.conv1, active));
        precision.conv(&self.conv2, relu(y)) + shortcut
    }
}
