//! Models with a batch, of sizes at which the arithmetic outweighs the calls.

use burn::tensor::{Device, Distribution, Int, Tensor, TensorData};
use osculate_curvature::{Criterion, Supervised};
use osculate_problems::modules::{
    ConvNet, ConvNetConfig, Mlp, MlpConfig, TransformerBlock, TransformerBlockConfig, seeded,
};

/// Rows of a batch of images.
const ROWS: usize = 128;
/// Tokens, sequences and their length.
const VOCABULARY: usize = 64;
const SEQUENCES: usize = 16;
const LENGTH: usize = 64;

/// The CPU device, with autodiff.
pub fn device() -> Device {
    Device::flex().autodiff()
}

fn classes(n: usize, classes: usize, device: &Device) -> Tensor<1, Int> {
    let values: Vec<i64> = (0..n).map(|i| (i * 7 % classes) as i64).collect();
    Tensor::from_data(TensorData::new(values, [n]), device)
}

/// A perceptron of widths 64, 256, 256 and 10 on 128 rows.
pub fn mlp(device: &Device) -> (Mlp, Supervised<impl Fn(&Mlp) -> Tensor<2>>) {
    let model = seeded(MlpConfig::new(vec![64, 256, 256, 10]).init(device), 1);
    device.seed(1);
    let inputs = Tensor::<2>::random([ROWS, 64], Distribution::Default, device);
    let objective = Supervised::new(
        move |model: &Mlp| model.forward(inputs.clone()),
        Criterion::cross_entropy(classes(ROWS, 10, device)),
    );
    (model, objective)
}

/// Two convolutions of 16 and 32 channels with batch normalisation on 128 images of 8 x 8.
pub fn conv_net(device: &Device) -> (ConvNet, Supervised<impl Fn(&ConvNet) -> Tensor<2>>) {
    let model = seeded(ConvNetConfig::new().with_channels(16).init(device), 2);
    device.seed(2);
    let images = Tensor::<4>::random([ROWS, 1, 8, 8], Distribution::Default, device);
    let objective = Supervised::new(
        move |model: &ConvNet| model.forward(images.clone()),
        Criterion::cross_entropy(classes(ROWS, 10, device)),
    );
    (model, objective)
}

/// A transformer block of width 64 with four heads on 16 sequences of 64 tokens.
pub fn transformer(
    device: &Device,
) -> (
    TransformerBlock,
    Supervised<impl Fn(&TransformerBlock) -> Tensor<2>>,
) {
    let config = TransformerBlockConfig::new(VOCABULARY, LENGTH).with_width(64);
    let model = seeded(config.init(device), 3);
    let tokens = classes(SEQUENCES * LENGTH, VOCABULARY, device).reshape([SEQUENCES, LENGTH]);
    let objective = Supervised::new(
        move |model: &TransformerBlock| model.forward(tokens.clone()),
        Criterion::cross_entropy(classes(SEQUENCES * LENGTH, VOCABULARY - 1, device)),
    );
    (model, objective)
}
