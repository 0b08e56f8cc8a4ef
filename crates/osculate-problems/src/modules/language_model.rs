use burn::config::Config;
use burn::module::Module;
use burn::nn::{Embedding, EmbeddingConfig, LayerNorm, LayerNormConfig, Linear, LinearConfig};
use burn::tensor::activation::gelu;
use burn::tensor::{Device, Int, Tensor};

use super::attention::causal_attention;

/// [`LanguageModel`] configuration.
#[derive(Config, Debug)]
pub struct LanguageModelConfig {
    /// Number of tokens.
    pub vocabulary: usize,
    /// Longest sequence.
    pub length: usize,
    /// Width of the model. Default 64.
    #[config(default = 64)]
    pub width: usize,
    /// Attention heads; they divide the width. Default 4.
    #[config(default = 4)]
    pub heads: usize,
    /// Blocks. Default 2.
    #[config(default = 2)]
    pub layers: usize,
}

/// A causal transformer: embeddings of tokens and places, blocks that normalise before attention and
/// before a GELU network of four times the width, a last norm and a head.
#[derive(Module, Debug)]
pub struct LanguageModel {
    embedding: Embedding,
    position_embedding: Embedding,
    blocks: Vec<Block>,
    norm: LayerNorm,
    head: Linear,
}

#[derive(Module, Debug)]
struct Block {
    norm1: LayerNorm,
    query: Linear,
    key: Linear,
    value: Linear,
    output: Linear,
    norm2: LayerNorm,
    up: Linear,
    down: Linear,
    #[module(skip)]
    heads: usize,
}

impl LanguageModelConfig {
    /// Makes the network.
    pub fn init(&self, device: &Device) -> LanguageModel {
        let width = self.width;
        let linear = |from, to| LinearConfig::new(from, to).init(device);
        let norm = || LayerNormConfig::new(width).init(device);
        LanguageModel {
            embedding: EmbeddingConfig::new(self.vocabulary, width).init(device),
            position_embedding: EmbeddingConfig::new(self.length, width).init(device),
            blocks: (0..self.layers)
                .map(|_| Block {
                    norm1: norm(),
                    query: linear(width, width),
                    key: linear(width, width),
                    value: linear(width, width),
                    output: linear(width, width),
                    norm2: norm(),
                    up: linear(width, 4 * width),
                    down: linear(4 * width, width),
                    heads: self.heads,
                })
                .collect(),
            norm: norm(),
            head: linear(width, self.vocabulary),
        }
    }
}

impl LanguageModel {
    /// Logits of shape `[rows * length, vocabulary]` of the next token at every place of `tokens`,
    /// of shape `[rows, length]`.
    pub fn forward(&self, tokens: Tensor<2, Int>) -> Tensor<2> {
        let [rows, length] = tokens.dims();
        let places = Tensor::<1, Int>::arange(0..length as i64, &tokens.device());
        let places = self.position_embedding.forward(places.unsqueeze::<2>());
        let x = self.embedding.forward(tokens) + places;
        let x = self.blocks.iter().fold(x, |x, block| block.forward(x));
        let logits = self.head.forward(self.norm.forward(x));
        let vocabulary = logits.dims()[2];
        logits.reshape([rows * length, vocabulary])
    }
}

impl Block {
    fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let inner = self.norm1.forward(x.clone());
        let mixed = causal_attention(
            self.query.forward(inner.clone()),
            self.key.forward(inner.clone()),
            self.value.forward(inner),
            self.heads,
        );
        let x = x + self.output.forward(mixed);
        let hidden = gelu(self.up.forward(self.norm2.forward(x.clone())));
        x + self.down.forward(hidden)
    }
}
