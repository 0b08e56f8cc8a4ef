use burn::config::Config;
use burn::module::Module;
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::pool::{AvgPool2d, AvgPool2dConfig};
use burn::nn::{BatchNorm, BatchNormConfig, Linear, LinearConfig, PaddingConfig2d};
use burn::tensor::{Device, Tensor};

use super::Activation;

/// [`ConvNet`] configuration.
#[derive(Config, Debug)]
pub struct ConvNetConfig {
    /// Channels of the first convolution; the second has twice as many. Default 8.
    #[config(default = 8)]
    pub channels: usize,
    /// Classes. Default 10.
    #[config(default = 10)]
    pub classes: usize,
    /// Whether batch normalisation follows each convolution. Default `true`.
    #[config(default = true)]
    pub batch_norm: bool,
    /// Function after each convolution. Default GELU.
    #[config(default = "Activation::Gelu")]
    pub activation: Activation,
}

/// Two convolutions, each followed by an average pool, and a linear layer, for images of 8 x 8.
#[derive(Module, Debug)]
pub struct ConvNet {
    conv1: Conv2d,
    norm1: Option<BatchNorm>,
    conv2: Conv2d,
    norm2: Option<BatchNorm>,
    pool: AvgPool2d,
    head: Linear,
    #[module(skip)]
    activation: Activation,
}

impl ConvNetConfig {
    /// Makes the network.
    pub fn init(&self, device: &Device) -> ConvNet {
        let conv = |from, to| {
            Conv2dConfig::new([from, to], [3, 3])
                .with_padding(PaddingConfig2d::Same)
                .init(device)
        };
        let norm = |channels| {
            self.batch_norm
                .then(|| BatchNormConfig::new(channels).init(device))
        };
        let (first, second) = (self.channels, 2 * self.channels);
        ConvNet {
            conv1: conv(1, first),
            norm1: norm(first),
            conv2: conv(first, second),
            norm2: norm(second),
            pool: AvgPool2dConfig::new([2, 2]).with_strides([2, 2]).init(),
            head: LinearConfig::new(second * 4, self.classes).init(device),
            activation: self.activation,
        }
    }
}

impl ConvNet {
    /// Logits of images of shape `[rows, 1, 8, 8]`.
    pub fn forward(&self, images: Tensor<4>) -> Tensor<2> {
        let x = self.stage(self.conv1.forward(images), self.norm1.as_ref());
        let x = self.stage(self.conv2.forward(x), self.norm2.as_ref());
        self.head.forward(x.flatten(1, 3))
    }

    fn stage(&self, x: Tensor<4>, norm: Option<&BatchNorm>) -> Tensor<4> {
        let x = match norm {
            Some(norm) => norm.forward(x),
            None => x,
        };
        self.pool.forward(self.activation.forward(x))
    }

    /// Running mean and variance of the first batch normalisation, if there is one.
    pub fn running_statistics(&self) -> Option<(Vec<f64>, Vec<f64>)> {
        let norm = self.norm1.as_ref()?;
        let read = |tensor: Tensor<1>| tensor.into_data().iter::<f64>().collect();
        Some((
            read(norm.running_mean.value_sync()),
            read(norm.running_var.value_sync()),
        ))
    }
}
