use burn::config::Config;
use burn::module::Module;
use burn::nn::{Embedding, EmbeddingConfig, Linear, LinearConfig};
use burn::tensor::{Device, Int, Tensor};

/// [`EmbeddingClassifier`] configuration.
#[derive(Config, Debug)]
pub struct EmbeddingClassifierConfig {
    /// Number of tokens.
    pub vocabulary: usize,
    /// Number of classes.
    pub classes: usize,
    /// Width of the embedding. Default 8.
    #[config(default = 8)]
    pub width: usize,
}

/// The mean embedding of a sequence, classified: rows of the table whose token does not occur have
/// a zero gradient.
#[derive(Module, Debug)]
pub struct EmbeddingClassifier {
    embedding: Embedding,
    head: Linear,
}

impl EmbeddingClassifierConfig {
    /// Makes the network.
    pub fn init(&self, device: &Device) -> EmbeddingClassifier {
        EmbeddingClassifier {
            embedding: EmbeddingConfig::new(self.vocabulary, self.width).init(device),
            head: LinearConfig::new(self.width, self.classes).init(device),
        }
    }
}

impl EmbeddingClassifier {
    /// Logits of tokens of shape `[rows, length]`.
    pub fn forward(&self, tokens: Tensor<2, Int>) -> Tensor<2> {
        let mean = self.embedding.forward(tokens).mean_dim(1).squeeze_dim(1);
        self.head.forward(mean)
    }
}
