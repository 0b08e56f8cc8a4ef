//! Networks that make images, against a critic and by themselves.

use burn::module::Module;
use burn::nn::conv::{Conv2d, Conv2dConfig, ConvTranspose2d, ConvTranspose2dConfig};
use burn::nn::loss::BinaryCrossEntropyLossConfig;
use burn::nn::{BatchNorm, BatchNormConfig, Dropout, DropoutConfig, Linear, LinearConfig};
use burn::tensor::{Device, Distribution, Int, Tensor, activation};
use osculate_curvature::{Held, detach};

use crate::models::fill;
use crate::turns::{dtype, holds, numbers, turn};

/// DCGAN's generator of images of 4 x 4.
#[derive(Module, Debug)]
struct Generator {
    first: ConvTranspose2d,
    norm: BatchNorm,
    second: ConvTranspose2d,
}

impl Generator {
    fn new(device: &Device) -> Self {
        let up = |channels| ConvTranspose2dConfig::new(channels, [2, 2]).with_stride([2, 2]);
        Self {
            first: up([3, 4]).with_bias(false).init(device),
            norm: BatchNormConfig::new(4).init(device),
            second: up([4, 1]).init(device),
        }
    }

    fn forward(&self, latent: Tensor<2>) -> Tensor<4> {
        let x = self.first.forward(latent.unsqueeze_dims::<4>(&[-1, -1]));
        activation::tanh(self.second.forward(activation::relu(self.norm.forward(x))))
    }
}

/// Its critic, with one logit an image.
#[derive(Module, Debug)]
struct Critic {
    first: Conv2d,
    second: Conv2d,
    norm: BatchNorm,
    dropout: Dropout,
    head: Linear,
}

impl Critic {
    fn new(device: &Device) -> Self {
        let down = |channels| Conv2dConfig::new(channels, [2, 2]).with_stride([2, 2]);
        Self {
            first: down([1, 2]).init(device),
            second: down([2, 3]).with_bias(false).init(device),
            norm: BatchNormConfig::new(3).init(device),
            dropout: DropoutConfig::new(0.25).init(),
            head: LinearConfig::new(3, 1).init(device),
        }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<1> {
        let x = activation::leaky_relu(self.first.forward(x), 0.2);
        let x = activation::leaky_relu(self.norm.forward(self.second.forward(x)), 0.2);
        self.head
            .forward(self.dropout.forward(x.flatten::<2>(1, 3)))
            .squeeze_dim(1)
    }
}

fn real(is_real: bool, logits: Tensor<1>) -> Tensor<1> {
    let config = BinaryCrossEntropyLossConfig::new().with_logits(true);
    let n = logits.dims()[0];
    let targets = Tensor::<1, Int>::full([n], i64::from(is_real), &logits.device());
    config.init(&logits.device()).forward(logits, targets)
}

#[test]
fn a_generator_against_its_critic() {
    let _turn = turn();
    holds(
        "generator",
        Generator::new,
        |device| {
            let critic = fill(Critic::new(device), dtype(device));
            (numbers([5, 3], 2, device), Held::new(&critic))
        },
        |generator: &Generator, (latent, critic): &(Tensor<2>, Held<Critic>)| {
            real(true, critic.forward(generator.forward(latent.clone())))
        },
    );
}

#[test]
fn a_critic_of_what_a_generator_makes() {
    let _turn = turn();
    // One pass over real and made images: batch normalisation sees both, and the generator gets no
    // gradient.
    holds(
        "critic",
        Critic::new,
        |device| {
            let generator = fill(Generator::new(device), dtype(device));
            (
                numbers([4, 3], 2, device),
                numbers([4, 1, 4, 4], 3, device),
                Held::new(&generator),
            )
        },
        |critic: &Critic, (latent, images, generator)| {
            let made = detach(generator.forward(latent.clone()));
            let logits = critic.forward(Tensor::cat(vec![images.clone(), made], 0));
            let [real_part, made_part] = logits.chunk(2, 0).try_into().unwrap();
            real(true, real_part) + real(false, made_part)
        },
    );
}

/// A variational autoencoder, whose noise is drawn within its loss.
#[derive(Module, Debug)]
struct Variational {
    encoder: Linear,
    mean: Linear,
    log_variance: Linear,
    decoder: Linear,
    norm: BatchNorm,
    out: Linear,
}

impl Variational {
    fn new(device: &Device) -> Self {
        let linear = |from, to| LinearConfig::new(from, to).init(device);
        Self {
            encoder: linear(5, 4),
            mean: linear(4, 2),
            log_variance: linear(4, 2),
            decoder: linear(2, 4),
            norm: BatchNormConfig::new(4).init(device),
            out: linear(4, 5),
        }
    }

    fn loss(&self, x: &Tensor<2>) -> Tensor<1> {
        let hidden = activation::softplus(self.encoder.forward(x.clone()), 1.0);
        let mean = self.mean.forward(hidden.clone());
        let log_variance = self.log_variance.forward(hidden);
        let noise = mean.random_like(Distribution::Normal(0.0, 1.0));
        let latent = mean.clone() + log_variance.clone().mul_scalar(0.5).exp() * noise;
        let made = activation::silu(self.norm.forward(self.decoder.forward(latent)));
        let error = (self.out.forward(made) - x.clone()).square().sum();
        let divergence = (log_variance.clone() + 1.0 - mean.square() - log_variance.exp()).sum();
        (error - divergence.mul_scalar(0.5)) / x.dims()[0] as f64
    }
}

#[test]
fn a_variational_autoencoder() {
    let _turn = turn();
    holds(
        "variational autoencoder",
        Variational::new,
        |device| numbers([4, 5], 3, device),
        |model, x| model.loss(x),
    );
}
