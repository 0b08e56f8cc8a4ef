//! Classifiers of images.

use burn::module::Module;
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::loss::CrossEntropyLossConfig;
use burn::nn::pool::{AdaptiveAvgPool2d, AdaptiveAvgPool2dConfig, MaxPool2d, MaxPool2dConfig};
use burn::nn::{
    BatchNorm, BatchNormConfig, Dropout, DropoutConfig, Gelu, GroupNorm, GroupNormConfig, Linear,
    LinearConfig, PaddingConfig2d, Relu,
};
use burn::tensor::ops::ConvOptions;
use burn::tensor::{Device, Int, Tensor, activation, module::conv2d};

use crate::turns::{holds, integers, numbers, turn};

type Images = (Tensor<4>, Tensor<1, Int>);

fn images(channels: usize, device: &Device) -> Images {
    (
        numbers([4, channels, 6, 6], 3, device),
        integers([4], 3, 1, device),
    )
}

fn cross_entropy(logits: Tensor<2>, labels: &Tensor<1, Int>) -> Tensor<1> {
    let loss = CrossEntropyLossConfig::new().init(&logits.device());
    loss.forward(logits, labels.clone())
}

/// The block of burn's MNIST example.
#[derive(Module, Debug)]
struct ConvBlock {
    conv: Conv2d,
    norm: BatchNorm,
    pool: Option<MaxPool2d>,
    activation: Relu,
}

impl ConvBlock {
    fn new(channels: [usize; 2], pooled: bool, device: &Device) -> Self {
        let pool = || MaxPool2dConfig::new([2, 2]).with_strides([2, 2]).init();
        Self {
            conv: Conv2dConfig::new(channels, [3, 3])
                .with_padding(PaddingConfig2d::Valid)
                .init(device),
            norm: BatchNormConfig::new(channels[1]).init(device),
            pool: pooled.then(pool),
            activation: Relu::new(),
        }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let x = self
            .activation
            .forward(self.norm.forward(self.conv.forward(x)));
        match &self.pool {
            Some(pool) => pool.forward(x),
            None => x,
        }
    }
}

/// The network of burn's MNIST example, narrower.
#[derive(Module, Debug)]
struct Mnist {
    first: ConvBlock,
    second: ConvBlock,
    dropout: Dropout,
    hidden: Linear,
    head: Linear,
    activation: Gelu,
}

impl Mnist {
    fn new(device: &Device) -> Self {
        Self {
            first: ConvBlock::new([1, 3], true, device),
            second: ConvBlock::new([3, 4], false, device),
            dropout: DropoutConfig::new(0.25).init(),
            hidden: LinearConfig::new(4, 5).init(device),
            head: LinearConfig::new(5, 3).init(device),
            activation: Gelu::new(),
        }
    }

    fn loss(&self, (x, labels): &Images) -> Tensor<1> {
        let x = numbers_padded(x.clone());
        let x = self.second.forward(self.first.forward(x));
        let x = self
            .dropout
            .forward(x.mean_dim(3).mean_dim(2).flatten(1, 3));
        let x = self.activation.forward(self.hidden.forward(x));
        cross_entropy(self.head.forward(self.dropout.forward(x)), labels)
    }
}

/// Two rows and columns of zeros around an image.
fn numbers_padded(x: Tensor<4>) -> Tensor<4> {
    x.pad((2, 2, 2, 2), burn::tensor::ops::PadMode::Constant(0.0))
}

#[test]
fn the_mnist_example() {
    let _turn = turn();
    holds(
        "mnist",
        Mnist::new,
        |device| images(1, device),
        |model, batch| model.loss(batch),
    );
}

/// MobileNetV2's inverted residual with squeeze and excitation.
#[derive(Module, Debug)]
struct MobileNet {
    stem: Conv2d,
    expand: Conv2d,
    expand_norm: BatchNorm,
    depthwise: Conv2d,
    depthwise_norm: BatchNorm,
    squeeze: Linear,
    excite: Linear,
    project: Conv2d,
    project_norm: BatchNorm,
    pool: AdaptiveAvgPool2d,
    dropout: Dropout,
    head: Linear,
}

