//! What the residual networks share.

use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::{BatchNorm, BatchNormConfig, PaddingConfig2d};
use burn::tensor::Device;

/// A square convolution without bias, padded by half of its odd size.
pub(super) fn conv([from, to]: [usize; 2], size: usize, stride: usize, device: &Device) -> Conv2d {
    let half = size / 2;
    Conv2dConfig::new([from, to], [size, size])
        .with_stride([stride, stride])
        .with_padding(PaddingConfig2d::Explicit(half, half, half, half))
        .with_bias(false)
        .init(device)
}

/// Batch normalisation.
pub(super) fn norm(channels: usize, device: &Device) -> BatchNorm {
    BatchNormConfig::new(channels).init(device)
}
