use burn::config::Config;
use burn::module::Module;
use burn::nn::{Linear, LinearConfig};
use burn::tensor::activation::tanh;
use burn::tensor::{Device, Tensor};

/// [`Recurrent`] configuration.
#[derive(Config, Debug)]
pub struct RecurrentConfig {
    /// Channels of a place in a sequence.
    pub channels: usize,
    /// Number of classes.
    pub classes: usize,
    /// Width of the hidden state. Default 32.
    #[config(default = 32)]
    pub width: usize,
}

/// A recurrent network without gates, `h' = tanh(W x + U h + b)`, whose last state is classified.
#[derive(Module, Debug)]
pub struct Recurrent {
    input: Linear,
    hidden: Linear,
    head: Linear,
}

impl RecurrentConfig {
    /// Makes the network.
    pub fn init(&self, device: &Device) -> Recurrent {
        Recurrent {
            input: LinearConfig::new(self.channels, self.width)
                .with_bias(false)
                .init(device),
            hidden: LinearConfig::new(self.width, self.width).init(device),
            head: LinearConfig::new(self.width, self.classes).init(device),
        }
    }
}

impl Recurrent {
    /// Logits `[rows, classes]` of sequences of shape `[rows, length, channels]`.
    pub fn forward(&self, sequences: Tensor<3>) -> Tensor<2> {
        let [rows, length, _] = sequences.dims();
        let inputs = self.input.forward(sequences);
        let width = inputs.dims()[2];
        let at = |place: usize| {
            let slice = inputs.clone().narrow(1, place, 1);
            slice.reshape([rows, width])
        };
        let state = (1..length).fold(tanh(at(0)), |state, place| {
            tanh(at(place) + self.hidden.forward(state))
        });
        self.head.forward(state)
    }
}
