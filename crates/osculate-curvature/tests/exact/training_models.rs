//! Small networks of the kinds that people train, with layers that behave differently in training.

use burn::module::Module;
use burn::nn::attention::{MhaInput, MultiHeadAttention, MultiHeadAttentionConfig};
use burn::nn::conv::{Conv2d, Conv2dConfig, ConvTranspose2d, ConvTranspose2dConfig};
use burn::nn::pool::{MaxPool2d, MaxPool2dConfig};
use burn::nn::{
    BatchNorm, BatchNormConfig, Dropout, DropoutConfig, LayerNorm, LayerNormConfig, Linear,
    LinearConfig, PaddingConfig2d,
};
use burn::tensor::{Bool, DType, Device, Int, Tensor, activation};
use osculate_curvature::{
    Batched, Criterion, CurvatureOperator, GaussNewton, GradientOracle, HvpMode, Objective,
    ParamVec, SupervisedBatch,
};

use crate::checks::{assert_exact, distance, tensor};

fn conv(channels: [usize; 2], device: &Device) -> Conv2d {
    let config = Conv2dConfig::new(channels, [3, 3]);
    config
        .with_padding(PaddingConfig2d::Explicit(1, 1, 1, 1))
        .with_bias(false)
        .init(device)
}

fn pooled(x: Tensor<4>) -> Tensor<2> {
    let [rows, channels, _, _] = x.dims();
    x.mean_dim(3).mean_dim(2).reshape([rows, channels])
}

/// Convolutions with batch normalisation around a shortcut.
#[derive(Module, Debug)]
pub struct Residual {
    stem: Conv2d,
    norm: BatchNorm,
    first: Conv2d,
    first_norm: BatchNorm,
    second: Conv2d,
    second_norm: BatchNorm,
    head: Linear,
}

impl Residual {
    pub fn new(device: &Device) -> Self {
        Self::wide(4, device)
    }

    pub fn wide(channels: usize, device: &Device) -> Self {
        let norm = || BatchNormConfig::new(channels).init(device);
        Self {
            stem: conv([2, channels], device),
            norm: norm(),
            first: conv([channels, channels], device),
            first_norm: norm(),
            second: conv([channels, channels], device),
            second_norm: norm(),
            head: LinearConfig::new(channels, 3).init(device),
        }
    }

    pub fn forward(&self, x: Tensor<4>) -> Tensor<2> {
        let x = activation::relu(self.norm.forward(self.stem.forward(x)));
        let y = activation::relu(self.first_norm.forward(self.first.forward(x.clone())));
        let y = self.second_norm.forward(self.second.forward(y));
        self.head.forward(pooled(activation::relu(x + y)))
    }

    /// The running mean and variance of the first normalisation.
    pub fn statistics(&self) -> Vec<f64> {
        let tensors = [&self.norm.running_mean, &self.norm.running_var];
        let values = tensors.map(|state| state.value_sync().into_data());
        values.iter().flat_map(|data| data.iter::<f64>()).collect()
    }

    /// The same network with its first normalisation frozen.
    pub fn with_frozen_norm(mut self) -> Self {
        self.norm = self.norm.freeze();
        self
    }
}

/// A depthwise and a pointwise convolution with batch normalisation and ReLU6.
#[derive(Module, Debug)]
pub struct Depthwise {
    depthwise: Conv2d,
    first: BatchNorm,
    pointwise: Conv2d,
    second: BatchNorm,
    head: Linear,
}

impl Depthwise {
    pub fn new(device: &Device) -> Self {
        let config = Conv2dConfig::new([2, 4], [3, 3]).with_groups(2);
        Self {
            depthwise: config.with_bias(false).init(device),
            first: BatchNormConfig::new(4).init(device),
            pointwise: Conv2dConfig::new([4, 3], [1, 1]).init(device),
            second: BatchNormConfig::new(3).init(device),
            head: LinearConfig::new(3, 3).init(device),
        }
    }

    pub fn forward(&self, x: Tensor<4>) -> Tensor<2> {
        let relu6 = |x: Tensor<4>| activation::relu(x).clamp_max(6.0);
        let x = relu6(self.first.forward(self.depthwise.forward(x)));
        let x = relu6(self.second.forward(self.pointwise.forward(x)));
        self.head.forward(pooled(x))
    }
}

/// Convolutions, max pooling and dropout before the classifier.
#[derive(Module, Debug)]
pub struct Vgg {
    first: Conv2d,
    first_norm: BatchNorm,
    second: Conv2d,
    pool: MaxPool2d,
    dropout: Dropout,
    head: Linear,
}

impl Vgg {
    pub fn new(dropout: f64, device: &Device) -> Self {
        Self {
            first: conv([2, 3], device),
            first_norm: BatchNormConfig::new(3).init(device),
            second: conv([3, 4], device),
            pool: MaxPool2dConfig::new([2, 2]).with_strides([2, 2]).init(),
            dropout: DropoutConfig::new(dropout).init(),
            head: LinearConfig::new(4, 3).init(device),
        }
    }

    pub fn forward(&self, x: Tensor<4>) -> Tensor<2> {
        let x = activation::relu(self.first_norm.forward(self.first.forward(x)));
        let x = self
            .pool
            .forward(activation::relu(self.second.forward(self.pool.forward(x))));
        self.head.forward(self.dropout.forward(x.flatten(1, 3)))
    }
}

/// One level down, one up by a transposed convolution, and a shortcut.
#[derive(Module, Debug)]
pub struct Unet {
    down: Conv2d,
    norm: BatchNorm,
    pool: MaxPool2d,
    deep: Conv2d,
    deep_norm: BatchNorm,
    up: ConvTranspose2d,
    out: Conv2d,
    dropout: Dropout,
}

