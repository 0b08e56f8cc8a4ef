use burn::config::Config;
use burn::module::Module;
use burn::nn::{Dropout, DropoutConfig, Linear, LinearConfig};
use burn::tensor::activation::{gelu, relu, tanh};
use burn::tensor::{Device, Tensor};

/// An elementwise function between layers.
#[derive(Config, Debug, Copy, PartialEq, Eq)]
pub enum Activation {
    /// Hyperbolic tangent: smooth.
    Tanh,
    /// Gaussian error linear unit: smooth.
    Gelu,
    /// Rectified linear unit: has a kink, where finite differences of gradients go wrong.
    Relu,
}

impl Activation {
    /// Applies the function.
    pub fn forward<const D: usize>(self, x: Tensor<D>) -> Tensor<D> {
        match self {
            Activation::Tanh => tanh(x),
            Activation::Gelu => gelu(x),
            Activation::Relu => relu(x),
        }
    }
}

/// [`Mlp`] configuration.
#[derive(Config, Debug)]
pub struct MlpConfig {
    /// Width of the inputs, of every hidden layer, and of the outputs.
    pub widths: Vec<usize>,
    /// Function after every layer but the last. Default GELU.
    #[config(default = "Activation::Gelu")]
    pub activation: Activation,
    /// Probability of dropping an activation of a hidden layer. Default 0.
    #[config(default = 0.0)]
    pub dropout: f64,
}

/// A multilayer perceptron.
#[derive(Module, Debug)]
pub struct Mlp {
    layers: Vec<Linear>,
    dropout: Dropout,
    #[module(skip)]
    activation: Activation,
}

impl MlpConfig {
    /// Makes the network.
    pub fn init(&self, device: &Device) -> Mlp {
        Mlp {
            layers: self
                .widths
                .windows(2)
                .map(|width| LinearConfig::new(width[0], width[1]).init(device))
                .collect(),
            dropout: DropoutConfig::new(self.dropout).init(),
            activation: self.activation,
        }
    }
}

impl Mlp {
    /// Logits of inputs of shape `[rows, features]`.
    pub fn forward(&self, mut x: Tensor<2>) -> Tensor<2> {
        for (index, layer) in self.layers.iter().enumerate() {
            if index > 0 {
                x = self.dropout.forward(self.activation.forward(x));
            }
            x = layer.forward(x);
        }
        x
    }
}
