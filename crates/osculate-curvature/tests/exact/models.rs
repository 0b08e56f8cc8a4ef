//! Small models of every kind, with deterministic weights.

use burn::module::{Module, ModuleMapper, Param};
use burn::nn::attention::generate_autoregressive_mask;
use burn::nn::attention::{MhaInput, MultiHeadAttention, MultiHeadAttentionConfig};
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::pool::{MaxPool2d, MaxPool2dConfig};
use burn::nn::{
    Embedding, EmbeddingConfig, GroupNorm, GroupNormConfig, LayerNorm, LayerNormConfig, Linear,
    LinearConfig, Lstm, LstmConfig, LstmState,
};
use burn::tensor::{DType, Device, Int, Tensor, TensorData, activation};

use crate::checks::numbers;

/// Gives every parameter deterministic values of the type asked for.
struct Fill {
    dtype: DType,
    seed: usize,
}

impl ModuleMapper for Fill {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let (id, tensor, mapper) = param.consume();
        self.seed += 1;
        let shape = tensor.dims();
        let n = shape.iter().product();
        let scale = 1.0 / (shape[0] as f64).sqrt();
        let values: Vec<f64> = numbers(n, self.seed)
            .into_iter()
            .map(|x| x * scale)
            .collect();
        let device = tensor.device();
        let data = TensorData::new(values, shape);
        let filled = Tensor::from_data(data, (&device, self.dtype)).require_grad();
        Param::from_mapped_value(id, filled, mapper)
    }
}

pub fn fill<M: Module>(model: M, dtype: DType) -> M {
    model.map(&mut Fill { dtype, seed: 0 })
}

#[derive(Module, Debug)]
pub struct Mlp {
    first: Linear,
    second: Linear,
    smooth: bool,
}

impl Mlp {
    pub fn new(smooth: bool, [inputs, hidden, outputs]: [usize; 3], device: &Device) -> Self {
        Self {
            first: LinearConfig::new(inputs, hidden).init(device),
            second: LinearConfig::new(hidden, outputs).init(device),
            smooth,
        }
    }

    pub fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        let hidden = self.first.forward(x);
        let hidden = if self.smooth {
            activation::gelu(hidden)
        } else {
            activation::relu(hidden)
        };
        self.second.forward(hidden)
    }
}

#[derive(Module, Debug)]
pub struct ConvNet {
    conv: Conv2d,
    norm: GroupNorm,
    pool: MaxPool2d,
    head: Linear,
}

impl ConvNet {
    pub fn new(device: &Device) -> Self {
        Self {
            conv: Conv2dConfig::new([1, 4], [3, 3]).init(device),
            norm: GroupNormConfig::new(2, 4).init(device),
            pool: MaxPool2dConfig::new([2, 2]).with_strides([2, 2]).init(),
            head: LinearConfig::new(16, 3).init(device),
        }
    }

    pub fn forward(&self, x: Tensor<4>) -> Tensor<2> {
        let x = activation::silu(self.norm.forward(self.conv.forward(x)));
        self.head.forward(self.pool.forward(x).flatten(1, 3))
    }
}

/// One block with causal attention; the embedding is also the output matrix.
#[derive(Module, Debug)]
pub struct Transformer {
    embedding: Embedding,
    attention: MultiHeadAttention,
    norm: LayerNorm,
    up: Linear,
    down: Linear,
}

impl Transformer {
    pub fn new(device: &Device) -> Self {
        Self {
            embedding: EmbeddingConfig::new(5, 4).init(device),
            attention: MultiHeadAttentionConfig::new(4, 2)
                .with_dropout(0.0)
                .init(device),
            norm: LayerNormConfig::new(4).init(device),
            up: LinearConfig::new(4, 6).init(device),
            down: LinearConfig::new(6, 4).init(device),
        }
    }

    /// Logits of every token, shape `[batch * sequence, vocabulary]`.
    pub fn forward(&self, tokens: Tensor<2, Int>) -> Tensor<2> {
        let [batch, length] = tokens.dims();
        let x = self.embedding.forward(tokens);
        let mask = generate_autoregressive_mask(batch, length, &x.device());
        let attended = self
            .attention
            .forward(MhaInput::self_attn(self.norm.forward(x.clone())).mask_attn(mask));
        let x = x + attended.context;
        let x = x.clone() + self.down.forward(activation::gelu(self.up.forward(x)));
        let flat = x.flatten::<2>(0, 1);
        flat.matmul(self.embedding.weight.val().transpose())
    }
}

#[derive(Module, Debug)]
pub struct Recurrent {
    lstm: Lstm,
    head: Linear,
}

impl Recurrent {
    pub fn new(device: &Device) -> Self {
        Self {
            lstm: LstmConfig::new(2, 3, true).init(device),
            head: LinearConfig::new(3, 2).init(device),
        }
    }

    pub fn forward(&self, x: Tensor<3>) -> Tensor<2> {
        // The state that the layer makes by itself has the device's default type.
        let zeros = Tensor::zeros([x.dims()[0], 3], (&x.device(), x.dtype()));
        let start = LstmState::new(zeros.clone(), zeros);
        let (_, state) = self.lstm.forward(x, Some(start));
        self.head.forward(state.hidden)
    }
}
