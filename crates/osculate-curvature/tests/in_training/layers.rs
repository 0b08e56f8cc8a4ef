//! Layers that the other networks do not have, one after another.

use burn::module::{Module, Param, RunningState};
use burn::nn::conv::{
    Conv1d, Conv1dConfig, Conv3d, Conv3dConfig, ConvTranspose1d, ConvTranspose1dConfig,
    DeformConv2d, DeformConv2dConfig,
};
use burn::nn::interpolate::{Interpolate2d, Interpolate2dConfig, InterpolateMode};
use burn::nn::pool::{AvgPool1d, AvgPool1dConfig, MaxPool1d, MaxPool1dConfig};
use burn::nn::{
    BatchNorm, BatchNormConfig, Dropout, DropoutConfig, GLU, GaussianNoise, GaussianNoiseConfig,
    InstanceNorm, InstanceNormConfig, Linear, LinearConfig, LocalResponseNorm,
    LocalResponseNormConfig, PRelu, PReluConfig, PixelShuffle, PixelShuffleConfig, RmsNorm,
    RmsNormConfig,
};
use burn::tensor::{DType, Tensor, activation};
use osculate_curvature::{
    Batched, CurvatureOperator, GradientOracle, Hessian, HessianConfig, HvpMode, ParamVec,
    Provenance,
};

use crate::checks::{distance, exact};
use crate::models::fill;
use crate::turns::{double, holds, numbers, turn};

/// Sequences of channels: as in a network for sound or for a time series.
#[derive(Module, Debug)]
struct Sequences {
    conv: Conv1d,
    norm: BatchNorm,
    pool: MaxPool1d,
    average: AvgPool1d,
    up: ConvTranspose1d,
    instance: InstanceNorm,
    noise: GaussianNoise,
    slope: PRelu,
}

#[test]
fn sequences() {
    let _turn = turn();
    holds(
        "sequences",
        |device| Sequences {
            conv: Conv1dConfig::new(2, 4, 3).with_dilation(2).init(device),
            norm: BatchNormConfig::new(4).init(device),
            pool: MaxPool1dConfig::new(2).with_stride(1).init(),
            average: AvgPool1dConfig::new(2).init(),
            up: ConvTranspose1dConfig::new([4, 2], 2).init(device),
            instance: InstanceNormConfig::new(2).init(device),
            noise: GaussianNoiseConfig::new(0.1).init(),
            slope: PReluConfig::new().with_num_parameters(4).init(device),
        },
        |device| numbers([3, 2, 9], 3, device),
        |model: &Sequences, x| {
            let x = model.noise.forward(x.clone());
            let x = model
                .slope
                .forward(model.norm.forward(model.conv.forward(x)));
            let x = model.average.forward(model.pool.forward(x));
            let x = model.instance.forward(model.up.forward(x));
            activation::elu(x, 0.8).powi_scalar(3).mean()
                + activation::selu(model.up.weight.val()).mean()
        },
    );
}

/// Images that are shuffled, resized and normalised by their neighbours, and volumes.
#[derive(Module, Debug)]
struct Images {
    conv: Conv3d,
    shuffle: PixelShuffle,
    resize: Interpolate2d,
    response: LocalResponseNorm,
    gate: GLU,
    head: Linear,
}

#[test]
fn images_and_volumes() {
    let _turn = turn();
    holds(
        "images",
        |device| Images {
            conv: Conv3dConfig::new([1, 2], [2, 2, 2]).init(device),
            shuffle: PixelShuffleConfig::new(2).init(),
            resize: Interpolate2dConfig::new()
                .with_output_size(Some([5, 5]))
                .with_mode(InterpolateMode::Nearest)
                .init(),
            response: LocalResponseNormConfig::new(3).init(),
            gate: GLU::new(1),
            head: LinearConfig::new(25, 2).init(device),
        },
        |device| numbers([2, 1, 3, 4, 4], 3, device),
        |model: &Images, x| {
            // [2, 2, 2, 3, 3], whose channels and depths become four channels.
            let x = model.conv.forward(x.clone()).reshape([2, 4, 3, 3]);
            let x = activation::leaky_relu(model.response.forward(x), 0.1);
            let x = model.resize.forward(model.shuffle.forward(x));
            let x = activation::softsign(x.reshape([2, 25]));
            let x = model.gate.forward(model.head.forward(x));
            (activation::celu(x, 2.0) + 0.4).square().mean()
        },
    );
}

/// A network with a batch normalisation that is applied twice, and dropout.
#[derive(Module, Debug)]
struct Twice {
    layer: Linear,
    norm: BatchNorm,
    dropout: Dropout,
}

#[test]
fn one_normalisation_applied_twice_beside_dropout() {
    let _turn = turn();
    holds(
        "twice",
        |device| Twice {
            layer: LinearConfig::new(3, 3).init(device),
            norm: BatchNormConfig::new(3).init(device),
            dropout: DropoutConfig::new(0.3).init(),
        },
        |device| numbers([5, 3], 3, device),
        |model: &Twice, x| {
            let step = |x: Tensor<2>| {
                let x = activation::tanh(model.norm.forward(model.layer.forward(x)));
                model.dropout.forward(x)
            };
            step(step(x.clone())).square().mean()
        },
    );
}

