use burn::module::Module;
use burn::nn::{
    Dropout, DropoutConfig, Embedding, EmbeddingConfig, Initializer, Linear, LinearConfig, RmsNorm,
    RmsNormConfig,
};
use burn::tensor::activation::gelu;
use burn::tensor::{Bool, Device, Int, Tensor};

use super::attention::Attention;
use super::rotary::Rotary;

/// Shape of a [`Transformer`].
#[derive(Debug, Clone, PartialEq)]
pub struct TransformerConfig {
    /// Tokens in the vocabulary.
    pub vocab: usize,
    /// Features of a token.
    pub width: usize,
    /// Blocks.
    pub layers: usize,
    /// Heads of attention; the width of a head must be even.
    pub heads: usize,
    /// Share of activations that are dropped after the embedding and each half of a block.
    pub dropout: f64,
}

/// One block: attention and a two-layer network, each after a norm and added to its input.
#[derive(Module, Debug)]
pub struct Block {
    attention_norm: RmsNorm,
    attention: Attention,
    network_norm: RmsNorm,
    widen: Linear,
    narrow: Linear,
    dropout: Dropout,
}

/// A decoder-only transformer: norms before each half of a block (RMSNorm), rotary positions, GELU,
/// no biases, and one matrix for embedding and output.
#[derive(Module, Debug)]
pub struct Transformer {
    embedding: Embedding,
    blocks: Vec<Block>,
    norm: RmsNorm,
    dropout: Dropout,
    heads: usize,
}

/// Deviation of initial weights, GPT-2's.
const STD: f64 = 0.02;
/// Hidden features of a block's network for each feature.
const WIDENING: usize = 4;
/// Added to the score of a future token: `exp` of it is zero, and half precision holds it.
const FUTURE: f64 = -1e4;

impl Block {
    fn new(config: &TransformerConfig, device: &Device) -> Self {
        let (width, hidden) = (config.width, WIDENING * config.width);
        // What each block adds is made smaller with the number of additions, as in GPT-2.
        let added = STD / (2.0 * config.layers as f64).sqrt();
        let linear = |inputs, outputs, std| {
            LinearConfig::new(inputs, outputs)
                .with_bias(false)
                .with_initializer(Initializer::Normal { mean: 0.0, std })
                .init(device)
        };
        Self {
            attention_norm: RmsNormConfig::new(width).init(device),
            attention: Attention::new(width, config.heads, STD, added, device),
            network_norm: RmsNormConfig::new(width).init(device),
            widen: linear(width, hidden, STD),
            narrow: linear(hidden, width, added),
            dropout: DropoutConfig::new(config.dropout).init(),
        }
    }

    fn forward(&self, x: Tensor<3>, rotary: &Rotary, future: &Tensor<4>) -> Tensor<3> {
        let attended = self.attention_norm.forward(x.clone());
        let attended = self.attention.forward(attended, rotary, future);
        let x = x + self.dropout.forward(attended);
        let hidden = gelu(self.widen.forward(self.network_norm.forward(x.clone())));
        x + self.dropout.forward(self.narrow.forward(hidden))
    }
}

impl Transformer {
    /// A transformer with random weights from the device's generator.
    pub fn new(config: &TransformerConfig, device: &Device) -> Self {
        Self {
            embedding: EmbeddingConfig::new(config.vocab, config.width)
                .with_initializer(Initializer::Normal {
                    mean: 0.0,
                    std: STD,
                })
                .init(device),
            blocks: (0..config.layers)
                .map(|_| Block::new(config, device))
                .collect(),
            norm: RmsNormConfig::new(config.width).init(device),
            dropout: DropoutConfig::new(config.dropout).init(),
            heads: config.heads,
        }
    }

    /// Logits of shape `[batch * length, vocab]`, one row for each token of `[batch, length]`: those
    /// of the token that follows.
    pub fn forward(&self, tokens: Tensor<2, Int>) -> Tensor<2> {
        let x = self.features(tokens);
        let [batch, length, width] = x.dims();
        let x = x.reshape([batch * length, width]);
        x.matmul(self.embedding.weight.val().transpose())
    }

    /// Logits of the token after the last, `[batch, vocab]`.
    pub fn next(&self, tokens: Tensor<2, Int>) -> Tensor<2> {
        let x = self.features(tokens);
        let [batch, length, width] = x.dims();
        let x = x.narrow(1, length - 1, 1).reshape([batch, width]);
        x.matmul(self.embedding.weight.val().transpose())
    }

    fn features(&self, tokens: Tensor<2, Int>) -> Tensor<3> {
        let [_, length] = tokens.dims();
        let device = tokens.device();
        let mut x = self.embedding.forward(tokens);
        let width = x.dims()[2];
        // The embedding's rows are as small as the output needs them.
        x = self.dropout.forward(x.mul_scalar((width as f64).sqrt()));
        let rotary = Rotary::new(0, length, width / self.heads, x.dtype(), &device);
        let future = Tensor::<2, Bool>::tril_mask([length, length], 0, &device);
        let future = Tensor::<2>::zeros([length, length], (&device, x.dtype()))
            .mask_fill(future, FUTURE)
            .reshape([1, 1, length, length]);
        for block in &self.blocks {
            x = block.forward(x, &rotary, &future);
        }
        self.norm.forward(x)
    }
}
