//! Maximum pooling, whose tangents are gathered at the positions of the maxima, and the backward pass of average
//! pooling.

use burn_backend::ops::{FloatTensorOps, IntTensorOps, ModuleOps};
use burn_backend::{IntDType, Shape, TensorMetadata};
use burn_dispatch::Dispatch as D;
use burn_ir::{
    AvgPool2dBackwardOpIr, MaxPool1dOpIr, MaxPool1dWithIndicesOpIr, MaxPool2dOpIr,
    MaxPool2dWithIndicesOpIr, TensorIr,
};

use super::backward::two;
use crate::context::Context;
use crate::dual::{Dual, Value};
use crate::error::JvpError;

/// Windows that tile the image get each one number, which burn's CPU backend spreads element by element with a test of
/// its bounds for each: ten times what a broadcast takes.
pub(super) fn average_2d_backward(
    cx: &mut Context<'_>,
    o: &AvgPool2dBackwardOpIr,
) -> Result<(), JvpError> {
    let [kernel_height, kernel_width] = o.kernel_size;
    let tiles = |[rows, columns]: [usize; 2], [height, width]: [usize; 2]| {
        rows * kernel_height == height && columns * kernel_width == width
    };
    two(cx, [&o.x, &o.grad, &o.out], |x, grad| {
        match (grad.shape().as_slice(), x.shape().as_slice()) {
            (&[n, channels, rows, columns], &[.., height, width])
                if o.stride == o.kernel_size
                    && o.padding == [0, 0]
                    && tiles([rows, columns], [height, width]) =>
            {
                let count = (kernel_height * kernel_width) as f64;
                let each = D::float_div_scalar(grad, count.into());
                let each = D::float_reshape(each, [n, channels, rows, 1, columns, 1].into());
                let window = [1, 1, 1, kernel_height, 1, kernel_width].into();
                let ones = D::float_ones(window, &x.device(), x.dtype().into());
                D::float_reshape(D::float_mul(each, ones), x.shape())
            }
            _ => D::avg_pool2d_backward(
                x,
                grad,
                o.kernel_size,
                o.stride,
                o.padding,
                o.count_include_pad,
                o.ceil_mode,
            ),
        }
    })
}

pub(super) fn max_1d(cx: &mut Context<'_>, o: &MaxPool1dOpIr) -> Result<(), JvpError> {
    let x = cx.get(&o.x)?;
    let pooled = D::max_pool1d_with_indices(
        x.value.clone(),
        o.kernel_size,
        o.stride,
        o.padding,
        o.dilation,
        o.ceil_mode,
        cx.int_dtype(),
    );
    cx.set(&o.out, at_maxima(x, pooled.output, pooled.indices, 1))
}

pub(super) fn max_1d_with_indices(
    cx: &mut Context<'_>,
    o: &MaxPool1dWithIndicesOpIr,
) -> Result<(), JvpError> {
    let x = cx.get(&o.x)?;
    let dtype: IntDType = o.out_indices.dtype.into();
    let pooled = D::max_pool1d_with_indices(
        x.value.clone(),
        o.kernel_size,
        o.stride,
        o.padding,
        o.dilation,
        o.ceil_mode,
        dtype,
    );
    set(
        cx,
        (&o.out, &o.out_indices),
        x,
        (pooled.output, pooled.indices),
        1,
    )
}

pub(super) fn max_2d(cx: &mut Context<'_>, o: &MaxPool2dOpIr) -> Result<(), JvpError> {
    let x = cx.get(&o.x)?;
    let pooled = D::max_pool2d_with_indices(
        x.value.clone(),
        o.kernel_size,
        o.stride,
        o.padding,
        o.dilation,
        o.ceil_mode,
        cx.int_dtype(),
    );
    cx.set(&o.out, at_maxima(x, pooled.output, pooled.indices, 2))
}

pub(super) fn max_2d_with_indices(
    cx: &mut Context<'_>,
    o: &MaxPool2dWithIndicesOpIr,
) -> Result<(), JvpError> {
    let x = cx.get(&o.x)?;
    let dtype: IntDType = o.out_indices.dtype.into();
    let pooled = D::max_pool2d_with_indices(
        x.value.clone(),
        o.kernel_size,
        o.stride,
        o.padding,
        o.dilation,
        o.ceil_mode,
        dtype,
    );
    set(
        cx,
        (&o.out, &o.out_indices),
        x,
        (pooled.output, pooled.indices),
        2,
    )
}

fn set(
    cx: &mut Context<'_>,
    (out, out_indices): (&TensorIr, &TensorIr),
    x: Dual,
    (y, at): (Value, Value),
    spatial: usize,
) -> Result<(), JvpError> {
    cx.set(out, at_maxima(x, y, at.clone(), spatial))?;
    cx.set_value(out_indices, at)
}

/// `y` with the tangents of `x` at `at`, which counts within the flattened spatial dimensions.
fn at_maxima(x: Dual, y: Value, at: Value, spatial: usize) -> Dual {
    if !x.is_active() {
        return Dual::constant(y);
    }
    let flatten = |shape: &Shape| {
        let dims = shape.as_slice();
        let lead = dims.len() - spatial;
        let mut flat = dims[..lead].to_vec();
        flat.push(dims[lead..].iter().product());
        Shape::from(flat)
    };
    let (input, output) = (flatten(&x.shape()), flatten(&y.shape()));
    let shape = y.shape();
    let at = D::int_reshape(at, output);
    let dim = input.num_dims() - 1;
    x.map_tangents(y, |d| {
        let flat = D::float_reshape(d, input.clone());
        D::float_reshape(D::float_gather(dim, flat, at.clone()), shape.clone())
    })
}