/// Layers of one's own that are called as burn's are.
mod own {
    use burn::module::{Flag, Module, Param, RunningState};
    use burn::nn::{Dropout, Linear};
    use burn::tensor::Tensor;

    /// Takes the mean of the batch away in training, and the running mean elsewhere.
    #[derive(Module, Debug)]
    pub struct BatchNorm {
        pub training: Param<Flag>,
        pub running_mean: RunningState<Tensor<1>>,
    }

    impl BatchNorm {
        pub fn forward(&self, x: Tensor<2>) -> Tensor<2> {
            if !(self.training.is_enabled() && x.device().is_autodiff()) {
                return x - self.running_mean.value().unsqueeze();
            }
            let mean = x.clone().mean_dim(0);
            self.running_mean
                .update(mean.clone().detach().squeeze_dim(0));
            x - mean
        }
    }

    #[derive(Module, Debug)]
    pub struct Net {
        pub layer: Linear,
        pub norm: BatchNorm,
        pub dropout: Dropout,
    }
}

#[test]
fn a_layer_with_the_name_of_a_normalisation() {
    let _turn = turn();
    for dropout in [0.0, 0.3] {
        holds(
            "own norm",
            |device| own::Net {
                layer: LinearConfig::new(3, 3).init(device),
                norm: own::BatchNorm {
                    training: Param::from_bool(true),
                    running_mean: RunningState::new(numbers([3], 1, device)),
                },
                dropout: DropoutConfig::new(dropout).init(),
            },
            |device| numbers([5, 3], 3, device),
            |model: &own::Net, x| {
                let x = activation::tanh(model.layer.forward(x.clone()));
                model.dropout.forward(model.norm.forward(x)).square().mean()
            },
        );
    }
}

#[derive(Module, Debug)]
struct Rooted {
    layer: Linear,
    norm: RmsNorm,
}

#[test]
fn a_norm_that_computes_in_single_precision() {
    let _turn = turn();
    // burn takes the root mean square in `f32` whatever the type: products are exact derivatives of
    // that function, and differences of it are as good as `f32` allows.
    let device = double();
    let model = fill(
        Rooted {
            layer: LinearConfig::new(3, 4).init(&device),
            norm: RmsNormConfig::new(4).init(&device),
        },
        DType::F64,
    );
    let x = numbers([5, 3], 3, &device);
    let objective = Batched::new(x, |model: &Rooted, x: &Tensor<2>| {
        let x = model.norm.forward(model.layer.forward(x.clone()));
        activation::softplus(x, 1.0).square().mean()
    });
    let oracle = GradientOracle::new(&model, &objective);
    let hessian = exact(&oracle);
    let (u, v) = (
        ParamVec::gaussian(&hessian.layout(), 1),
        ParamVec::gaussian(&hessian.layout(), 2),
    );
    let product = hessian.apply(&v).unwrap();
    assert_eq!(product.provenance, Provenance::Exact);
    let other = hessian.apply(&u).unwrap().value;
    let (uhv, vhu) = (u.dot(&product.value), v.dot(&other));
    assert!((uhv - vhu).abs() < 1e-5 * (1.0 + uhv.abs()));
    let config = HessianConfig {
        mode: HvpMode::FiniteDifference,
        ..HessianConfig::default()
    };
    let differences = Hessian::with_config(&oracle, config).unwrap();
    let expected = differences.apply(&v).unwrap();
    let off = distance(&product.value.to_values(), &expected.value.to_values());
    assert!(off < 1e-3, "{off:e}");
}

#[derive(Module, Debug)]
struct Deformed {
    conv: DeformConv2d,
}

#[test]
fn a_layer_without_a_rule_is_named() {
    let _turn = turn();
    let device = double();
    let model: Deformed = fill(
        Deformed {
            conv: DeformConv2dConfig::new([1, 2], [2, 2]).init(&device),
        },
        DType::F64,
    );
    let batch = (
        numbers([1, 1, 4, 4], 3, &device),
        numbers([1, 8, 3, 3], 4, &device),
    );
    let objective = Batched::new(
        batch,
        |model: &Deformed, (x, offset): &(Tensor<4>, Tensor<4>)| {
            let x = model.conv.forward(x.clone(), offset.clone(), None);
            activation::softplus(x, 1.0).square().mean()
        },
    );
    let oracle = GradientOracle::new(&model, &objective);
    let hessian = Hessian::new(&oracle).unwrap();
    let v = ParamVec::gaussian(&hessian.layout(), 1);
    let product = hessian.apply(&v).unwrap();
    assert!(matches!(
        product.provenance,
        Provenance::FiniteDifference { .. }
    ));
    let reason = hessian.fallback().unwrap();
    assert!(reason.contains("DeformableConv2d"), "{reason}");
}
