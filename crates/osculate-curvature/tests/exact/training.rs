//! Networks in training mode: batch statistics and dropout masks are those of the clean pass.

use burn::module::Module;
use burn::nn::{Dropout, DropoutConfig, Linear, LinearConfig};
use burn::tensor::{Bool, DType, Device, Int, Tensor, activation};
use osculate_curvature::{
    Accumulated, Batched, Criterion, CurvatureOperator, GaussNewton, GradientOracle, Held, Hessian,
    HessianConfig, HvpMode, Objective, ParamVec, Provenance, Scheme, StepRule, SupervisedBatch,
};

use crate::checks::{devices, distance, exact, tensor};
use crate::models::fill;
use crate::training_models::{Block, Critic, Depthwise, Gan, Generator, Residual, Unet, Vgg};

/// The best of several central differences, relative to the exact product.
fn assert_exact<M: Module>(what: &str, model: &M, objective: &dyn Objective<M>) {
    let oracle = GradientOracle::new(model, objective).with_seed(5);
    let hessian = exact(&oracle);
    let layout = hessian.layout();
    let probes: Vec<ParamVec> = (0..2).map(|k| ParamVec::gaussian(&layout, k)).collect();
    let mut products = Vec::new();
    for v in &probes {
        let product = hessian.apply(v).unwrap();
        assert_eq!(product.provenance, Provenance::Exact, "{what}");
        let got = product.value.to_values();
        let best = [1e-2, 1e-3, 3e-4, 1e-4, 3e-5, 1e-5]
            .map(|length| {
                let config = HessianConfig {
                    mode: HvpMode::FiniteDifference,
                    scheme: Scheme::Richardson,
                    step: StepRule::Fixed { length },
                    estimate_error: false,
                };
                let differences = Hessian::with_config(&oracle, config).unwrap();
                distance(&got, &differences.apply(v).unwrap().value.to_values())
            })
            .into_iter()
            .fold(f64::INFINITY, f64::min);
        assert!(best < 1e-8, "{what}: {best:e} from the best difference");
        let form = v.dot(&product.value);
        let forward = hessian.quadratic_form(v).unwrap();
        let error = (forward - form).abs() / (1.0 + form.abs());
        assert!(error < 1e-10, "{what}: forward-only {forward} and {form}");
        products.push(product.value);
    }
    let (uhv, vhu) = (probes[0].dot(&products[1]), probes[1].dot(&products[0]));
    let scale = probes[0].norm() * products[1].norm();
    let defect = (uhv - vhu).abs() / scale;
    assert!(defect < 1e-12, "{what}: asymmetry {defect:e}");
}

fn labels(device: &Device) -> Tensor<1, Int> {
    Tensor::from_data([0, 2, 1, 1, 0], device)
}

fn classifier<M: Module>(
    what: &str,
    model: &M,
    forward: impl Fn(&M, Tensor<4>) -> Tensor<2>,
    device: &Device,
) {
    let objective = SupervisedBatch::new(
        tensor([5, 2, 6, 6], 3, device, DType::F64),
        move |model: &M, x: &Tensor<4>| forward(model, x.clone()),
        Criterion::cross_entropy(labels(device)),
    );
    assert_exact(what, model, &objective);
    // The same batch statistics and masks make the Jacobian.
    let oracle = GradientOracle::new(model, &objective).with_seed(5);
    let gauss_newton = GaussNewton::with_mode(&oracle, HvpMode::Exact).unwrap();
    let differences = GaussNewton::with_mode(&oracle, HvpMode::FiniteDifference).unwrap();
    let v = ParamVec::gaussian(&gauss_newton.layout(), 3);
    let got = gauss_newton.apply(&v).unwrap().value.to_values();
    let expected = differences.apply(&v).unwrap().value.to_values();
    let error = distance(&got, &expected);
    assert!(error < 1e-5, "{what}: Gauss-Newton {error:e}");
}

#[test]
fn convolutional_classifiers() {
    for device in devices() {
        let residual = fill(Residual::new(&device), DType::F64);
        classifier("residual", &residual, Residual::forward, &device);
        let frozen = residual.with_frozen_norm();
        classifier("one frozen norm", &frozen, Residual::forward, &device);
        let depthwise = fill(Depthwise::new(&device), DType::F64);
        classifier("depthwise", &depthwise, Depthwise::forward, &device);
        for dropout in [0.0, 0.4] {
            let vgg = fill(Vgg::new(dropout, &device), DType::F64);
            classifier("vgg", &vgg, Vgg::forward, &device);
        }
    }
}

#[test]
fn a_segmentation_network() {
    let device = Device::flex().autodiff();
    for dropout in [0.0, 0.3] {
        let model = fill(Unet::new(dropout, &device), DType::F64);
        let batch = (
            tensor([3, 2, 4, 4], 3, &device, DType::F64),
            tensor([3, 1, 4, 4], 4, &device, DType::F64),
        );
        let objective = Batched::new(batch, |model: &Unet, (x, y): &(Tensor<4>, Tensor<4>)| {
            (model.forward(x.clone()) - y.clone()).square().mean()
        });
        assert_exact("unet", &model, &objective);
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
    let product = |hessian: &dyn CurvatureOperator| {
        let v = ParamVec::gaussian(&hessian.layout(), 1);
        hessian.apply(&v).unwrap().value.to_values()
    };
    let (one, other) = (
        GradientOracle::new(&gan, &objective),
        GradientOracle::new(&generator, &held),
    );
    assert!(distance(&product(&exact(&one)), &product(&exact(&other))) < 1e-12);
}

#[test]
fn transformers_with_padding_and_shared_layers() {
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

#[test]
fn a_critic_that_normalises_two_batches_apart() {
    let device = Device::flex().autodiff();
    let model = fill(Critic::new(&device), DType::F64);
    let batch = (
        tensor([5, 3], 3, &device, DType::F64),
        tensor([4, 3], 4, &device, DType::F64),
    );
    // One batch normalisation in two batches of one pass.
    let objective = Batched::new(batch, |model: &Critic, (real, fake): &(Tensor<2>, Tensor<2>)| {
        let real = activation::softplus(model.forward(real.clone()).neg(), 1.0).mean();
        real + activation::softplus(model.forward(fake.clone()), 1.0).mean()
    });
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

#[derive(Module, Debug)]
struct Noisy {
    dropout: Dropout,
    layer: Linear,
}

#[test]
fn several_products_see_one_mask() {
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
