//! A detector with anchors: boxes, overlaps, focal loss, gathers and masks.

use burn::module::Module;
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::interpolate::{Interpolate2d, Interpolate2dConfig, InterpolateMode};
use burn::nn::pool::{MaxPool2d, MaxPool2dConfig};
use burn::nn::{BatchNorm, BatchNormConfig, Dropout, DropoutConfig, PaddingConfig2d};
use burn::tensor::{Bool, Device, Int, Tensor, activation, s};

use crate::turns::{holds, integers, numbers, turn};

const ANCHORS: usize = 2;
const CLASSES: usize = 3;
const SIDE: usize = 4;

/// Convolution, batch normalisation and SiLU, as in YOLOX.
#[derive(Module, Debug)]
struct BaseConv {
    conv: Conv2d,
    norm: BatchNorm,
}

impl BaseConv {
    fn new(channels: [usize; 2], stride: usize, device: &Device) -> Self {
        let config = Conv2dConfig::new(channels, [3, 3]).with_stride([stride, stride]);
        Self {
            conv: config
                .with_padding(PaddingConfig2d::Explicit(1, 1, 1, 1))
                .with_bias(false)
                .init(device),
            norm: BatchNormConfig::new(channels[1]).init(device),
        }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        activation::silu(self.norm.forward(self.conv.forward(x)))
    }
}

/// Two scales joined by upsampling, pooling at one place, and a head for each of boxes and classes.
#[derive(Module, Debug)]
struct Detector {
    stem: BaseConv,
    deep: BaseConv,
    pool: MaxPool2d,
    up: Interpolate2d,
    joined: BaseConv,
    dropout: Dropout,
    boxes: Conv2d,
    classes: Conv2d,
}

impl Detector {
    fn new(dropout: f64, device: &Device) -> Self {
        let head = |outputs| Conv2dConfig::new([4, ANCHORS * outputs], [1, 1]).init(device);
        Self {
            stem: BaseConv::new([2, 3], 2, device),
            deep: BaseConv::new([3, 4], 2, device),
            pool: MaxPool2dConfig::new([3, 3])
                .with_strides([1, 1])
                .with_padding(PaddingConfig2d::Explicit(1, 1, 1, 1))
                .init(),
            up: Interpolate2dConfig::new()
                .with_scale_factor(Some([2.0, 2.0]))
                .with_mode(InterpolateMode::Nearest)
                .init(),
            joined: BaseConv::new([7, 4], 1, device),
            dropout: DropoutConfig::new(dropout).init(),
            boxes: head(5),
            classes: head(CLASSES),
        }
    }

    /// Boxes and objectness, and class logits, of every anchor: `[places, 5]` and `[places, CLASSES]`.
    fn forward(&self, images: Tensor<4>) -> (Tensor<2>, Tensor<2>) {
        let wide = self.stem.forward(images);
        let deep = self.pool.forward(self.deep.forward(wide.clone()));
        let x = Tensor::cat(vec![wide, self.up.forward(deep)], 1);
        let x = self.dropout.forward(self.joined.forward(x));
        let rows = |x: Tensor<4>, outputs: usize| {
            let batch = x.dims()[0];
            x.reshape([batch, ANCHORS, outputs, SIDE * SIDE])
                .swap_dims(2, 3)
                .reshape([batch * ANCHORS * SIDE * SIDE, outputs])
        };
        let boxes = rows(self.boxes.forward(x.clone()), 5);
        (boxes, rows(self.classes.forward(x), CLASSES))
    }
}

/// Corners of boxes given by centre and size.
fn corners(boxes: Tensor<2>) -> (Tensor<2>, Tensor<2>) {
    let centre = boxes.clone().slice(s![.., 0..2]);
    let half = boxes.slice(s![.., 2..4]).mul_scalar(0.5);
    (centre.clone() - half.clone(), centre + half)
}

fn area((low, high): (Tensor<2>, Tensor<2>)) -> Tensor<1> {
    let size = (high - low).clamp_min(0.0);
    (size.clone().slice(s![.., 0..1]) * size.slice(s![.., 1..2])).squeeze_dim(1)
}

