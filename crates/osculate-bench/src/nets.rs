//! The networks that are trained.

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use clap::ValueEnum;
use osculate_problems::digits::{CLASSES, PIXELS, SIDE};
use osculate_problems::modules::{ConvNet, ConvNetConfig, Mlp, MlpConfig, seeded};

/// A network by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Net {
    /// A perceptron with one hidden layer of 64, GELU.
    Mlp,
    /// Two convolutions of 8 and 16 channels with batch normalisation, GELU.
    Conv,
}

impl Net {
    /// Name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Net::Mlp => "mlp",
            Net::Conv => "conv",
        }
    }

    /// Name in headings.
    pub fn title(self) -> &'static str {
        match self {
            Net::Mlp => "MLP 64-64-10",
            Net::Conv => "Conv net 8-16 with batch norm",
        }
    }
}

/// A network that classifies flattened digits.
pub trait Classifier: Module {
    /// Logits of images of shape `[rows, 64]`.
    fn logits(&self, images: Tensor<2>) -> Tensor<2>;
}

impl Classifier for Mlp {
    fn logits(&self, images: Tensor<2>) -> Tensor<2> {
        self.forward(images)
    }
}

impl Classifier for ConvNet {
    fn logits(&self, images: Tensor<2>) -> Tensor<2> {
        let rows = images.dims()[0];
        self.forward(images.reshape([rows, 1, SIDE, SIDE]))
    }
}

/// The perceptron with the weights of a seed.
pub fn mlp(seed: u64, device: &Device) -> Mlp {
    seeded(MlpConfig::new(vec![PIXELS, 64, CLASSES]).init(device), seed)
}

/// The convolutional network with the weights of a seed.
pub fn conv(seed: u64, device: &Device) -> ConvNet {
    seeded(ConvNetConfig::new().init(device), seed)
}
