use burn::config::Config;
use burn::module::Module;
use burn::nn::{Embedding, EmbeddingConfig, LayerNorm, LayerNormConfig, Linear, LinearConfig};
use burn::tensor::activation::gelu;
use burn::tensor::{Device, Int, Tensor};

use super::attention::causal_attention;

/// [`TransformerBlock`] configuration.
#[derive(Config, Debug)]
pub struct TransformerBlockConfig {
    /// Number of tokens.
    pub vocabulary: usize,
    /// Longest sequence.
    pub length: usize,
    /// Width of the model. Default 32.
    #[config(default = 32)]
    pub width: usize,
    /// Attention heads; they divide the width. Default 4.
    #[config(default = 4)]
    pub heads: usize,
}

/// A language model of one block: embeddings of tokens and positions, layer norm, causal
/// self-attention, layer norm, a GELU network of four times the width, and a head.
#[derive(Module, Debug)]
pub struct TransformerBlock {
    tokens: Embedding,
    positions: Embedding,
    norm1: LayerNorm,
    query: Linear,
    key: Linear,
    value: Linear,
    output: Linear,
    norm2: LayerNorm,
    up: Linear,
    down: Linear,
    head: Linear,
    #[module(skip)]
    heads: usize,
}

impl TransformerBlockConfig {
    /// Makes the network.
    pub fn init(&self, device: &Device) -> TransformerBlock {
        let width = self.width;
        let linear = |from, to| LinearConfig::new(from, to).init(device);
        TransformerBlock {
            tokens: EmbeddingConfig::new(self.vocabulary, width).init(device),
            positions: EmbeddingConfig::new(self.length, width).init(device),
            norm1: LayerNormConfig::new(width).init(device),
            query: linear(width, width),
            key: linear(width, width),
            value: linear(width, width),
            output: linear(width, width),
            norm2: LayerNormConfig::new(width).init(device),
            up: linear(width, 4 * width),
            down: linear(4 * width, width),
            head: linear(width, self.vocabulary),
            heads: self.heads,
        }
    }
}

impl TransformerBlock {
    /// Logits of shape `[rows * length, vocabulary]` of the next token at every place of `tokens`,
    /// of shape `[rows, length]`.
    pub fn forward(&self, tokens: Tensor<2, Int>) -> Tensor<2> {
        let [rows, length] = tokens.dims();
        let device = tokens.device();
        let places = Tensor::<1, Int>::arange(0..length as i64, &device).unsqueeze::<2>();
        let x = self.tokens.forward(tokens) + self.positions.forward(places);
        let inner = self.norm1.forward(x.clone());
        let mixed = causal_attention(
            self.query.forward(inner.clone()),
            self.key.forward(inner.clone()),
            self.value.forward(inner),
            self.heads,
        );
        let x = x + self.output.forward(mixed);
        let hidden = gelu(self.up.forward(self.norm2.forward(x.clone())));
        let x = x + self.down.forward(hidden);
        let logits = self.head.forward(x);
        let vocabulary = logits.dims()[2];
        logits.reshape([rows * length, vocabulary])
    }
}
