use burn::config::Config;
use burn::module::Module;
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::pool::{AvgPool2d, AvgPool2dConfig};
use burn::nn::{BatchNorm, BatchNormConfig, Linear, LinearConfig, PaddingConfig2d};
use burn::tensor::activation::gelu;
use burn::tensor::{Device, Tensor};

/// [`ColourNet`] configuration.
#[derive(Config, Debug)]
pub struct ColourNetConfig {
    /// Channels of the convolutions. Default 16, 32, 64.
    #[config(default = "vec![16, 32, 64]")]
    pub channels: Vec<usize>,
    /// Classes. Default 10.
    #[config(default = 10)]
    pub classes: usize,
}

/// Convolutions with batch normalisation, GELU and an average pool each, the mean over all places, and a
/// linear layer, for colour images.
#[derive(Module, Debug)]
pub struct ColourNet {
    stages: Vec<Stage>,
    pool: AvgPool2d,
    head: Linear,
}

#[derive(Module, Debug)]
struct Stage {
    conv: Conv2d,
    norm: BatchNorm,
}

impl ColourNetConfig {
    /// Makes the network.
    pub fn init(&self, device: &Device) -> ColourNet {
        let mut from = 3;
        let stages = self.channels.iter().map(|&channels| {
            let conv = Conv2dConfig::new([from, channels], [3, 3])
                .with_padding(PaddingConfig2d::Same)
                .init(device);
            from = channels;
            let norm = BatchNormConfig::new(channels).init(device);
            Stage { conv, norm }
        });
        ColourNet {
            stages: stages.collect(),
            pool: AvgPool2dConfig::new([2, 2]).with_strides([2, 2]).init(),
            head: LinearConfig::new(from, self.classes).init(device),
        }
    }
}

impl ColourNet {
    /// Logits of images of shape `[rows, 3, height, width]`, whose sides halve in every stage.
    pub fn forward(&self, images: Tensor<4>) -> Tensor<2> {
        let x = self.stages.iter().fold(images, |x, stage| {
            let x = stage.norm.forward(stage.conv.forward(x));
            self.pool.forward(gelu(x))
        });
        self.head
            .forward(x.flatten::<3>(2, 3).mean_dim(2).squeeze_dim(2))
    }
}