impl MobileNet {
    fn new(device: &Device) -> Self {
        let pointwise = |channels| {
            let config = Conv2dConfig::new(channels, [1, 1]);
            config.with_bias(false).init(device)
        };
        let norm = |channels| BatchNormConfig::new(channels).init(device);
        Self {
            stem: pointwise([2, 3]),
            expand: pointwise([3, 6]),
            expand_norm: norm(6),
            depthwise: Conv2dConfig::new([6, 6], [3, 3])
                .with_groups(6)
                .with_padding(PaddingConfig2d::Explicit(1, 1, 1, 1))
                .with_bias(false)
                .init(device),
            depthwise_norm: norm(6),
            squeeze: LinearConfig::new(6, 2).init(device),
            excite: LinearConfig::new(2, 6).init(device),
            project: pointwise([6, 3]),
            project_norm: norm(3),
            pool: AdaptiveAvgPool2dConfig::new([1, 1]).init(),
            dropout: DropoutConfig::new(0.2).init(),
            head: LinearConfig::new(3, 3).init(device),
        }
    }

    fn loss(&self, (x, labels): &Images) -> Tensor<1> {
        let x = self.stem.forward(x.clone());
        let y = activation::relu6(self.expand_norm.forward(self.expand.forward(x.clone())));
        let y = activation::relu6(self.depthwise_norm.forward(self.depthwise.forward(y)));
        let squeezed = activation::relu(self.squeeze.forward(self.pooled(y.clone())));
        let scale = activation::relu6(self.excite.forward(squeezed) + 3.0) * (1.0 / 6.0);
        let y = y * scale.unsqueeze_dims::<4>(&[-1, -1]);
        let x = x + self.project_norm.forward(self.project.forward(y));
        let x = self.dropout.forward(self.pooled(x));
        cross_entropy(self.head.forward(x), labels)
    }

    fn pooled(&self, x: Tensor<4>) -> Tensor<2> {
        self.pool.forward(x).flatten(1, 3)
    }
}

#[test]
fn an_inverted_residual() {
    let _turn = turn();
    holds(
        "mobilenet",
        MobileNet::new,
        |device| images(2, device),
        |model, batch| model.loss(batch),
    );
}

/// Convolutions with standardised weights and group normalisation.
#[derive(Module, Debug)]
struct Standardised {
    conv: Conv2d,
    norm: GroupNorm,
    head: Linear,
}

impl Standardised {
    fn loss(&self, (x, labels): &Images) -> Tensor<1> {
        let weight = self.conv.weight.val();
        let [outputs, inputs, height, width] = weight.dims();
        let rows = weight.reshape([outputs, inputs * height * width]);
        let (variance, mean) = rows.clone().var_mean_bias(1);
        let rows = (rows - mean) / (variance + 1e-5).sqrt();
        let weight = rows.reshape([outputs, inputs, height, width]);
        let options = ConvOptions::new_with_padding([1, 1], [(1, 0), (0, 1)], [1, 1], 1);
        let x = conv2d(x.clone(), weight, None, options);
        let x = activation::mish(self.norm.forward(x));
        cross_entropy(
            self.head.forward(x.mean_dim(3).mean_dim(2).flatten(1, 3)),
            labels,
        )
    }
}

#[test]
fn standardised_weights() {
    let _turn = turn();
    holds(
        "weight standardisation",
        |device| Standardised {
            conv: Conv2dConfig::new([2, 4], [3, 3]).init(device),
            norm: GroupNormConfig::new(2, 4).init(device),
            head: LinearConfig::new(4, 3).init(device),
        },
        |device| images(2, device),
        |model, batch| model.loss(batch),
    );
}
