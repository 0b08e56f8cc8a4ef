//! Sampling of images at points that may themselves depend on parameters.

use burn_backend::ops::{
    BoolTensorOps, FloatTensorOps, GridSampleOptions, GridSamplePaddingMode, IntTensorOps,
    InterpolateMode,
};
use burn_backend::{Shape, Slice};
use burn_dispatch::Dispatch as D;
use burn_ir::GridSample2dOpIr;

use super::float::{plus, times};
use super::selection::clamp;
use crate::context::Context;
use crate::dual::{Dual, Value, zeros_like};
use crate::error::JvpError;
use crate::tensors::untracked;

/// Where the grid moves, positions are computed in its own type: in half precision, and at points that are
/// not finite, samples are not those of burn's kernel, which computes them in `f64`.
pub(super) fn grid_sample(cx: &mut Context<'_>, o: &GridSample2dOpIr) -> Result<(), JvpError> {
    let (x, grid) = (cx.get(&o.tensor)?, cx.get(&o.grid)?);
    let options: GridSampleOptions = o.options.clone().into();
    if !grid.is_active() {
        let sample = |x| D::float_grid_sample_2d(x, grid.value.clone(), options.clone());
        return cx.set(&o.out, x.linear(sample));
    }
    if !matches!(options.mode, InterpolateMode::Bilinear) {
        return Err(JvpError::no_rule(format!(
            "Float::GridSample2d in mode {:?}, with a grid that depends on the parameters",
            options.mode
        )));
    }
    let [_, _, height, width] = o.tensor.shape.dims();
    let columns = Axis::new(cx, &grid, 0, width, &options);
    let rows = Axis::new(cx, &grid, 1, height, &options);
    let y = bilinear(x, &columns, &rows, options.padding_mode);
    cx.set(&o.out, y.reshape(o.out.shape.clone()))
}

/// Where the points are along one axis of the image, shapes `[batch, 1, points]`.
struct Axis {
    /// The pixels before and behind each point, and whether they lie outside.
    sides: [(Value, Value); 2],
    /// The weights of both.
    weights: [Dual; 2],
    size: usize,
}

impl Axis {
    fn new(
        cx: &Context<'_>,
        grid: &Dual,
        axis: usize,
        size: usize,
        options: &GridSampleOptions,
    ) -> Self {
        let [batch, height, width, _] = grid.shape().dims();
        let at = |n: usize| Slice::new(0, Some(n as isize), 1);
        let own = Slice::new(axis as isize, Some(axis as isize + 1), 1);
        let ranges = [at(batch), at(height), at(width), own];
        let position = grid
            .clone()
            .linear(|grid| D::float_slice(grid, &ranges))
            .reshape(Shape::new([batch, 1, height * width]));
        let position = pixels(position, size, options);
        let floor = D::float_floor(untracked(position.value.clone()));
        let sides = [0.0, 1.0].map(|step| {
            let pixel = D::float_into_int(plus(floor.clone(), step), cx.int_dtype());
            let inside = D::int_clamp(pixel.clone(), 0.into(), (size as i64 - 1).into());
            let outside = D::int_not_equal(pixel, inside.clone(), cx.bool_dtype());
            (inside, outside)
        });
        let behind = position.sub(Dual::constant(floor));
        let before = behind.clone().scale(-1.0).shift(1.0);
        Self {
            sides,
            weights: [before, behind],
            size,
        }
    }
}

/// The sum over the four pixels around each point.
fn bilinear(x: Dual, columns: &Axis, rows: &Axis, padding: GridSamplePaddingMode) -> Dual {
    let [batch, channels, height, width] = x.shape().dims();
    let x = x.reshape(Shape::new([batch, channels, height * width]));
    let corner = |row: usize, column: usize| {
        let ((top, above), (left, beside)) = (&rows.sides[row], &columns.sides[column]);
        let line = D::int_mul_scalar(top.clone(), (columns.size as i64).into());
        let at = D::int_add(line, left.clone());
        let weight = rows.weights[row]
            .clone()
            .mul(columns.weights[column].clone());
        let mut shape = weight.shape();
        shape[1] = channels;
        let mut sample = x.clone().gather(2, D::int_expand(at, shape.clone()));
        if padding == GridSamplePaddingMode::Zeros {
            let outside = D::bool_or(above.clone(), beside.clone());
            sample = sample.mask_fill(D::bool_expand(outside, shape), 0.0.into());
        }
        sample.mul(weight)
    };
    corner(0, 0)
        .add(corner(0, 1))
        .add(corner(1, 0))
        .add(corner(1, 1))
}

/// Coordinates in -1..1 as positions in pixels, with what lies beyond the border moved as the
/// padding says.
fn pixels(position: Dual, size: usize, options: &GridSampleOptions) -> Dual {
    let last = size as f64 - 1.0;
    // Half a pixel lies beyond the centres of the outermost ones.
    let margin = if options.align_corners { 0.0 } else { 0.5 };
    let span = last + 2.0 * margin;
    let position = position.shift(1.0).scale(span / 2.0).shift(-margin);
    match options.padding_mode {
        GridSamplePaddingMode::Zeros => position,
        GridSamplePaddingMode::Border => clamp(position, Some(0.0.into()), Some(last.into())),
        GridSamplePaddingMode::Reflection if span <= 0.0 => {
            Dual::constant(zeros_like(&position.value))
        }
        GridSamplePaddingMode::Reflection => {
            let distance = magnitude(position.shift(margin));
            let turns = times(untracked(distance.value.clone()), 0.5 / span);
            let turns = times(D::float_floor(turns), 2.0 * span);
            let within = distance.sub(Dual::constant(turns)).shift(-span);
            magnitude(within).scale(-1.0).shift(span - margin)
        }
    }
}

fn magnitude(x: Dual) -> Dual {
    x.unary(D::float_abs, |x, _| D::float_sign(x))
}
