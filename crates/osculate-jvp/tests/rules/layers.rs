use burn::tensor::module;
use burn::tensor::ops::{
    AttentionModuleOptions, AvgPoolOptions, ConvOptions, ConvTransposeOptions, InterpolateMode,
    InterpolateOptions, MaxPoolOptions, UnfoldOptions,
};
use burn::tensor::{Int, Tensor};

use crate::rule;

rule!(linear: [([2, 3], [3, 4], [4]), ([1, 1], [1, 2], [2])], in -1.0..1.0, |x: 2, w: 2, b: 1| {
    module::linear(x, w, Some(b))
});
rule!(linear_without_bias: [([2, 2, 3], [3, 2])], in -1.0..1.0, |x: 3, w: 2| module::linear(x, w, None));
rule!(embedding: [([4, 3],)], in -1.0..1.0, |w: 2| {
    let at = Tensor::<2, Int>::from_data([[0, 3], [3, 1]], &w.device());
    module::embedding(w, at).sin()
});
rule!(conv1d: [([2, 2, 5], [3, 2, 2], [3])], in -1.0..1.0, |x: 3, w: 3, b: 1| {
    module::conv1d(x, w, Some(b), ConvOptions::new([2], [1], [1], 1))
});
rule!(conv2d: [([1, 2, 4, 3], [2, 2, 2, 2], [2])], in -1.0..1.0, |x: 4, w: 4, b: 1| {
    module::conv2d(x, w, Some(b), ConvOptions::new([1, 2], [1, 0], [2, 1], 1))
});
rule!(grouped_conv2d: [([1, 2, 3, 3], [2, 1, 2, 2])], in -1.0..1.0, |x: 4, w: 4| {
    module::conv2d(x, w, None, ConvOptions::new([1, 1], [0, 0], [1, 1], 2))
});
rule!(conv3d: [([1, 1, 3, 3, 2], [2, 1, 2, 2, 2], [2])], in -1.0..1.0, |x: 5, w: 5, b: 1| {
    module::conv3d(x, w, Some(b), ConvOptions::new([1, 1, 1], [0, 0, 1], [1, 1, 1], 1))
});
rule!(conv_transpose1d: [([1, 2, 3], [2, 2, 2], [2])], in -1.0..1.0, |x: 3, w: 3, b: 1| {
    module::conv_transpose1d(x, w, Some(b), ConvTransposeOptions::new([2], [0], [1], [1], 1))
});
rule!(conv_transpose2d: [([1, 2, 2, 3], [2, 1, 2, 2], [1])], in -1.0..1.0, |x: 4, w: 4, b: 1| {
    let options = ConvTransposeOptions::new([2, 1], [1, 0], [0, 0], [1, 1], 1);
    module::conv_transpose2d(x, w, Some(b), options)
});
rule!(conv_transpose3d: [([1, 1, 2, 2, 2], [1, 2, 2, 2, 2], [2])], in -1.0..1.0, |x: 5, w: 5, b: 1| {
    let options = ConvTransposeOptions::new([1, 1, 1], [0, 0, 0], [0, 0, 0], [1, 1, 1], 1);
    module::conv_transpose3d(x, w, Some(b), options)
});
rule!(avg_pool1d: [([1, 2, 6],)], in -1.0..1.0, |x: 3| {
    let options = AvgPoolOptions { stride: [2], padding: [(1, 1)], ..AvgPoolOptions::new([2]) };
    module::avg_pool1d(x, options).sin()
});
rule!(avg_pool2d: [([1, 2, 4, 5],)], in -1.0..1.0, |x: 4| {
    let options = AvgPoolOptions {
        stride: [1, 2],
        padding: [(0, 0), (1, 1)],
        count_include_pad: false,
        ..AvgPoolOptions::new([2, 2])
    };
    module::avg_pool2d(x, options).sin()
});
rule!(adaptive_avg_pool1d: [([1, 2, 6],)], in -1.0..1.0, |x: 3| module::adaptive_avg_pool1d(x, 3).sin());
rule!(adaptive_avg_pool2d: [([1, 2, 4, 5],)], in -1.0..1.0, |x: 4| {
    module::adaptive_avg_pool2d(x, [2, 3]).sin()
});
rule!(adaptive_avg_pool3d: [([1, 1, 4, 3, 2],)], in -1.0..1.0, |x: 5| {
    module::adaptive_avg_pool3d(x, [2, 2, 1]).sin()
});
rule!(max_pool1d: [([2, 2, 6],)], in -1.0..1.0, |x: 3| {
    module::max_pool1d(x, MaxPoolOptions { stride: [2], ..MaxPoolOptions::new([2]) }).sin()
});
rule!(max_pool2d: [([2, 2, 4, 5],)], in -1.0..1.0, |x: 4| {
    let options = MaxPoolOptions {
        stride: [2, 1],
        padding: [(0, 0), (1, 1)],
        ..MaxPoolOptions::new([2, 3])
    };
    module::max_pool2d(x, options).sin()
});
rule!(max_pool2d_with_indices: [([1, 2, 4, 4],)], in -1.0..1.0, |x: 4| {
    let (y, _) = module::max_pool2d_with_indices(x, MaxPoolOptions::new([2, 2]));
    y.sin()
});
rule!(max_pool1d_with_indices: [([1, 2, 6],)], in -1.0..1.0, |x: 3| {
    let (y, _) = module::max_pool1d_with_indices(x, MaxPoolOptions::new([3]));
    y.sin()
});
rule!(unfold4d: [([1, 2, 3, 3],)], in -1.0..1.0, |x: 4| {
    module::unfold4d(x, [2, 2], UnfoldOptions::new([1, 1], [0, 0], [1, 1])).sin()
});
rule!(interpolate: [([1, 2, 3, 3],)], in -1.0..1.0, |x: 4| {
    let options = InterpolateOptions {
        output_size: Some([5, 4]),
        ..InterpolateOptions::new(InterpolateMode::Nearest)
    };
    module::interpolate(x, options).sin()
});
fn resized(x: Tensor<4>, mode: InterpolateMode, align_corners: bool) -> Tensor<4> {
    let options = InterpolateOptions {
        output_size: Some([5, 2]),
        ..InterpolateOptions::new(mode).with_align_corners(align_corners)
    };
    module::interpolate(x, options).sin()
}
rule!(interpolate_bilinear: [([1, 2, 3, 4],)], in -1.0..1.0, |x: 4| {
    resized(x, InterpolateMode::Bilinear, true)
});
rule!(interpolate_bilinear_by_areas: [([2, 1, 4, 3],)], in -1.0..1.0, |x: 4| {
    resized(x, InterpolateMode::Bilinear, false)
});
rule!(interpolate_bicubic: [([1, 2, 4, 4],)], in -1.0..1.0, |x: 4| {
    resized(x, InterpolateMode::Bicubic, true)
});
rule!(interpolate_bicubic_by_areas: [([1, 1, 4, 3],)], in -1.0..1.0, |x: 4| {
    resized(x, InterpolateMode::Bicubic, false)
});
rule!(interpolate_lanczos3: [([1, 1, 7, 6],)], in -1.0..1.0, |x: 4| {
    resized(x, InterpolateMode::Lanczos3, false)
});
rule!(layer_norm: [([2, 4], [4], [4])], in -1.0..1.0, |x: 2, gamma: 1, beta: 1| {
    module::layer_norm(x, gamma, Some(beta), 1e-3)
});
rule!(layer_norm_without_bias: [([2, 2, 3], [3])], in -1.0..1.0, |x: 3, gamma: 1| {
    module::layer_norm(x, gamma, None, 1e-3)
});

