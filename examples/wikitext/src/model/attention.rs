use burn::module::Module;
use burn::nn::{Initializer, Linear, LinearConfig};
use burn::tensor::activation::softmax;
use burn::tensor::{Device, Tensor};

use super::rotary::Rotary;

/// Causal self-attention of several heads. Queries, keys and values have a matrix each, which the
/// matrix methods precondition apart.
#[derive(Module, Debug)]
pub struct Attention {
    query: Linear,
    key: Linear,
    value: Linear,
    output: Linear,
    heads: usize,
}

impl Attention {
    /// Attention over `width` features in `heads` heads; `output_std` is the deviation of the initial
    /// output weights.
    pub fn new(width: usize, heads: usize, std: f64, output_std: f64, device: &Device) -> Self {
        let linear = |std| {
            LinearConfig::new(width, width)
                .with_bias(false)
                .with_initializer(Initializer::Normal { mean: 0.0, std })
                .init(device)
        };
        Self {
            query: linear(std),
            key: linear(std),
            value: linear(std),
            output: linear(output_std),
            heads,
        }
    }

    /// Features of shape `[batch, length, width]`; `future` is added to the scores, `[1, 1, length,
    /// length]`.
    pub fn forward(&self, x: Tensor<3>, rotary: &Rotary, future: &Tensor<4>) -> Tensor<3> {
        let [batch, length, width] = x.dims();
        let size = width / self.heads;
        let heads = |x: Tensor<3>| x.reshape([batch, length, self.heads, size]).swap_dims(1, 2);
        let query = rotary.apply(heads(self.query.forward(x.clone())));
        let key = rotary.apply(heads(self.key.forward(x.clone())));
        let value = heads(self.value.forward(x));
        let query = query.mul_scalar(1.0 / (size as f64).sqrt());
        let scores = query.matmul(key.swap_dims(2, 3)) + future.clone();
        let mixed = softmax(scores, 3).matmul(value);
        let mixed = mixed.swap_dims(1, 2).reshape([batch, length, width]);
        self.output.forward(mixed)
    }
}
