use burn_backend::ops::{FloatTensorOps, InterpolateMode, InterpolateOptions, ModuleOps};
use burn_backend::{Shape, TensorData, TensorMetadata};
use burn_dispatch::Dispatch as D;
use burn_ir::InterpolateOpIr;

use crate::context::Context;
use crate::dual::Value;
use crate::error::JvpError;

/// Interpolation as `H x Wᵀ`, with the matrices that interpolate each dimension.
///
/// It is linear and the dimensions are independent in every mode. Some backends have no backward pass
/// for some modes; all have one for products.
pub(super) fn interpolate(cx: &mut Context<'_>, o: &InterpolateOpIr) -> Result<(), JvpError> {
    let options: InterpolateOptions = o.options.clone().into();
    if matches!(options.mode, InterpolateMode::Nearest) {
        return cx.linear(&o.x, &o.out, |x| {
            D::interpolate(x, o.output_size, options.clone())
        });
    }
    let x = cx.get(&o.x)?;
    let shape = x.shape();
    let [rows, columns] = [2, 3].map(|dim| {
        let (from, to) = (shape[dim], o.output_size[dim - 2]);
        weights(&x.value, (from, to), &options)
    });
    let columns = D::float_swap_dims(columns, 2, 3);
    cx.set(
        &o.out,
        x.linear(|x| {
            let tall = D::float_matmul(rows.clone(), x);
            D::float_matmul(tall, columns.clone())
        }),
    )
}

/// The matrix `[1, 1, to, from]` that interpolates a dimension: what becomes of the identity where
/// its other dimension keeps its size.
fn weights(like: &Value, (from, to): (usize, usize), options: &InterpolateOptions) -> Value {
    let eye: Vec<f32> = (0..from * from)
        .map(|k| if k % (from + 1) == 0 { 1.0 } else { 0.0 })
        .collect();
    let data = TensorData::new(eye, Shape::new([1, 1, from, from])).convert_dtype(like.dtype());
    let eye = D::float_from_data(data, &like.device());
    D::interpolate(eye, [to, from], options.clone())
}
