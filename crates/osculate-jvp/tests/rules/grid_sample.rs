use burn::tensor::ops::{GridSampleOptions, GridSamplePaddingMode, InterpolateMode};
use burn::tensor::{Tensor, TensorData};

use crate::rule;

/// Images, and by how much points move.
const SHAPES: [([usize; 4], [usize; 4]); 2] =
    [([2, 2, 3, 4], [2, 2, 3, 2]), ([1, 1, 1, 2], [1, 1, 2, 2])];

/// Points inside and outside of the images, away from the lines where the slope jumps, for all sizes in
/// `SHAPES`, paddings and conventions.
const POINTS: [[f64; 2]; 6] = [
    [0.1, -0.5],
    [-0.66, 0.45],
    [1.34, 1.6],
    [-1.95, -2.4],
    [2.1, 0.35],
    [-0.1, -1.55],
];

fn points(moved: Tensor<4>) -> Tensor<4> {
    let dims = moved.dims();
    let count = dims.iter().product::<usize>() / 2;
    let values: Vec<f64> = (0..count).flat_map(|k| POINTS[k % POINTS.len()]).collect();
    let options = (&moved.device(), moved.dtype());
    Tensor::from_data(TensorData::new(values, dims), options) + moved.mul_scalar(0.02)
}

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
    sampled(x, points(grid), GridSamplePaddingMode::Zeros, false)
});
rule!(zeros_with_aligned_corners: SHAPES, in -1.2..1.2, |x: 4, grid: 4| {
    sampled(x, points(grid), GridSamplePaddingMode::Zeros, true)
});
rule!(border: SHAPES, in -1.2..1.2, |x: 4, grid: 4| {
    sampled(x, points(grid), GridSamplePaddingMode::Border, false)
});
rule!(border_with_aligned_corners: SHAPES, in -1.2..1.2, |x: 4, grid: 4| {
    sampled(x, points(grid), GridSamplePaddingMode::Border, true)
});
rule!(reflection: SHAPES, in -1.2..1.2, |x: 4, grid: 4| {
    sampled(x, points(grid), GridSamplePaddingMode::Reflection, false)
});
rule!(reflection_with_aligned_corners: SHAPES, in -1.2..1.2, |x: 4, grid: 4| {
    sampled(x, points(grid), GridSamplePaddingMode::Reflection, true)
});
