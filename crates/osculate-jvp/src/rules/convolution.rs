//! Affine maps with a weight that may itself depend on parameters: linear layers and convolutions.

use burn_backend::ops::{FloatTensorOps, ModuleOps};
use burn_dispatch::Dispatch as D;
use burn_ir::{
    Conv1dOpIr, Conv2dOpIr, Conv3dOpIr, ConvTranspose1dOpIr, ConvTranspose2dOpIr,
    ConvTranspose3dOpIr, LinearOpIr, TensorIr,
};

use super::normalization::along;
use crate::context::Context;
use crate::dual::{Value, fit, merge, sum};
use crate::error::JvpError;

/// `f(x, w) + b` for a bilinear `f`, with tangent `f(ẋ, w) + f(x, ẇ) + ḃ`. The bias lies along
/// dimension `channel` of the result.
fn affine(
    cx: &mut Context<'_>,
    [x, weight, out]: [&TensorIr; 3],
    bias: Option<&TensorIr>,
    channel: usize,
    f: impl Fn(Value, Value, Option<Value>) -> Value,
) -> Result<(), JvpError> {
    let (x, weight) = (cx.get(x)?, cx.get(weight)?);
    let bias = cx.get_optional(bias)?;
    let y = f(
        x.value.clone(),
        weight.value.clone(),
        bias.as_ref().map(|bias| bias.value.clone()),
    );
    let shape = out.shape.clone();
    let flat = along(&shape, channel);
    let sources: Vec<_> = [&x, &weight].into_iter().chain(bias.as_ref()).collect();
    let y = merge(y, &sources, |direction| {
        // A bias with a tangent rides along in the product, where kernels fuse it.
        let mut shift = bias
            .as_ref()
            .and_then(|bias| bias.tangent(direction))
            .cloned();
        let left = x
            .tangent(direction)
            .map(|d| f(d.clone(), weight.value.clone(), shift.take()));
        let right = weight
            .tangent(direction)
            .map(|d| f(x.value.clone(), d.clone(), shift.take()));
        let product = sum(left, right, &shape);
        match shift {
            None => product,
            Some(shift) => sum(
                product,
                Some(fit(D::float_reshape(shift, flat.clone()), &shape)),
                &shape,
            ),
        }
    });
    cx.set(out, y)
}

pub(super) fn linear(cx: &mut Context<'_>, o: &LinearOpIr) -> Result<(), JvpError> {
    let channel = o.out.shape.num_dims() - 1;
    affine(
        cx,
        [&o.x, &o.weight, &o.out],
        o.bias.as_ref(),
        channel,
        D::linear,
    )
}

macro_rules! convolution {
    ($name:ident, $operation:ty, $f:ident) => {
        pub(super) fn $name(cx: &mut Context<'_>, o: &$operation) -> Result<(), JvpError> {
            affine(
                cx,
                [&o.x, &o.weight, &o.out],
                o.bias.as_ref(),
                1,
                |x, w, b| D::$f(x, w, b, o.options.clone().into()),
            )
        }
    };
}

convolution!(conv1d, Conv1dOpIr, conv1d);
convolution!(conv2d, Conv2dOpIr, conv2d);
convolution!(conv3d, Conv3dOpIr, conv3d);
convolution!(conv_transpose1d, ConvTranspose1dOpIr, conv_transpose1d);
convolution!(conv_transpose2d, ConvTranspose2dOpIr, conv_transpose2d);
convolution!(conv_transpose3d, ConvTranspose3dOpIr, conv_transpose3d);
