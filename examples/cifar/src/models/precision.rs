//! Mixed precision.

use burn::nn::Linear;
use burn::nn::conv::Conv2d;
use burn::tensor::module::{conv2d, linear};
use burn::tensor::ops::ConvOptions;
use burn::tensor::{Device, FloatDType, Tensor};
use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use super::ModelError;

/// The element type in which convolutions and matrix products are computed.
///
/// burn 0.22 has no automatic mixed precision, so the models do it themselves: inputs and weights of
/// a product are rounded for the product alone and its result goes on in `f32`, as does everything
/// else (normalisation, softmax, residual sums, loss). Weights, gradients and optimizer state are
/// `f32`. There is no loss scaling: gradients inside a product below 6e-8 vanish in `f16`, so prefer
/// `bf16`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// All in `f32`.
    #[default]
    F32,
    /// Products in `bf16`: 8 bits of precision, the range of `f32`.
    Bf16,
    /// Products in `f16`: 11 bits of precision, numbers up to 65504.
    F16,
}

impl Precision {
    /// The element type of products; `None` where nothing is rounded.
    fn rounded(self) -> Option<FloatDType> {
        match self {
            Precision::F32 => None,
            Precision::Bf16 => Some(FloatDType::BF16),
            Precision::F16 => Some(FloatDType::F16),
        }
    }

    /// Whether the device can compute in this precision.
    ///
    /// # Errors
    /// [`ModelError::Precision`].
    pub fn check(self, device: &Device) -> Result<(), ModelError> {
        match self.rounded() {
            Some(dtype) if !device.supports_dtype(dtype) => Err(ModelError::Precision {
                precision: self,
                device: format!("{device:?}"),
            }),
            _ => Ok(()),
        }
    }

    /// A convolution without dilation and groups, of odd kernel size and padded by half of it.
    pub(super) fn conv(self, layer: &Conv2d, x: Tensor<4>) -> Tensor<4> {
        let Some(dtype) = self.rounded() else {
            return layer.forward(x);
        };
        let padding = layer.kernel_size.map(|size| size / 2);
        let options = ConvOptions::new(layer.stride, padding, [1, 1], 1);
        let weight = layer.weight.val().cast(dtype);
        conv2d(x.cast(dtype), weight, None, options).cast(FloatDType::F32)
    }

    /// A linear layer; its bias is added in `f32`.
    pub(super) fn linear<const D: usize>(self, layer: &Linear, x: Tensor<D>) -> Tensor<D> {
        let Some(dtype) = self.rounded() else {
            return layer.forward(x);
        };
        let product = linear(x.cast(dtype), layer.weight.val().cast(dtype), None);
        let product = product.cast(FloatDType::F32);
        match &layer.bias {
            Some(bias) => product + bias.val().unsqueeze(),
            None => product,
        }
    }

    /// A product of stacks of matrices.
    pub(super) fn matmul(self, a: Tensor<4>, b: Tensor<4>) -> Tensor<4> {
        match self.rounded() {
            None => a.matmul(b),
            Some(dtype) => a.cast(dtype).matmul(b.cast(dtype)).cast(FloatDType::F32),
        }
    }
}
