use burn::tensor::Tensor;
use burn::tensor::ops::{GridSampleOptions, GridSamplePaddingMode, InterpolateMode};

use crate::rule;

/// Images, and points of which some lie beyond their borders.
const SHAPES: [([usize; 4], [usize; 4]); 2] =
    [([2, 2, 3, 4], [2, 2, 3, 2]), ([1, 1, 1, 2], [1, 1, 2, 2])];

fn sampled(
    x: Tensor<4>,
    grid: Tensor<4>,
    padding: GridSamplePaddingMode,
    align_corners: bool,
) -> Tensor<4> {
    let options = GridSampleOptions::new(InterpolateMode::Bilinear)
        .with_padding_mode(padding)
        .with_align_corners(align_corners);
    x.grid_sample_2d(grid, options)
}

rule!(fixed_points: [([2, 2, 3, 4],)], in -1.0..1.0, |x: 4| {
    let line = [[-0.9, 0.3], [0.13, -0.41], [1.3, 0.2]];
    let grid = Tensor::<4>::from_data([[line], [line]], (&x.device(), x.dtype()));
    sampled(x, grid, GridSamplePaddingMode::Zeros, false).sin()
});
rule!(zeros: SHAPES, in -1.2..1.2, |x: 4, grid: 4| {
    sampled(x, grid, GridSamplePaddingMode::Zeros, false)
});
rule!(zeros_with_aligned_corners: SHAPES, in -1.2..1.2, |x: 4, grid: 4| {
    sampled(x, grid, GridSamplePaddingMode::Zeros, true)
});
rule!(border: SHAPES, in -1.2..1.2, |x: 4, grid: 4| {
    sampled(x, grid, GridSamplePaddingMode::Border, false)
});
rule!(border_with_aligned_corners: SHAPES, in -1.2..1.2, |x: 4, grid: 4| {
    sampled(x, grid, GridSamplePaddingMode::Border, true)
});
rule!(reflection: SHAPES, in -3.5..3.5, |x: 4, grid: 4| {
    sampled(x, grid, GridSamplePaddingMode::Reflection, false)
});
rule!(reflection_with_aligned_corners: SHAPES, in -3.5..3.5, |x: 4, grid: 4| {
    sampled(x, grid, GridSamplePaddingMode::Reflection, true)
});
