use burn_backend::ops::{ModuleOps, UnfoldOptions};
use burn_dispatch::Dispatch as D;
use burn_ir::ModuleOperationIr;

use super::{attention, convolution, interpolation, normalization, pooling, rule_table};
use crate::error::JvpError;

rule_table!("Module", ModuleOperationIr, |cx| {
    BatchNorm(o) Differentiated "composed of its steps" => normalization::batch_norm(cx, o);
    Embedding(o) Differentiated "rows of ẇ" => {
        let (weights, indices) = (cx.get(&o.weights)?, cx.value(&o.indices)?);
        cx.set(&o.out, weights.linear(|w| D::embedding(w, indices.clone())))
    };
    EmbeddingBackward(_) Unsupported "" => Err(JvpError::no_rule("Module::EmbeddingBackward"));
    Linear(o) Differentiated "ẋ w + x ẇ + ḃ" => convolution::linear(cx, o);
    LinearXBackward(_) Unsupported "" => Err(JvpError::no_rule("Module::LinearXBackward"));
    LinearWeightBackward(_) Unsupported "" => Err(JvpError::no_rule("Module::LinearWeightBackward"));
    LinearBiasBackward(_) Unsupported "" => Err(JvpError::no_rule("Module::LinearBiasBackward"));
    Conv1d(o) Differentiated "ẋ ∗ w + x ∗ ẇ + ḃ" => convolution::conv1d(cx, o);
    Conv1dXBackward(_) Unsupported "" => Err(JvpError::no_rule("Module::Conv1dXBackward"));
    Conv1dWeightBackward(_) Unsupported "" => Err(JvpError::no_rule("Module::Conv1dWeightBackward"));
    Conv1dBiasBackward(_) Unsupported "" => Err(JvpError::no_rule("Module::Conv1dBiasBackward"));
    Conv2d(o) Differentiated "ẋ ∗ w + x ∗ ẇ + ḃ" => convolution::conv2d(cx, o);
    Conv2dXBackward(_) Unsupported "" => Err(JvpError::no_rule("Module::Conv2dXBackward"));
    Conv2dWeightBackward(_) Unsupported "" => Err(JvpError::no_rule("Module::Conv2dWeightBackward"));
    Conv2dBiasBackward(_) Unsupported "" => Err(JvpError::no_rule("Module::Conv2dBiasBackward"));
    Conv3d(o) Differentiated "ẋ ∗ w + x ∗ ẇ + ḃ" => convolution::conv3d(cx, o);
    Conv3dXBackward(_) Unsupported "" => Err(JvpError::no_rule("Module::Conv3dXBackward"));
    Conv3dWeightBackward(_) Unsupported "" => Err(JvpError::no_rule("Module::Conv3dWeightBackward"));
    Conv3dBiasBackward(_) Unsupported "" => Err(JvpError::no_rule("Module::Conv3dBiasBackward"));
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
    AvgPool1dBackward(_) Unsupported "" => Err(JvpError::no_rule("Module::AvgPool1dBackward"));
    AvgPool2dBackward(_) Unsupported "" => Err(JvpError::no_rule("Module::AvgPool2dBackward"));
    AdaptiveAvgPool1d(o) Differentiated "pool(ẋ)" =>
        cx.linear(&o.x, &o.out, |x| D::adaptive_avg_pool1d(x, o.output_size));
    AdaptiveAvgPool2d(o) Differentiated "pool(ẋ)" =>
        cx.linear(&o.x, &o.out, |x| D::adaptive_avg_pool2d(x, o.output_size));
    AdaptiveAvgPool1dBackward(_) Unsupported "" => Err(JvpError::no_rule("Module::AdaptiveAvgPool1dBackward"));
    AdaptiveAvgPool2dBackward(_) Unsupported "" => Err(JvpError::no_rule("Module::AdaptiveAvgPool2dBackward"));
    AdaptiveAvgPool3d(o) Differentiated "pool(ẋ)" =>
        cx.linear(&o.x, &o.out, |x| D::adaptive_avg_pool3d(x, o.output_size));
    AdaptiveAvgPool3dBackward(_) Unsupported "" => Err(JvpError::no_rule("Module::AdaptiveAvgPool3dBackward"));
    MaxPool1d(o) Differentiated "ẋ at the maxima" => pooling::max_1d(cx, o);
    MaxPool1dWithIndices(o) Differentiated "ẋ at the maxima" => pooling::max_1d_with_indices(cx, o);
    MaxPool1dWithIndicesBackward(_) Unsupported "" => Err(JvpError::no_rule("Module::MaxPool1dWithIndicesBackward"));
    MaxPool2d(o) Differentiated "ẋ at the maxima" => pooling::max_2d(cx, o);
    MaxPool2dWithIndices(o) Differentiated "ẋ at the maxima" => pooling::max_2d_with_indices(cx, o);
    MaxPool2dWithIndicesBackward(_) Unsupported "" => Err(JvpError::no_rule("Module::MaxPool2dWithIndicesBackward"));
    Interpolate(o) Differentiated "interpolate(ẋ)" => interpolation::interpolate(cx, o);
    InterpolateBackward(_) Unsupported "" => Err(JvpError::no_rule("Module::InterpolateBackward"));
    Attention(o) Differentiated "composed of its steps" => attention::attention(cx, o);
    CtcLoss(_) Unsupported "" => Err(JvpError::no_rule("Module::CtcLoss"));
    CtcLossBackward(_) Unsupported "" => Err(JvpError::no_rule("Module::CtcLossBackward"));
    LayerNorm(o) Differentiated "γ r (ẋ - mean(ẋ) - z mean(z ẋ)) + γ̇ z + β̇" => normalization::layer_norm(cx, o);
    Unfold4d(o) Differentiated "unfold(ẋ)" => {
        let options = UnfoldOptions::new(o.options.stride, o.options.padding, o.options.dilation);
        cx.linear(&o.x, &o.out, |x| D::unfold4d(x, o.kernel_size, options.clone()))
    };
    ConvTranspose1dWeightBackward(_) Unsupported "" => Err(JvpError::no_rule("Module::ConvTranspose1dWeightBackward"));
    ConvTranspose1dBiasBackward(_) Unsupported "" => Err(JvpError::no_rule("Module::ConvTranspose1dBiasBackward"));
    ConvTranspose2dWeightBackward(_) Unsupported "" => Err(JvpError::no_rule("Module::ConvTranspose2dWeightBackward"));
    ConvTranspose2dBiasBackward(_) Unsupported "" => Err(JvpError::no_rule("Module::ConvTranspose2dBiasBackward"));
    ConvTranspose3dWeightBackward(_) Unsupported "" => Err(JvpError::no_rule("Module::ConvTranspose3dWeightBackward"));
    ConvTranspose3dBiasBackward(_) Unsupported "" => Err(JvpError::no_rule("Module::ConvTranspose3dBiasBackward"));
});
