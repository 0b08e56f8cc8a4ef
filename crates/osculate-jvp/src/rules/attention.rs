use burn_backend::ops::{BoolTensorOps, FloatTensorOps, IntTensorOps};
use burn_backend::{Shape, TensorMetadata};
use burn_dispatch::Dispatch as D;
use burn_ir::AttentionOpIr;

use super::activation::softmax_tangent;
use super::float::one_minus_square;
use crate::context::Context;
use crate::dual::Value;
use crate::error::JvpError;

/// Scaled dot-product attention over `[batch, heads, sequence, width]`, from the operations that
/// burn's own fallback is made of: it has no fused form that autodiff could differentiate twice.
pub(super) fn attention(cx: &mut Context<'_>, o: &AttentionOpIr) -> Result<(), JvpError> {
    let (query, key, value) = (cx.get(&o.query)?, cx.get(&o.key)?, cx.get(&o.value)?);
    let mask = cx.get_optional(o.mask.as_ref())?;
    let bias = cx.get_optional(o.attn_bias.as_ref())?;

    let width = o.query.shape[3];
    let scale = match o.options.scale {
        Some(scale) => scale.elem::<f64>(),
        None => 1.0 / (width as f64).sqrt(),
    };
    let transposed = key.linear(|k| D::float_swap_dims(k, 2, 3));
    let mut scores = query.bilinear(transposed, D::float_matmul).scale(scale);
    if let Some(softcap) = o.options.softcap {
        let softcap: f64 = softcap.elem();
        scores = scores
            .scale(1.0 / softcap)
            .unary(D::float_tanh, |_, y| one_minus_square(y))
            .scale(softcap);
    }
    if let Some(mask) = mask {
        scores = scores.mask_fill(mask.value, f32::NEG_INFINITY.into());
    }
    if o.options.is_causal {
        let future = future(cx, &scores.shape());
        scores = scores.mask_fill(future, f32::NEG_INFINITY.into());
    }
    if let Some(bias) = bias {
        scores = scores.add(bias);
    }
    let weights = softmax_tangent(&scores, masked_softmax(scores.value.clone()), 3);
    cx.set(&o.out, weights.bilinear(value, D::float_matmul))
}

/// Softmax over the last dimension that gives zeros for a row of which all is masked.
fn masked_softmax(scores: Value) -> Value {
    let (lowest, smallest) = match scores.dtype().finfo() {
        Some(info) => (info.min, info.min_positive),
        None => (f64::MIN, f64::MIN_POSITIVE),
    };
    let top = D::float_detach(D::float_max_dim(scores.clone(), 3));
    let top = D::float_clamp_min(top, lowest.into());
    let numerator = D::float_exp(D::float_sub(scores, top));
    let sum = D::float_clamp_min(D::float_sum_dim(numerator.clone(), 3), smallest.into());
    D::float_div(numerator, sum)
}

/// The mask of positions after the query's own, aligned at the last position.
fn future(cx: &Context<'_>, scores: &Shape) -> Value {
    let (queries, keys) = (scores[2] as i64, scores[3] as i64);
    let offset = keys - queries;
    let positions = |start: i64, end: i64, shape: [usize; 4]| {
        let line = D::int_arange(start..end, cx.device(), cx.int_dtype());
        D::int_expand(
            D::int_reshape(line, Shape::new(shape)),
            Shape::new([1, 1, scores[2], scores[3]]),
        )
    };
    let rows = positions(offset, offset + queries, [1, 1, scores[2], 1]);
    let columns = positions(0, keys, [1, 1, 1, scores[3]]);
    let mask = D::int_greater(columns, rows, cx.bool_dtype());
    D::bool_expand(mask, scores.clone())
}
