use burn::tensor::activation::softmax;
use burn::tensor::{Bool, Tensor};

/// Causal attention with `heads` heads over queries, keys and values of shape
/// `[rows, length, width]`; `heads` divides the width.
pub(super) fn causal_attention(
    query: Tensor<3>,
    key: Tensor<3>,
    value: Tensor<3>,
    heads: usize,
) -> Tensor<3> {
    let [rows, length, width] = query.dims();
    let split = |x: Tensor<3>| {
        x.reshape([rows, length, heads, width / heads])
            .swap_dims(1, 2)
    };
    let (query, key, value) = (split(query), split(key), split(value));
    let scale = ((width / heads) as f64).sqrt().recip();
    let scores = query.matmul(key.swap_dims(2, 3)).mul_scalar(scale);
    let future = Tensor::<2, Bool>::tril_mask([length, length], 0, &scores.device());
    let future = future
        .unsqueeze::<4>()
        .expand([rows, heads, length, length]);
    let weights = softmax(scores.mask_fill(future, -1e4), 3);
    weights
        .matmul(value)
        .swap_dims(1, 2)
        .reshape([rows, length, width])
}