impl Unet {
    pub fn new(dropout: f64, device: &Device) -> Self {
        Self {
            down: conv([2, 3], device),
            norm: BatchNormConfig::new(3).init(device),
            pool: MaxPool2dConfig::new([2, 2]).with_strides([2, 2]).init(),
            deep: conv([3, 4], device),
            deep_norm: BatchNormConfig::new(4).init(device),
            up: ConvTranspose2dConfig::new([4, 3], [2, 2])
                .with_stride([2, 2])
                .init(device),
            out: Conv2dConfig::new([6, 1], [1, 1]).init(device),
            dropout: DropoutConfig::new(dropout).init(),
        }
    }

    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let wide = activation::relu(self.norm.forward(self.down.forward(x)));
        let deep = self.deep.forward(self.pool.forward(wide.clone()));
        let deep = self
            .dropout
            .forward(activation::relu(self.deep_norm.forward(deep)));
        self.out
            .forward(Tensor::cat(vec![wide, self.up.forward(deep)], 1))
    }
}

/// What a generator is trained against.
#[derive(Module, Debug)]
pub struct Critic {
    first: Linear,
    norm: BatchNorm,
    head: Linear,
}

impl Critic {
    pub fn new(device: &Device) -> Self {
        Self {
            first: LinearConfig::new(3, 4).init(device),
            norm: BatchNormConfig::new(4).init(device),
            head: LinearConfig::new(4, 1).init(device),
        }
    }

    pub fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        let x = activation::leaky_relu(self.norm.forward(self.first.forward(x)), 0.2);
        self.head.forward(x)
    }
}

/// A generator with batch normalisation.
#[derive(Module, Debug)]
pub struct Generator {
    first: Linear,
    norm: BatchNorm,
    head: Linear,
}

impl Generator {
    pub fn new(device: &Device) -> Self {
        Self {
            first: LinearConfig::new(2, 5).init(device),
            norm: BatchNormConfig::new(5).init(device),
            head: LinearConfig::new(5, 3).init(device),
        }
    }

    pub fn forward(&self, latent: Tensor<2>) -> Tensor<2> {
        let x = activation::relu(self.norm.forward(self.first.forward(latent)));
        activation::tanh(self.head.forward(x))
    }
}

/// Both in one module.
#[derive(Module, Debug)]
pub struct Gan {
    pub generator: Generator,
    pub critic: Critic,
}

/// A transformer block with dropout, which may be applied several times.
#[derive(Module, Debug)]
pub struct Block {
    attention: MultiHeadAttention,
    norm: LayerNorm,
    up: Linear,
    down: Linear,
    dropout: Dropout,
}

impl Block {
    pub fn new(dropout: f64, device: &Device) -> Self {
        Self {
            attention: MultiHeadAttentionConfig::new(4, 2)
                .with_dropout(dropout)
                .init(device),
            norm: LayerNormConfig::new(4).init(device),
            up: LinearConfig::new(4, 6).init(device),
            down: LinearConfig::new(6, 4).init(device),
            dropout: DropoutConfig::new(dropout).init(),
        }
    }

    pub fn forward(&self, x: Tensor<3>, padding: &Tensor<2, Bool>, times: usize) -> Tensor<3> {
        (0..times).fold(x, |x, _| {
            let input = MhaInput::self_attn(self.norm.forward(x.clone()));
            let attended = self.attention.forward(input.mask_pad(padding.clone()));
            let x = x + self.dropout.forward(attended.context);
            let hidden = activation::gelu(self.up.forward(x.clone()));
            x + self.down.forward(self.dropout.forward(hidden))
        })
    }
}

/// Labels of five images.
pub fn labels(device: &Device) -> Tensor<1, Int> {
    Tensor::from_data([0, 2, 1, 1, 0], device)
}

/// Exact products of a classifier of five images.
pub fn classifier<M: Module>(
    what: &str,
    model: &M,
    forward: impl Fn(&M, Tensor<4>) -> Tensor<2>,
    device: &Device,
) {
    let objective = SupervisedBatch::new(
        tensor([5, 2, 6, 6], 3, device, DType::F64),
        move |model: &M, x: &Tensor<4>| forward(model, x.clone()),
        Criterion::cross_entropy(labels(device)),
    );
    assert_exact(what, model, &objective);
    // The same batch statistics and masks make the Jacobian.
    let oracle = GradientOracle::new(model, &objective).with_seed(5);
    let gauss_newton = GaussNewton::with_mode(&oracle, HvpMode::Exact).unwrap();
    let differences = GaussNewton::with_mode(&oracle, HvpMode::FiniteDifference).unwrap();
    let v = ParamVec::gaussian(&gauss_newton.layout(), 3);
    let got = gauss_newton.apply(&v).unwrap().value.to_values();
    let expected = differences.apply(&v).unwrap().value.to_values();
    let error = distance(&got, &expected);
    assert!(error < 1e-5, "{what}: Gauss-Newton {error:e}");
}

/// The loss of a segmentation of three images.
pub fn segmentation(device: &Device) -> impl Objective<Unet> + use<> {
    let batch = (
        tensor([3, 2, 4, 4], 3, device, DType::F64),
        tensor([3, 1, 4, 4], 4, device, DType::F64),
    );
    Batched::new(batch, |model: &Unet, (x, y): &(Tensor<4>, Tensor<4>)| {
        (model.forward(x.clone()) - y.clone()).square().mean()
    })
}
