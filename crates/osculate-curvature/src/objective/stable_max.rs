//! StableMax, which stands for softmax without an exponential.

use burn::tensor::Tensor;

/// StableMax's `s`: `x + 1` from 0 upwards, `1 / (1 - x)` below.
pub(crate) fn stable(x: Tensor<2>) -> Tensor<2> {
    let negative = x.clone().lower_elem(0.0);
    let below = x.clone().clamp_max(0.0).neg().add_scalar(1.0).recip();
    x.add_scalar(1.0).mask_where(negative, below)
}

/// StableMax's probabilities, and the ratios `s' / s`.
pub(crate) fn stable_parts(x: Tensor<2>) -> (Tensor<2>, Tensor<2>) {
    let negative = x.clone().lower_elem(0.0);
    let s = stable(x);
    // Above 0 the derivative is 1, below it is the square of `s`.
    let ratio = s.clone().recip().mask_where(negative, s.clone());
    (s.clone() / s.sum_dim(1), ratio)
}
