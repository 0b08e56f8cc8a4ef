//! Wrong input to every operator, estimator and solver: typed errors that say what to do.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on fails"
)]

mod estimators;
mod operators;
mod solvers;

use std::sync::Arc;

use burn::nn::{Linear, LinearConfig};
use burn::tensor::{Device, Int, Tensor};
use osculate_curvature::{
    Criterion, CurvatureError, DenseOperator, GradientOracle, ParamLayout, ParamVec, Structure,
    SupervisedBatch, assign,
};

/// Weights of the small models.
pub(crate) const SIZE: usize = 40;

pub(crate) fn device() -> Device {
    Device::flex().autodiff()
}

pub(crate) fn model() -> Linear {
    LinearConfig::new(SIZE, 1).with_bias(false).init(&device())
}

pub(crate) fn layout() -> Arc<ParamLayout> {
    let loss = |model: &Linear| model.weight.val().square().sum();
    GradientOracle::new(&model(), &loss).layout().unwrap()
}

/// A diagonal matrix.
pub(crate) fn diagonal(element: impl Fn(usize) -> f64, structure: Structure) -> DenseOperator {
    let elements = (0..SIZE * SIZE).map(|at| match (at / SIZE, at % SIZE) {
        (row, column) if row == column => element(row),
        _ => 0.0,
    });
    DenseOperator::new(layout(), elements.collect(), structure).unwrap()
}

/// Says that products are not finite, and where to look.
pub(crate) fn names_numbers<T: std::fmt::Debug>(what: &str, result: Result<T, CurvatureError>) {
    let error = result.expect_err(what);
    assert!(
        matches!(error, CurvatureError::NonFinite { .. }),
        "{what}: {error}"
    );
    assert!(
        error.to_string().contains("look for NaN"),
        "{what}: {error}"
    );
}

/// A classifier on so many rows, with its weights scaled.
pub(crate) fn classifier(rows: i64, scale: f64) -> (Linear, SupervisedBatch<Tensor<2>, Forward>) {
    let device = device();
    let model: Linear = LinearConfig::new(3, 2).init(&device);
    let batch = SupervisedBatch::new(
        Tensor::<2>::ones([rows as usize, 3], &device),
        forward as Forward,
        Criterion::cross_entropy(Tensor::<1, Int>::zeros([rows as usize], &device)),
    );
    let sum = |model: &Linear| {
        model
            .forward(Tensor::<2>::ones([1, 3], &crate::device()))
            .sum()
    };
    let layout = GradientOracle::new(&model, &sum).layout().unwrap();
    let weights = ParamVec::of_module(&model, &layout).scale(scale);
    (assign(model, &weights), batch)
}

pub(crate) type Forward = fn(&Linear, &Tensor<2>) -> Tensor<2>;

fn forward(model: &Linear, x: &Tensor<2>) -> Tensor<2> {
    model.forward(x.clone())
}