type Attended = ([usize; 4], [usize; 4], [usize; 4]);
const ATTENTION: [Attended; 2] = [
    ([1, 2, 3, 2], [1, 2, 3, 2], [1, 2, 3, 2]),
    ([2, 1, 2, 3], [2, 1, 4, 3], [2, 1, 4, 2]),
];
rule!(attention: ATTENTION, in -1.0..1.0, |q: 4, k: 4, v: 4| {
    module::attention(q, k, v, None, None, AttentionModuleOptions::default())
});
rule!(causal_attention: ATTENTION, in -1.0..1.0, |q: 4, k: 4, v: 4| {
    let options = AttentionModuleOptions { is_causal: true, softcap: Some(2.0), scale: Some(0.7) };
    module::attention(q, k, v, None, None, options)
});

rule!(batch_norm: [([2, 3, 2], [3], [3], [3], [3])], in 0.3..1.0,
|x: 3, gamma: 1, beta: 1, mean: 1, variance: 1| {
    module::batch_norm(x, gamma, beta, mean, variance, 1e-3)
});
rule!(masked_attention: [([1, 2, 3, 2], [1, 2, 3, 2], [1, 2, 3, 2], [1, 2, 3, 3])], in -1.0..1.0,
|q: 4, k: 4, v: 4, bias: 4| {
    let mask = bias.clone().greater_elem(0.4);
    module::attention(q, k, v, Some(mask), Some(bias), AttentionModuleOptions::default())
});
