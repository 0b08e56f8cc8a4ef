//! A residual network whose batch normalisation trains.

use burn::module::Module;
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::{BatchNorm, BatchNormConfig, Linear, LinearConfig, PaddingConfig2d};
use burn::tensor::activation::relu;
use burn::tensor::{Device, Tensor};

/// Three residual blocks of two convolutions, each with batch normalisation, for colour images; the
/// second block halves the sides of the image.
#[derive(Module, Debug)]
pub struct ResidualNet {
    stem: Convolution,
    blocks: Vec<Block>,
    head: Linear,
}

#[derive(Module, Debug)]
struct Convolution {
    conv: Conv2d,
    norm: BatchNorm,
}

impl Convolution {
    fn new([from, to]: [usize; 2], kernel: usize, stride: usize, device: &Device) -> Self {
        let side = kernel / 2;
        let conv = Conv2dConfig::new([from, to], [kernel, kernel])
            .with_stride([stride, stride])
            .with_padding(PaddingConfig2d::Explicit(side, side, side, side))
            .with_bias(false);
        Self {
            conv: conv.init(device),
            norm: BatchNormConfig::new(to).init(device),
        }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        self.norm.forward(self.conv.forward(x))
    }
}

#[derive(Module, Debug)]
struct Block {
    first: Convolution,
    second: Convolution,
    shortcut: Option<Convolution>,
}

impl Block {
    fn new([from, to]: [usize; 2], device: &Device) -> Self {
        let stride = if from == to { 1 } else { 2 };
        Self {
            first: Convolution::new([from, to], 3, stride, device),
            second: Convolution::new([to, to], 3, 1, device),
            shortcut: (from != to).then(|| Convolution::new([from, to], 1, stride, device)),
        }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let inner = self.second.forward(relu(self.first.forward(x.clone())));
        let kept = match &self.shortcut {
            Some(shortcut) => shortcut.forward(x),
            None => x,
        };
        relu(inner + kept)
    }
}

impl ResidualNet {
    /// A network of 16 and 32 channels for ten classes.
    pub fn new(device: &Device) -> Self {
        Self {
            stem: Convolution::new([3, 16], 3, 1, device),
            blocks: [[16, 16], [16, 32], [32, 32]]
                .map(|channels| Block::new(channels, device))
                .into(),
            head: LinearConfig::new(32, 10).init(device),
        }
    }

    /// Logits of images of shape `[rows, 3, height, width]`.
    pub fn forward(&self, images: Tensor<4>) -> Tensor<2> {
        let x = relu(self.stem.forward(images));
        let x = self.blocks.iter().fold(x, |x, block| block.forward(x));
        self.head
            .forward(x.flatten::<3>(2, 3).mean_dim(2).squeeze_dim(2))
    }
}
