use burn::config::Config;
use burn::module::Module;
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::pool::{AvgPool2d, AvgPool2dConfig};
use burn::nn::{GroupNorm, GroupNormConfig, Linear, LinearConfig};
use burn::tensor::activation::relu;
use burn::tensor::{Device, Tensor};

/// [`GroupNet`] configuration.
#[derive(Config, Debug)]
pub struct GroupNetConfig {
    /// Channels of the first convolution, a multiple of 4; the second has twice as many. Default 16.
    #[config(default = 16)]
    pub channels: usize,
    /// Classes. Default 10.
    #[config(default = 10)]
    pub classes: usize,
}

/// Two convolutions, each followed by group normalisation and ReLU, an average pool, and a linear
/// layer, for colour images of 16 x 16.
#[derive(Module, Debug)]
pub struct GroupNet {
    first: Conv2d,
    first_norm: GroupNorm,
    second: Conv2d,
    second_norm: GroupNorm,
    pool: AvgPool2d,
    head: Linear,
}

impl GroupNetConfig {
    /// Makes the network.
    pub fn init(&self, device: &Device) -> GroupNet {
        let (first, second) = (self.channels, 2 * self.channels);
        GroupNet {
            first: Conv2dConfig::new([3, first], [3, 3]).init(device),
            first_norm: GroupNormConfig::new(4, first).init(device),
            second: Conv2dConfig::new([first, second], [3, 3]).init(device),
            second_norm: GroupNormConfig::new(4, second).init(device),
            pool: AvgPool2dConfig::new([4, 4]).with_strides([4, 4]).init(),
            head: LinearConfig::new(second * 9, self.classes).init(device),
        }
    }
}

impl GroupNet {
    /// Logits of images of shape `[rows, 3, 16, 16]`.
    pub fn forward(&self, images: Tensor<4>) -> Tensor<2> {
        let x = relu(self.first_norm.forward(self.first.forward(images)));
        let x = relu(self.second_norm.forward(self.second.forward(x)));
        self.head.forward(self.pool.forward(x).flatten(1, 3))
    }
}
