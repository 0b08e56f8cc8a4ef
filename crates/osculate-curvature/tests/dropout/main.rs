//! Dropout in training mode: products see the masks of the clean pass.
//!
//! The CPU backends have one generator for the whole program, so these tests take turns, in a
//! program of their own.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    dead_code,
    reason = "a test that cannot go on fails; helpers are shared with another program"
)]

#[path = "../exact/checks.rs"]
mod checks;
#[path = "../exact/models.rs"]
mod models;
#[path = "../exact/training_models.rs"]
mod training_models;

use std::sync::{Mutex, MutexGuard, PoisonError};

use burn::module::Module;
use burn::nn::{BatchNorm, BatchNormConfig, Dropout, DropoutConfig, Linear, LinearConfig};
use burn::tensor::{Bool, DType, Device, Tensor, activation};
use osculate_curvature::{
    Batched, CurvatureOperator, GradientOracle, Hessian, ParamVec, Provenance,
};

use crate::checks::{assert_exact, devices, exact, tensor};
use crate::models::fill;
use crate::training_models::{Block, Unet, Vgg, classifier, segmentation};

fn generator() -> MutexGuard<'static, ()> {
    static GENERATOR: Mutex<()> = Mutex::new(());
    GENERATOR.lock().unwrap_or_else(PoisonError::into_inner)
}

#[test]
fn a_classifier() {
    let _generator = generator();
    for device in devices() {
        let vgg = fill(Vgg::new(0.4, &device), DType::F64);
        classifier("vgg", &vgg, Vgg::forward, &device);
    }
}

#[test]
fn a_segmentation_network() {
    let _generator = generator();
    let device = Device::flex().autodiff();
    let model = fill(Unet::new(0.3, &device), DType::F64);
    assert_exact("unet", &model, &segmentation(&device));
}

#[test]
fn transformers_with_padding_and_shared_layers() {
    let _generator = generator();
    let device = Device::flex().autodiff();
    let x = tensor([3, 4, 4], 3, &device, DType::F64);
    let padding = Tensor::<2, Bool>::from_data(
        [
            [false, false, false, true],
            [false, false, false, false],
            [false, false, true, true],
        ],
        &device,
    );
    for (dropout, times) in [(0.0, 1), (0.2, 1), (0.2, 3)] {
        let model = fill(Block::new(dropout, &device), DType::F64);
        let objective = Batched::new(
            (x.clone(), padding.clone()),
            move |model: &Block, (x, padding): &(Tensor<3>, Tensor<2, Bool>)| {
                model.forward(x.clone(), padding, times).square().mean()
            },
        );
        assert_exact("transformer", &model, &objective);
    }
}

#[derive(Module, Debug)]
struct Noisy {
    dropout: Dropout,
    layer: Linear,
}

#[test]
fn several_products_see_one_mask() {
    let _generator = generator();
    let device = Device::flex().autodiff();
    let model = Noisy {
        dropout: DropoutConfig::new(0.5).init(),
        layer: fill(LinearConfig::new(4, 3).init(&device), DType::F64),
    };
    let objective = Batched::new(
        tensor([6, 4], 3, &device, DType::F64),
        |model: &Noisy, x: &Tensor<2>| {
            let hidden = activation::tanh(model.layer.forward(model.dropout.forward(x.clone())));
            // A mask that nothing reads moves the generator all the same.
            let _ = model.dropout.forward(hidden.clone());
            model.dropout.forward(hidden).square().mean()
        },
    );
    assert_exact("dropout", &model, &objective);
    let oracle = GradientOracle::new(&model, &objective).with_seed(3);
    let hessian = exact(&oracle);
    let vectors: Vec<ParamVec> = (0..4)
        .map(|k| ParamVec::gaussian(&hessian.layout(), k))
        .collect();
    let at_once = hessian.apply_many(&vectors).unwrap();
    for (v, product) in vectors.iter().zip(at_once) {
        let alone = hessian.apply(v).unwrap();
        assert_eq!(alone.value.to_values(), product.value.to_values());
    }
    let other = GradientOracle::new(&model, &objective).with_seed(4);
    let other = exact(&other).apply(&vectors[0]).unwrap();
    assert_ne!(
        other.value.to_values(),
        hessian.apply(&vectors[0]).unwrap().value.to_values()
    );
}

#[derive(Module, Debug)]
struct Net {
    first: Linear,
    norm: BatchNorm,
    dropout: Dropout,
    head: Linear,
}

#[derive(Clone, Copy)]
enum Layer {
    Norm,
    Dropout,
    Neither,
}

impl Net {
    fn new(device: &Device) -> Self {
        Self {
            first: LinearConfig::new(3, 4).init(device),
            norm: BatchNormConfig::new(4).init(device),
            dropout: DropoutConfig::new(0.4).init(),
            head: LinearConfig::new(4, 1).init(device),
        }
    }

    fn loss(&self, x: Tensor<2>, layer: Layer) -> Tensor<1> {
        let x = self.first.forward(x);
        let x = match layer {
            Layer::Norm => self.norm.forward(x),
            Layer::Dropout => self.dropout.forward(x),
            Layer::Neither => x,
        };
        self.head.forward(activation::tanh(x)).square().mean()
    }
}

#[test]
fn what_differs_in_training_is_found_out() {
    let _generator = generator();
    let device = Device::flex().autodiff();
    let x = tensor([5, 3], 2, &device, DType::F64);
    for (layer, zero_head) in [
        (Layer::Norm, false),
        (Layer::Dropout, false),
        (Layer::Dropout, true),
        (Layer::Neither, false),
    ] {
        let mut model = fill(Net::new(&device), DType::F64);
        if zero_head {
            // Outputs do not depend on what dropout does; derivatives do.
            model.head.weight = model.head.weight.map(|w| w.zeros_like().require_grad());
        }
        let objective = Batched::new(x.clone(), move |model: &Net, x: &Tensor<2>| {
            model.loss(x.clone(), layer)
        });
        let oracle = GradientOracle::new(&model, &objective);
        let hessian = Hessian::new(&oracle).unwrap();
        let v = ParamVec::gaussian(&hessian.layout(), 7);
        for product in [hessian.apply_probe(&v).unwrap(), hessian.apply(&v).unwrap()] {
            assert_eq!(product.provenance, Provenance::Exact);
        }
        assert_eq!(hessian.fallback(), None);
    }
}
