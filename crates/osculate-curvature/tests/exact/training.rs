//! Batch normalisation in training mode: statistics and their derivatives are those of the batch.

use burn::module::Module;
use burn::tensor::{DType, Device, Tensor, activation};
use osculate_curvature::{
    Accumulated, Batched, Criterion, CurvatureOperator, GaussNewton, GradientOracle, Held, HvpMode,
    Objective, ParamVec, Provenance, SupervisedBatch,
};

use crate::checks::{assert_exact, devices, exact, tensor};
use crate::models::fill;
use crate::training_models::{
    Critic, Depthwise, Gan, Generator, Residual, Unet, Vgg, classifier, labels, segmentation,
};

#[test]
fn convolutional_classifiers() {
    for device in devices() {
        let residual = fill(Residual::new(&device), DType::F64);
        classifier("residual", &residual, Residual::forward, &device);
        let frozen = residual.with_frozen_norm();
        classifier("one frozen norm", &frozen, Residual::forward, &device);
        let depthwise = fill(Depthwise::new(&device), DType::F64);
        classifier("depthwise", &depthwise, Depthwise::forward, &device);
        let vgg = fill(Vgg::new(0.0, &device), DType::F64);
        classifier("vgg", &vgg, Vgg::forward, &device);
    }
}

#[test]
fn a_generator_and_its_critic() {
    let device = Device::flex().autodiff();
    let latent = tensor([6, 2], 3, &device, DType::F64);
    let critic = fill(Critic::new(&device), DType::F64);
    let generator = fill(Generator::new(&device), DType::F64);

    let gan = Gan {
        generator: generator.clone(),
        critic: critic.clone().freeze(),
    };
    let objective = Batched::new(latent.clone(), |gan: &Gan, latent: &Tensor<2>| {
        let fake = gan.generator.forward(latent.clone());
        activation::softplus(gan.critic.forward(fake).neg(), 1.0).mean()
    });
    assert_exact("critic in the module", &gan, &objective);

    let held = Batched::new(
        (latent, Held::new(&critic)),
        |generator: &Generator, (latent, critic): &(Tensor<2>, Held<Critic>)| {
            let fake = generator.forward(latent.clone());
            activation::softplus(critic.forward(fake).neg(), 1.0).mean()
        },
    );
    assert_exact("critic handed over", &generator, &held);
}

#[test]
fn a_critic_that_normalises_two_batches_apart() {
    let device = Device::flex().autodiff();
    let model = fill(Critic::new(&device), DType::F64);
    let batch = (
        tensor([5, 3], 3, &device, DType::F64),
        tensor([4, 3], 4, &device, DType::F64),
    );
    // One batch normalisation in two batches of one pass.
    let objective = Batched::new(
        batch,
        |model: &Critic, (real, fake): &(Tensor<2>, Tensor<2>)| {
            let real = activation::softplus(model.forward(real.clone()).neg(), 1.0).mean();
            real + activation::softplus(model.forward(fake.clone()), 1.0).mean()
        },
    );
    assert_exact("critic", &model, &objective);
}

#[test]
fn accumulated_batches_are_normalised_apart() {
    let device = Device::flex().autodiff();
    let model = fill(Residual::new(&device), DType::F64);
    let part = |rows: usize, seed: usize| -> (Box<dyn Objective<Residual>>, usize) {
        let targets = labels(&device).narrow(0, 0, rows);
        let objective = SupervisedBatch::new(
            tensor([rows, 2, 5, 5], seed, &device, DType::F64),
            |model: &Residual, x: &Tensor<4>| model.forward(x.clone()),
            Criterion::cross_entropy(targets),
        );
        (Box::new(objective), rows)
    };
    let objective = Accumulated::new(vec![part(3, 1), part(5, 2)]);
    assert_exact("accumulated", &model, &objective);
    let oracle = GradientOracle::new(&model, &objective);
    let gauss_newton = GaussNewton::with_mode(&oracle, HvpMode::Exact).unwrap();
    let v = ParamVec::gaussian(&gauss_newton.layout(), 3);
    let got = gauss_newton.apply(&v).unwrap();
    assert_eq!(got.provenance, Provenance::Exact);
    let form = gauss_newton.quadratic_form(&v).unwrap();
    assert!((form - v.dot(&got.value)).abs() < 1e-12 * form);
}

#[test]
fn running_statistics_move_once() {
    let device = Device::flex().autodiff();
    let x = tensor([5, 2, 6, 6], 3, &device, DType::F64);
    let objective = SupervisedBatch::new(
        x.clone(),
        |model: &Residual, x: &Tensor<4>| model.forward(x.clone()),
        Criterion::cross_entropy(labels(&device)),
    );
    let model = fill(Residual::new(&device), DType::F64);
    let before = model.statistics();
    let oracle = GradientOracle::new(&model, &objective);
    let hessian = exact(&oracle);
    let v = ParamVec::gaussian(&hessian.layout(), 1);
    hessian.apply(&v).unwrap();
    hessian.quadratic_form(&v).unwrap();
    assert_eq!(model.statistics(), before);
    let after = oracle.into_model().unwrap().statistics();
    let once = model.valid().train();
    once.forward(x);
    assert_eq!(after, once.statistics());
    assert_ne!(after, before);
}

#[test]
fn a_segmentation_network() {
    let device = Device::flex().autodiff();
    let model = fill(Unet::new(0.0, &device), DType::F64);
    assert_exact("unet", &model, &segmentation(&device));
}
