//! Small models of every kind, with deterministic weights.

use burn::module::{Module, ModuleMapper, Param};
use burn::nn::attention::generate_autoregressive_mask;
use burn::nn::attention::{MhaInput, MultiHeadAttention, MultiHeadAttentionConfig};
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::pool::{MaxPool2d, MaxPool2dConfig};
use burn::nn::{
    Embedding, EmbeddingConfig, GroupNorm, GroupNormConfig, LayerNorm, LayerNormConfig, Linear,
    LinearConfig, Lstm, LstmConfig,
};
use burn::tensor::{DType, Device, Int, Tensor, TensorData, activation, s};

use crate::checks::numbers;

/// Gives every trained parameter deterministic values, and all the type asked for.
struct Fill {
    dtype: DType,
    seed: usize,
}

impl ModuleMapper for Fill {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let trained = param.is_require_grad();
        let (id, tensor, mapper) = param.consume();
        if !trained {
            return Param::from_mapped_value(id, tensor.cast(self.dtype), mapper);
        }
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

/// burn's own LSTM, which keeps its state in the device's default type.
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
        let (_, state) = self.lstm.forward(x, None);
        self.head.forward(state.hidden)
    }
}

/// The same from its equations, in any type.
#[derive(Module, Debug)]
pub struct Cell {
    from_input: Linear,
    from_hidden: Linear,
    head: Linear,
}

impl Cell {
    pub fn new(device: &Device) -> Self {
        Self {
            from_input: LinearConfig::new(2, 12).init(device),
            from_hidden: LinearConfig::new(3, 12).with_bias(false).init(device),
            head: LinearConfig::new(3, 2).init(device),
        }
    }

    pub fn forward(&self, x: Tensor<3>) -> Tensor<2> {
        let [batch, length, _] = x.dims();
        let mut hidden = Tensor::<2>::zeros([batch, 3], (&x.device(), x.dtype()));
        let mut cell = hidden.clone();
        for step in 0..length {
            let input = x
                .clone()
                .slice(s![.., step..step + 1, ..])
                .squeeze_dim::<2>(1);
            let gates = self.from_input.forward(input) + self.from_hidden.forward(hidden);
            let [i, f, o, c]: [Tensor<2>; 4] = gates.chunk(4, 1).try_into().unwrap();
            cell = activation::sigmoid(f) * cell + activation::sigmoid(i) * c.tanh();
            hidden = activation::sigmoid(o) * cell.clone().tanh();
        }
        self.head.forward(hidden)
    }
}
