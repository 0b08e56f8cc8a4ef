use burn_backend::ops::{ModuleOps, UnfoldOptions};
use burn_dispatch::Dispatch as D;
use burn_ir::ModuleOperationIr;

use super::{attention, backward, convolution, interpolation, normalization, pooling, rule_table};
use crate::error::JvpError;

rule_table!("Module", ModuleOperationIr, |cx| {
    BatchNorm(o) Differentiated "composed of its steps" => normalization::batch_norm(cx, o);
    Embedding(o) Differentiated "rows of ẇ" => {
        let (weights, indices) = (cx.get(&o.weights)?, cx.value(&o.indices)?);
        cx.set(&o.out, weights.linear(|w| D::embedding(w, indices.clone())))
    };
    EmbeddingBackward(o) Backward "none: computed in kept products" => {
        let (weights, indices) = (cx.value(&o.weights)?, cx.value(&o.indices)?);
        let grad = cx.value(&o.out_grad)?;
        cx.set_value(&o.out, D::embedding_backward(weights, grad, indices))
    };
    Linear(o) Differentiated "ẋ w + x ẇ + ḃ" => convolution::linear(cx, o);
    LinearXBackward(o) Backward "none: computed in kept products" => backward::two(cx, [&o.weight, &o.output_grad, &o.out], D::linear_x_backward);
    LinearWeightBackward(o) Backward "none: computed in kept products" => backward::two(cx, [&o.x, &o.output_grad, &o.out], D::linear_weight_backward);
    LinearBiasBackward(o) Backward "none: computed in kept products" => {
        let grad = cx.value(&o.output_grad)?;
        cx.set_value(&o.out, D::linear_bias_backward(grad))
    };
    Conv1d(o) Differentiated "ẋ ∗ w + x ∗ ẇ + ḃ" => convolution::conv1d(cx, o);
    Conv1dXBackward(o) Backward "none: computed in kept products" => backward::three(cx, [&o.x, &o.weight, &o.output_grad, &o.out],
        |x, w, grad| D::conv1d_x_backward(x, w, grad, o.options.clone().into()));
    Conv1dWeightBackward(o) Backward "none: computed in kept products" => backward::three(cx, [&o.x, &o.weight, &o.output_grad, &o.out],
        |x, w, grad| D::conv1d_weight_backward(x, w, grad, o.options.clone().into()));
    Conv1dBiasBackward(o) Backward "none: computed in kept products" => backward::three(cx, [&o.x, &o.bias, &o.output_grad, &o.out], D::conv1d_bias_backward);
    Conv2d(o) Differentiated "ẋ ∗ w + x ∗ ẇ + ḃ" => convolution::conv2d(cx, o);
    Conv2dXBackward(o) Backward "none: computed in kept products" => backward::three(cx, [&o.x, &o.weight, &o.output_grad, &o.out],
        |x, w, grad| D::conv2d_x_backward(x, w, grad, o.options.clone().into()));
    Conv2dWeightBackward(o) Backward "none: computed in kept products" => backward::three(cx, [&o.x, &o.weight, &o.output_grad, &o.out],
        |x, w, grad| D::conv2d_weight_backward(x, w, grad, o.options.clone().into()));
    Conv2dBiasBackward(o) Backward "none: computed in kept products" => backward::three(cx, [&o.x, &o.bias, &o.output_grad, &o.out], D::conv2d_bias_backward);
    Conv3d(o) Differentiated "ẋ ∗ w + x ∗ ẇ + ḃ" => convolution::conv3d(cx, o);
    Conv3dXBackward(o) Backward "none: computed in kept products" => backward::three(cx, [&o.x, &o.weight, &o.output_grad, &o.out],
        |x, w, grad| D::conv3d_x_backward(x, w, grad, o.options.clone().into()));
    Conv3dWeightBackward(o) Backward "none: computed in kept products" => backward::three(cx, [&o.x, &o.weight, &o.output_grad, &o.out],
        |x, w, grad| D::conv3d_weight_backward(x, w, grad, o.options.clone().into()));
    Conv3dBiasBackward(o) Backward "none: computed in kept products" => backward::three(cx, [&o.x, &o.bias, &o.output_grad, &o.out], D::conv3d_bias_backward);
    DeformableConv2d(_) Unsupported "" => Err(JvpError::no_rule("Module::DeformableConv2d"));
    DeformableConv2dBackward(_) Unsupported "" => Err(JvpError::no_rule("Module::DeformableConv2dBackward"));
    ConvTranspose1d(o) Differentiated "ẋ ∗ w + x ∗ ẇ + ḃ" => convolution::conv_transpose1d(cx, o);
    ConvTranspose2d(o) Differentiated "ẋ ∗ w + x ∗ ẇ + ḃ" => convolution::conv_transpose2d(cx, o);
    ConvTranspose3d(o) Differentiated "ẋ ∗ w + x ∗ ẇ + ḃ" => convolution::conv_transpose3d(cx, o);
    AvgPool1d(o) Differentiated "pool(ẋ)" => cx.linear(&o.x, &o.out, |x| {
        D::avg_pool1d(x, o.kernel_size, o.stride, o.padding, o.count_include_pad, o.ceil_mode)
    });
    AvgPool2d(o) Differentiated "pool(ẋ)" => cx.linear(&o.x, &o.out, |x| {
        D::avg_pool2d(x, o.kernel_size, o.stride, o.padding, o.count_include_pad, o.ceil_mode)
    });
    AvgPool1dBackward(o) Backward "none: computed in kept products" => backward::two(cx, [&o.x, &o.grad, &o.out], |x, grad| {
        D::avg_pool1d_backward(
            x, grad, o.kernel_size, o.stride, o.padding, o.count_include_pad, o.ceil_mode)
    });
    AvgPool2dBackward(o) Backward "none: computed in kept products" => pooling::average_2d_backward(cx, o);
    AdaptiveAvgPool1d(o) Differentiated "pool(ẋ)" =>
        cx.linear(&o.x, &o.out, |x| D::adaptive_avg_pool1d(x, o.output_size));
    AdaptiveAvgPool2d(o) Differentiated "pool(ẋ)" =>
        cx.linear(&o.x, &o.out, |x| D::adaptive_avg_pool2d(x, o.output_size));
    AdaptiveAvgPool1dBackward(o) Backward "none: computed in kept products" => backward::two(cx, [&o.x, &o.grad, &o.out], D::adaptive_avg_pool1d_backward);
    AdaptiveAvgPool2dBackward(o) Backward "none: computed in kept products" => backward::two(cx, [&o.x, &o.grad, &o.out], D::adaptive_avg_pool2d_backward);
    AdaptiveAvgPool3d(o) Differentiated "pool(ẋ)" =>
        cx.linear(&o.x, &o.out, |x| D::adaptive_avg_pool3d(x, o.output_size));
    AdaptiveAvgPool3dBackward(o) Backward "none: computed in kept products" => backward::two(cx, [&o.x, &o.grad, &o.out], D::adaptive_avg_pool3d_backward);
    MaxPool1d(o) Differentiated "ẋ at the maxima" => pooling::max_1d(cx, o);
    MaxPool1dWithIndices(o) Differentiated "ẋ at the maxima" => pooling::max_1d_with_indices(cx, o);
    MaxPool1dWithIndicesBackward(o) Backward "none: computed in kept products" => backward::three(cx, [&o.x, &o.grad, &o.indices, &o.out],
        |x, grad, at| D::max_pool1d_with_indices_backward(
            x, o.kernel_size, o.stride, o.padding, o.dilation, o.ceil_mode, grad, at).x_grad);
    MaxPool2d(o) Differentiated "ẋ at the maxima" => pooling::max_2d(cx, o);
    MaxPool2dWithIndices(o) Differentiated "ẋ at the maxima" => pooling::max_2d_with_indices(cx, o);
    MaxPool2dWithIndicesBackward(o) Backward "none: computed in kept products" => backward::three(cx, [&o.x, &o.grad, &o.indices, &o.out],
        |x, grad, at| D::max_pool2d_with_indices_backward(
            x, o.kernel_size, o.stride, o.padding, o.dilation, o.ceil_mode, grad, at).x_grad);
    Interpolate(o) Differentiated "interpolate(ẋ)" => interpolation::interpolate(cx, o);
    InterpolateBackward(o) Backward "none: computed in kept products" => backward::two(cx, [&o.x, &o.grad, &o.out],
        |x, grad| D::interpolate_backward(x, grad, o.output_size, o.options.clone().into()));
    Attention(o) Differentiated "composed of its steps" => attention::attention(cx, o);
    CtcLoss(_) Unsupported "" => Err(JvpError::no_rule("Module::CtcLoss"));
    CtcLossBackward(_) Unsupported "" => Err(JvpError::no_rule("Module::CtcLossBackward"));
    LayerNorm(o) Differentiated "γ r (ẋ - mean(ẋ) - z mean(z ẋ)) + γ̇ z + β̇" => normalization::layer_norm(cx, o);
    Unfold4d(o) Differentiated "unfold(ẋ)" => {
        let options = UnfoldOptions::new(o.options.stride, o.options.padding, o.options.dilation);
        cx.linear(&o.x, &o.out, |x| D::unfold4d(x, o.kernel_size, options.clone()))
    };
    ConvTranspose1dWeightBackward(o) Backward "none: computed in kept products" => backward::three(cx, [&o.x, &o.weight, &o.output_grad, &o.out],
        |x, w, grad| D::conv_transpose1d_weight_backward(x, w, grad, o.options.clone().into()));
    ConvTranspose1dBiasBackward(o) Backward "none: computed in kept products" => backward::three(cx, [&o.x, &o.bias, &o.output_grad, &o.out], D::conv_transpose1d_bias_backward);
    ConvTranspose2dWeightBackward(o) Backward "none: computed in kept products" => backward::three(cx, [&o.x, &o.weight, &o.output_grad, &o.out],
        |x, w, grad| D::conv_transpose2d_weight_backward(x, w, grad, o.options.clone().into()));
    ConvTranspose2dBiasBackward(o) Backward "none: computed in kept products" => backward::three(cx, [&o.x, &o.bias, &o.output_grad, &o.out], D::conv_transpose2d_bias_backward);
    ConvTranspose3dWeightBackward(o) Backward "none: computed in kept products" => backward::three(cx, [&o.x, &o.weight, &o.output_grad, &o.out],
        |x, w, grad| D::conv_transpose3d_weight_backward(x, w, grad, o.options.clone().into()));
    ConvTranspose3dBiasBackward(o) Backward "none: computed in kept products" => backward::three(cx, [&o.x, &o.bias, &o.output_grad, &o.out], D::conv_transpose3d_bias_backward);
});
