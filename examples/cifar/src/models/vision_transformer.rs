//! A small vision transformer, after Dosovitskiy et al., <https://arxiv.org/abs/2010.11929>.

use burn::module::{Module, Param};
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::{LayerNorm, LayerNormConfig, Linear, LinearConfig};
use burn::tensor::activation::{gelu, softmax};
use burn::tensor::{Device, Tensor};

use super::ModelError;
use super::precision::Precision;
use crate::data::ImageShape;

const WIDTH: usize = 128;
const DEPTH: usize = 6;
const HEADS: usize = 4;
/// Images of shorter sides are cut into patches of 2 x 2 instead of 4 x 4, to have enough of them.
const SMALL_SIDE: usize = 16;

/// Six pre-norm blocks of width 128 on patches of 4 x 4 pixels, with learned positions and the mean
/// over the patches as output.
#[derive(Module, Debug)]
pub struct VisionTransformer {
    patches: Conv2d,
    /// One row for each patch. A matrix, whose weights are drawn large enough to be seen beside the
    /// patches.
    positions: Param<Tensor<2>>,
    blocks: Vec<Layer>,
    norm: LayerNorm,
    head: Linear,
    #[module(skip)]
    precision: Precision,
}

/// Self-attention and a network of four times the width, each after layer normalisation.
#[derive(Module, Debug)]
pub struct Layer {
    norm1: LayerNorm,
    query: Linear,
    key: Linear,
    value: Linear,
    output: Linear,
    norm2: LayerNorm,
    up: Linear,
    down: Linear,
    #[module(skip)]
    precision: Precision,
}

impl VisionTransformer {
    /// A network for images of this size.
    ///
    /// # Errors
    /// [`ModelError::Patches`] where the sides are no multiples of a patch.
    pub fn new(
        shape: ImageShape,
        classes: usize,
        precision: Precision,
        device: &Device,
    ) -> Result<Self, ModelError> {
        let small = shape.height.min(shape.width) < SMALL_SIDE;
        let patch = if small { 2 } else { 4 };
        let sides = [shape.height, shape.width];
        if sides.iter().any(|side| side % patch != 0) {
            return Err(ModelError::Patches { sides, patch });
        }
        let tokens = shape.plane() / (patch * patch);
        let patches = Conv2dConfig::new([shape.channels, WIDTH], [patch, patch])
            .with_stride([patch, patch])
            .init(device);
        Ok(Self {
            patches,
            positions: Param::from_tensor(Tensor::zeros([tokens, WIDTH], device)),
            blocks: (0..DEPTH).map(|_| Layer::new(precision, device)).collect(),
            norm: LayerNormConfig::new(WIDTH).init(device),
            head: LinearConfig::new(WIDTH, classes).init(device),
            precision,
        })
    }

    /// Logits `[rows, classes]` of images `[rows, channels, height, width]`.
    pub fn forward(&self, images: Tensor<4>) -> Tensor<2> {
        // The pixels come in as they are: a patch has few of them, so their rounding would cost
        // precision for no time.
        let patches = self.patches.forward(images);
        let x = patches.flatten::<3>(2, 3).swap_dims(1, 2) + self.positions.val().unsqueeze();
        let x = self.blocks.iter().fold(x, |x, block| block.forward(x));
        let pooled = self.norm.forward(x).mean_dim(1).squeeze_dim::<2>(1);
        self.precision.linear(&self.head, pooled)
    }
}

impl Layer {
    fn new(precision: Precision, device: &Device) -> Self {
        let linear = |from, to| LinearConfig::new(from, to).init(device);
        let norm = || LayerNormConfig::new(WIDTH).init(device);
        Self {
            norm1: norm(),
            query: linear(WIDTH, WIDTH),
            key: linear(WIDTH, WIDTH),
            value: linear(WIDTH, WIDTH),
            output: linear(WIDTH, WIDTH),
            norm2: norm(),
            up: linear(WIDTH, 4 * WIDTH),
            down: linear(4 * WIDTH, WIDTH),
            precision,
        }
    }

    fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let precision = self.precision;
        let x = x.clone() + self.attention(self.norm1.forward(x));
        let hidden = gelu(precision.linear(&self.up, self.norm2.forward(x.clone())));
        x + precision.linear(&self.down, hidden)
    }

    fn attention(&self, x: Tensor<3>) -> Tensor<3> {
        let [rows, tokens, width] = x.dims();
        let precision = self.precision;
        let heads = |layer: &Linear| {
            let y = precision.linear(layer, x.clone());
            y.reshape([rows, tokens, HEADS, width / HEADS])
                .swap_dims(1, 2)
        };
        let (query, key, value) = (heads(&self.query), heads(&self.key), heads(&self.value));
        let scale = ((width / HEADS) as f64).sqrt().recip();
        let scores = precision.matmul(query.mul_scalar(scale), key.swap_dims(2, 3));
        let mixed = precision.matmul(softmax(scores, 3), value);
        let mixed = mixed.swap_dims(1, 2).reshape([rows, tokens, width]);
        precision.linear(&self.output, mixed)
    }
}