/// The generalised intersection over union of each pair.
fn overlap(a: Tensor<2>, b: Tensor<2>) -> Tensor<1> {
    let ((a_low, a_high), (b_low, b_high)) = (corners(a), corners(b));
    let inside = area((
        a_low.clone().max_pair(b_low.clone()),
        a_high.clone().min_pair(b_high.clone()),
    ));
    let around = area((
        a_low.clone().min_pair(b_low.clone()),
        a_high.clone().max_pair(b_high.clone()),
    ));
    let both = area((a_low, a_high)) + area((b_low, b_high)) - inside.clone();
    inside / (both.clone() + 1e-6) - (around.clone() - both) / (around + 1e-6)
}

/// What is to be found: images, anchors, the places of the objects with their boxes and classes,
/// and which places count in none.
type Targets = (
    Tensor<4>,
    Tensor<2>,
    Tensor<1, Int>,
    Tensor<2>,
    Tensor<2, Int>,
    Tensor<1, Bool>,
);

fn loss(
    model: &Detector,
    (images, anchors, places, boxes, classes, ignored): &Targets,
) -> Tensor<1> {
    let (raw, logits) = model.forward(images.clone());
    let n = raw.dims()[0];
    let device = raw.device();
    // Each place's cell, and the anchor of each place.
    let places_in_grid = Tensor::<1, Int>::arange(0..n as i64, &device);
    let cell = places_in_grid
        .clone()
        .remainder_scalar((SIDE * SIDE) as i64);
    let column = cell.clone().remainder_scalar(SIDE as i64);
    let row = cell.div_scalar(SIDE as i64);
    let grid = Tensor::stack::<2>(vec![column, row], 1)
        .float()
        .cast(raw.dtype());
    let anchor = places_in_grid
        .div_scalar((SIDE * SIDE) as i64)
        .remainder_scalar(ANCHORS as i64);
    let size = anchors.clone().select(0, anchor);
    let centre = activation::sigmoid(raw.clone().slice(s![.., 0..2])) + grid;
    let extent = raw.clone().slice(s![.., 2..4]).clamp(-3.0, 3.0).exp() * size;
    let found = Tensor::cat(vec![centre, extent], 1).select(0, places.clone());
    let of_boxes = overlap(found, boxes.clone()).neg().add_scalar(1.0).mean();

    // Focal loss of objectness, with a one where there is an object.
    let objectness = raw.slice(s![.., 4..5]).squeeze_dim::<1>(1);
    let present = objectness.zeros_like().scatter(
        0,
        places.clone(),
        objectness.ones_like().select(0, places.clone()),
        burn::tensor::IndexingUpdateOp::Add,
    );
    let sign = present.mul_scalar(2.0).sub_scalar(1.0);
    let logit = objectness * sign;
    let missed = activation::sigmoid(logit.clone().neg());
    let focal = missed.powi_scalar(2) * activation::log_sigmoid(logit).neg();
    let of_objects = focal.mask_fill(ignored.clone(), 0.0).sum() / boxes.dims()[0] as f64;

    let log = activation::log_softmax(logits.select(0, places.clone()), 1);
    let of_classes = log.gather(1, classes.clone()).mean().neg();
    of_boxes.mul_scalar(5.0) + of_objects + of_classes
}

fn targets(device: &Device) -> Targets {
    let n = 3 * ANCHORS * SIDE * SIDE;
    let places = Tensor::<1, Int>::from_data([5, 17, 38, 63, 90], device);
    let centres = numbers([5, 2], 7, device).add_scalar(1.7);
    let sizes = numbers([5, 2], 8, device).abs().add_scalar(0.6);
    (
        numbers([3, 2, 8, 8], 3, device),
        numbers([ANCHORS, 2], 4, device).abs().add_scalar(0.5),
        places,
        Tensor::cat(vec![centres, sizes], 1),
        integers([5, 1], CLASSES, 2, device),
        integers([n], 7, 1, device).equal_elem(3),
    )
}

#[test]
fn a_detection_head() {
    let _turn = turn();
    for dropout in [0.0, 0.3] {
        let make = |device: &Device| Detector::new(dropout, device);
        holds("detector", make, targets, loss);
    }
}
