use burn::config::Config;
use burn::module::Module;
use burn::nn::attention::generate_autoregressive_mask;
use burn::nn::transformer::{
    TransformerEncoder, TransformerEncoderConfig, TransformerEncoderInput,
};
use burn::nn::{Embedding, EmbeddingConfig, Linear, LinearConfig};
use burn::tensor::{Device, Int, Tensor};

/// [`EncoderModel`] configuration.
#[derive(Config, Debug)]
pub struct EncoderModelConfig {
    /// Number of tokens.
    pub vocabulary: usize,
    /// Width of the model; the network within a layer is four times as wide. Default 64.
    #[config(default = 64)]
    pub width: usize,
    /// Attention heads; they divide the width. Default 4.
    #[config(default = 4)]
    pub heads: usize,
    /// Layers. Default 4.
    #[config(default = 4)]
    pub layers: usize,
}

/// A language model of burn's own transformer encoder, with causal attention, normalisation first and
/// no dropout.
#[derive(Module, Debug)]
pub struct EncoderModel {
    embedding: Embedding,
    encoder: TransformerEncoder,
    head: Linear,
}

impl EncoderModelConfig {
    /// Makes the network.
    pub fn init(&self, device: &Device) -> EncoderModel {
        let (width, vocabulary) = (self.width, self.vocabulary);
        let encoder = TransformerEncoderConfig::new(width, 4 * width, self.heads, self.layers);
        EncoderModel {
            embedding: EmbeddingConfig::new(vocabulary, width).init(device),
            encoder: encoder.with_dropout(0.0).with_norm_first(true).init(device),
            head: LinearConfig::new(width, vocabulary).init(device),
        }
    }
}

impl EncoderModel {
    /// Logits of shape `[rows * length, vocabulary]` of the next token at every place of `tokens`,
    /// of shape `[rows, length]`.
    pub fn forward(&self, tokens: Tensor<2, Int>) -> Tensor<2> {
        let [rows, length] = tokens.dims();
        let x = self.embedding.forward(tokens);
        let mask = generate_autoregressive_mask(rows, length, &x.device());
        let input = TransformerEncoderInput::new(x).mask_attn(mask);
        self.head.forward(self.encoder.forward(input)).flatten(0, 1)
    }
}
