//! A small causal transformer, and the schedule of the learning rate.

use burn::module::Module;
use burn::nn::{Embedding, EmbeddingConfig, LayerNorm, LayerNormConfig, Linear, LinearConfig};
use burn::tensor::activation::{gelu, softmax};
use burn::tensor::{Bool, Device, Int, Tensor};

/// Width of the model.
const WIDTH: usize = 64;
const HEADS: usize = 4;
const LAYERS: usize = 2;
/// Steps of warm-up, as a part of all.
const WARM_UP: f64 = 0.1;

/// The factor of the learning rate: up along a line, down along a cosine to a hundredth.
pub fn schedule(step: usize, steps: usize) -> f64 {
    let at = (step as f64 + 1.0) / steps as f64;
    if at < WARM_UP {
        return at / WARM_UP;
    }
    let down = (at - WARM_UP) / (1.0 - WARM_UP);
    0.01 + 0.99 * 0.5 * (1.0 + (std::f64::consts::PI * down).cos())
}

/// A language model of characters.
#[derive(Module, Debug)]
pub struct CharLm {
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
}

impl CharLm {
    /// A model for a vocabulary and a longest sequence, with random weights.
    pub fn new(vocabulary: usize, length: usize, device: &Device) -> Self {
        let linear = |from, to| LinearConfig::new(from, to).init(device);
        let norm = || LayerNormConfig::new(WIDTH).init(device);
        Self {
            embedding: EmbeddingConfig::new(vocabulary, WIDTH).init(device),
            position_embedding: EmbeddingConfig::new(length, WIDTH).init(device),
            blocks: (0..LAYERS)
                .map(|_| Block {
                    norm1: norm(),
                    query: linear(WIDTH, WIDTH),
                    key: linear(WIDTH, WIDTH),
                    value: linear(WIDTH, WIDTH),
                    output: linear(WIDTH, WIDTH),
                    norm2: norm(),
                    up: linear(WIDTH, 4 * WIDTH),
                    down: linear(4 * WIDTH, WIDTH),
                })
                .collect(),
            norm: norm(),
            head: linear(WIDTH, vocabulary),
        }
    }

    /// Logits `[rows * length, vocabulary]` of the next character at every place.
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
        let x = x.clone() + self.attention(self.norm1.forward(x));
        let hidden = gelu(self.up.forward(self.norm2.forward(x.clone())));
        x + self.down.forward(hidden)
    }

    fn attention(&self, x: Tensor<3>) -> Tensor<3> {
        let [rows, length, _] = x.dims();
        let split = |x: Tensor<3>| {
            x.reshape([rows, length, HEADS, WIDTH / HEADS])
                .swap_dims(1, 2)
        };
        let query = split(self.query.forward(x.clone()));
        let key = split(self.key.forward(x.clone()));
        let value = split(self.value.forward(x));
        let scale = ((WIDTH / HEADS) as f64).sqrt().recip();
        let scores = query.matmul(key.swap_dims(2, 3)).mul_scalar(scale);
        let future = Tensor::<2, Bool>::tril_mask([length, length], 0, &scores.device());
        let future = future
            .unsqueeze::<4>()
            .expand([rows, HEADS, length, length]);
        let weights = softmax(scores.mask_fill(future, -1e4), 3);
        let mixed = weights.matmul(value).swap_dims(1, 2);
        self.output.forward(mixed.reshape([rows, length, WIDTH]))
    }
}
