//! Batch normalisation in training mode: statistics and their derivatives are those of the batch.

use burn::module::Module;
use burn::tensor::{DType, Device, Tensor, activation};
use osculate_curvature::{
    Accumulated, Batched, Criterion, CurvatureOperator, GaussNewton, GradientOracle, Held,
    HutchinsonConfig, HvpMode, LanczosConfig, Objective, ParamVec, Provenance, SupervisedBatch,
    dense_matrix, hutchinson_trace, lanczos,
};

use crate::checks::{assert_exact, devices, distance, exact, tensor};
use crate::models::{Mlp, fill};
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

#[test]
fn spectra_in_single_precision_are_those_in_double() {
    let device = Device::flex().autodiff();
    let measure = |dtype: DType| {
        let objective = SupervisedBatch::new(
            tensor([5, 2, 6, 6], 3, &device, dtype),
            |model: &Residual, x: &Tensor<4>| model.forward(x.clone()),
            Criterion::cross_entropy(labels(&device)),
        );
        let model = fill(Residual::new(&device), dtype);
        let oracle = GradientOracle::new(&model, &objective);
        let hessian = exact(&oracle);
        let spectrum = lanczos(&hessian, &LanczosConfig::default()).unwrap();
        let trace = hutchinson_trace(&hessian, &HutchinsonConfig::default()).unwrap();
        for provenance in [spectrum.provenance, trace.provenance] {
            assert_eq!(provenance, Provenance::Exact);
        }
        assert!(spectrum.converged && trace.converged);
        let largest = spectrum.largest.iter().map(|pair| pair.value);
        largest.chain([trace.value]).collect::<Vec<f64>>()
    };
    let (single, double) = (measure(DType::F32), measure(DType::F64));
    for (single, double) in single.iter().zip(&double) {
        assert!(
            (single - double).abs() <= 1e-3 * double.abs(),
            "{single} and {double}"
        );
    }
}

#[test]
fn a_batch_without_samples_weighs_nothing() {
    let device = Device::flex().autodiff();
    let model = fill(Critic::new(&device), DType::F64);
    let part = |factor: f64, samples: usize| -> (Box<dyn Objective<Critic>>, usize) {
        let x = tensor([4, 3], 3, &device, DType::F64).mul_scalar(factor);
        let objective = Batched::new(x, |model: &Critic, x: &Tensor<2>| {
            model.forward(x.clone()).square().mean()
        });
        (Box::new(objective), samples)
    };
    let objective = Accumulated::new(vec![part(1.0, 5), part(f64::NAN, 0)]);
    let oracle = GradientOracle::new(&model, &objective);
    assert!(oracle.clean().unwrap().gradient.norm().is_finite());
    assert_exact("one part", &model, &objective);
    let nothing = Accumulated::new(vec![part(1.0, 0)]);
    let error = GradientOracle::new(&model, &nothing).clean().unwrap_err();
    assert!(
        error.to_string().contains("no batch with samples"),
        "{error}"
    );
}

#[test]
fn a_gauss_newton_product_is_not_an_approximation_of_burn() {
    // ndarray's own backward pass of GELU is off by 4.5e-5 in `f64`.
    let products = devices().map(|device| {
        let model = fill(Mlp::new(true, [3, 4, 3], &device), DType::F64);
        let objective = SupervisedBatch::new(
            tensor([5, 3], 11, &device, DType::F64),
            |model: &Mlp, x: &Tensor<2>| model.forward(x.clone()),
            Criterion::mse(tensor([5, 3], 12, &device, DType::F64)),
        );
        let oracle = GradientOracle::new(&model, &objective);
        let operator = GaussNewton::with_mode(&oracle, HvpMode::Exact).unwrap();
        let dense = dense_matrix(&operator).unwrap();
        let n = operator.layout().num_elements();
        let transposed: Vec<f64> = (0..n * n).map(|k| dense[(k % n) * n + k / n]).collect();
        distance(&dense, &transposed)
    });
    assert!(products.iter().all(|off| *off < 1e-6), "{products:?}");
}
