//! Products and estimates on small networks against dense matrices made element by element.

use std::sync::Arc;

use burn::tensor::{DType, Device, Distribution, Int, Tensor, TensorData};
use osculate_bench::accuracy;
use osculate_curvature::*;
use osculate_problems::modules::{Activation, Mlp, MlpConfig, cast, seeded};
use osculate_tests::compare::{assert_vector, within};
use osculate_tests::on_every_backend;

fn device() -> Device {
    Device::flex().autodiff()
}

/// A small network in f64 with its batch.
fn network(activation: Activation) -> (Mlp, Tensor<2>, Tensor<1, Int>) {
    let config = MlpConfig::new(vec![3, 4, 3]).with_activation(activation);
    let model = cast(seeded(config.init(&device()), 3), DType::F64);
    let values: Vec<f64> = (0..30).map(|i| (f64::from(i) * 1.3).sin()).collect();
    let at = (&device(), DType::F64);
    let inputs = Tensor::<2>::from_data(TensorData::new(values, [10, 3]), at);
    let labels: Vec<i64> = (0..10).map(|i| i * 7 % 3).collect();
    let labels = Tensor::<1, Int>::from_data(TensorData::new(labels, [10]), &device());
    (model, inputs, labels)
}

/// `J^T H J` from Jacobians by central differences of the outputs, element by element, and the
/// criterion's output Hessian.
fn dense_ggn(
    model: &Mlp,
    inputs: &Tensor<2>,
    criterion: &Criterion,
    layout: &Arc<ParamLayout>,
) -> Vec<f64> {
    let n = layout.num_elements();
    let theta = ParamVec::of_module(model, layout);
    let outputs = |values: &ParamVec| {
        assign(model.clone(), values)
            .forward(inputs.clone())
            .inner()
    };
    let read = |tensor: Tensor<2>| tensor.into_data().iter::<f64>().collect::<Vec<_>>();
    let h = 1e-6;
    let columns: Vec<Tensor<2>> = (0..n)
        .map(|i| {
            let basis = ParamVec::basis(layout, i);
            let plus = outputs(&theta.axpy(h, &basis));
            (plus - outputs(&theta.axpy(-h, &basis))).div_scalar(2.0 * h)
        })
        .collect();
    let centre = outputs(&theta);
    let weighted: Vec<Vec<f64>> = columns
        .iter()
        .map(|column| read(criterion.hessian_vp(centre.clone(), column.clone())))
        .collect();
    let columns: Vec<Vec<f64>> = columns.into_iter().map(read).collect();
    let dot = |x: &[f64], y: &[f64]| x.iter().zip(y).map(|(x, y)| x * y).sum::<f64>();
    (0..n * n)
        .map(|i| dot(&columns[i / n], &weighted[i % n]))
        .collect()
}

/// Every criterion on the network's outputs.
fn criteria() -> [(&'static str, Criterion); 4] {
    let (_, _, labels) = network(Activation::Tanh);
    let values: Vec<f64> = (0..30).map(|i| 0.5 + 0.5 * f64::from(i).cos()).collect();
    let at = (&device(), DType::F64);
    let values = Tensor::<2>::from_data(TensorData::new(values, [10, 3]), at);
    [
        ("cross-entropy", Criterion::cross_entropy(labels.clone())),
        (
            "smoothed cross-entropy",
            Criterion::smoothed_cross_entropy(labels, 0.2).unwrap(),
        ),
        ("mse", Criterion::mse(values.clone())),
        ("bce", Criterion::bce_with_logits(values)),
    ]
}

#[test]
fn gauss_newton_matches_the_dense_matrix() {
    for (name, criterion) in criteria() {
        let (model, inputs, _) = network(Activation::Tanh);
        let forward = inputs.clone();
        let objective = Supervised::new(
            move |model: &Mlp| model.forward(forward.clone()),
            criterion.clone(),
        );
        let oracle = GradientOracle::new(&model, &objective);
        let ggn = GaussNewton::new(&oracle).unwrap();
        let truth = dense_ggn(&model, &inputs, &criterion, &ggn.layout());
        assert_vector(&dense_matrix(&ggn).unwrap(), &truth, 1e-6, name);
        let v = ParamVec::gaussian(&ggn.layout(), 1);
        let product = ggn.apply(&v).unwrap();
        let along = v.dot(&product.value);
        assert!((ggn.quadratic_form(&v).unwrap() / along - 1.0).abs() < 1e-6);
        let error = product.error().unwrap();
        assert!(
            error > 0.0 && error < 1e-4 * product.value.norm(),
            "{error}"
        );
    }
}

/// Targets drawn from the model make unbiased estimates of the Gauss-Newton matrix, whatever the
/// criterion's scale.
#[test]
fn sampled_targets_estimate_gauss_newton() {
    for (name, criterion) in criteria() {
        let (model, inputs, _) = network(Activation::Tanh);
        let forward = inputs.clone();
        let objective = Supervised::new(
            move |model: &Mlp| model.forward(forward.clone()),
            criterion.clone(),
        );
        let oracle = GradientOracle::new(&model, &objective);
        let layout = oracle.layout().unwrap();
        let n = layout.num_elements();
        let truth = dense_ggn(&model, &inputs, &criterion, &layout);
        let diagonal: Vec<f64> = (0..n).map(|i| truth[i * n + i]).collect();
        let config = GnbConfig {
            draws: 1500,
            seed: 2,
        };
        let gnb = gnb_diagonal(&oracle, &config).unwrap();
        let error = gnb.standard_error.unwrap().to_values();
        let value = gnb.value.to_values();
        assert!(within(&value, &error, &diagonal, 3.8), "{name}: {value:?}");

        let v = ParamVec::gaussian(&layout, 1);
        let draws = 300;
        let mut mean = vec![0.0; n];
        for seed in 0..draws {
            let fisher = Fisher::new(&oracle, FisherKind::Sampled { seed }).unwrap();
            let product = fisher.apply(&v).unwrap().value.to_values();
            for (m, p) in mean.iter_mut().zip(product) {
                *m += p / draws as f64;
            }
        }
        let ggn = GaussNewton::new(&oracle).unwrap();
        let want = ggn.apply(&v).unwrap().value.to_values();
        assert_vector(&mean, &want, 0.25, name);
    }
}

#[test]
fn the_empirical_fisher_is_the_second_moment_of_gradients() {
    let (model, inputs, labels) = network(Activation::Gelu);
    let (forward, targets) = (inputs.clone(), labels.clone());
    let objective = Supervised::new(
        move |model: &Mlp| model.forward(forward.clone()),
        Criterion::cross_entropy(targets),
    );
    let oracle = GradientOracle::new(&model, &objective);
    let fisher = Fisher::new(&oracle, FisherKind::Empirical).unwrap();
    let v = ParamVec::gaussian(&fisher.layout(), 4);
    let mut want = vec![0.0; v.layout().num_elements()];
    for row in 0..10 {
        let (x, y) = (
            inputs.clone().slice(row..row + 1),
            labels.clone().slice(row..row + 1),
        );
        let single = Supervised::new(
            move |model: &Mlp| model.forward(x.clone()),
            Criterion::cross_entropy(y),
        );
        let oracle = GradientOracle::new(&model, &single);
        let gradient = &oracle.clean().unwrap().gradient;
        let along = gradient.dot(&v) / 10.0;
        for (w, g) in want.iter_mut().zip(gradient.to_values()) {
            *w += along * g;
        }
    }
    let got = fisher.apply(&v).unwrap().value.to_values();
    assert_vector(&got, &want, 1e-6, "empirical Fisher");
}

#[test]
fn kinks_are_noticed() {
    for (activation, smooth) in [(Activation::Gelu, true), (Activation::Relu, false)] {
        let config = MlpConfig::new(vec![3, 48, 48, 3]).with_activation(activation);
        let model = seeded(config.init(&device()), 3);
        let (_, inputs, labels) = network(activation);
        let inputs = inputs.cast(DType::F32);
        let objective = Supervised::new(
            move |model: &Mlp| model.forward(inputs.clone()),
            Criterion::cross_entropy(labels),
        );
        let oracle = GradientOracle::new(&model, &objective);
        let check = symmetry_check(&Hessian::new(&oracle).unwrap(), 1).unwrap();
        assert_eq!(check.smooth, smooth, "{activation:?}: {check:?}");
    }
}

#[test]
fn the_criteria_agree_with_finite_differences() {
    let at = (&device(), DType::F64);
    let outputs = Tensor::<2>::from_data([[0.3, -1.0, 0.7], [1.1, 0.2, -0.4]], at);
    let direction = Tensor::<2>::from_data([[0.5, 0.1, -0.9], [-0.2, 0.8, 0.4]], at);
    let values = Tensor::<2>::from_data([[0.0, 1.0, 0.25], [1.0, 0.5, 0.0]], at);
    let labels = Tensor::<1, Int>::from_data([2, 0], &device());
    for criterion in [
        Criterion::cross_entropy(labels.clone()),
        Criterion::smoothed_cross_entropy(labels, 0.3).unwrap(),
        Criterion::mse(values.clone()),
        Criterion::bce_with_logits(values),
    ] {
        let gradient = |scale: f64| {
            let x = (outputs.clone() + direction.clone().mul_scalar(scale)).detach();
            let x = x.require_grad();
            let loss = criterion.loss(x.clone()).unwrap();
            x.grad(&loss.backward()).unwrap()
        };
        let h = 1e-5;
        let difference = (gradient(h) - gradient(-h)).div_scalar(2.0 * h);
        let closed = criterion.hessian_vp(outputs.clone().inner(), direction.clone().inner());
        let read = |tensor: Tensor<2>| tensor.into_data().iter::<f64>().collect::<Vec<_>>();
        assert_vector(&read(closed), &read(difference), 1e-8, "output Hessian");
    }
    let wrong = Criterion::mse(outputs.clone().slice([0..1, 0..3]));
    let message = wrong.loss(outputs).unwrap_err().to_string();
    assert!(
        message.contains("[2, 3]") && message.contains("[1, 3]"),
        "{message}"
    );
}

#[test]
fn smoothing_mixes_the_target_with_all_classes() {
    let at = (&device(), DType::F64);
    let outputs = Tensor::<2>::from_data([[0.3, -1.0, 0.7], [1.1, 0.2, -0.4]], at);
    let labels = || Tensor::<1, Int>::from_data([2, 0], &device());
    let loss = |smoothing| {
        let criterion = Criterion::smoothed_cross_entropy(labels(), smoothing).unwrap();
        criterion
            .loss(outputs.clone())
            .unwrap()
            .into_scalar::<f64>()
    };
    let targets = Tensor::<2>::from_data([[0.1, 0.1, 0.8], [0.8, 0.1, 0.1]], at);
    let log_p = burn::tensor::activation::log_softmax(outputs.clone(), 1);
    let expected = (targets * log_p).sum().into_scalar::<f64>() / -2.0;
    assert!(
        (loss(0.3) - expected).abs() < 1e-12,
        "{} {expected}",
        loss(0.3)
    );
    let plain = Criterion::cross_entropy(labels())
        .loss(outputs.clone())
        .unwrap();
    assert!((loss(0.0) - plain.into_scalar::<f64>()).abs() < 1e-12);
    for invalid in [-0.1, 1.0, f64::NAN] {
        let error = Criterion::smoothed_cross_entropy(labels(), invalid).unwrap_err();
        assert!(error.to_string().contains("smoothing"), "{error}");
    }
}

#[test]
fn modules_are_left_alone() {
    let (model, inputs, labels) = network(Activation::Gelu);
    let objective = Supervised::new(
        move |model: &Mlp| model.forward(inputs.clone()),
        Criterion::cross_entropy(labels),
    );
    let oracle = GradientOracle::new(&model, &objective);
    let layout = oracle.layout().unwrap();
    let values = ParamVec::of_module(&model, &layout).to_values();
    let hessian = Hessian::new(&oracle).unwrap();
    hessian.apply(&ParamVec::gaussian(&layout, 0)).unwrap();
    assert_eq!(ParamVec::of_module(&model, &layout).to_values(), values);
}

/// The errors that the README publishes are within their limits.
#[test]
fn products_are_as_exact_as_published() {
    let rows = accuracy::rows(&Device::flex()).unwrap();
    assert!(rows.len() > 30, "{rows:?}");
    let missed: Vec<_> = rows.iter().filter(|row| !row.accepted()).collect();
    assert!(missed.is_empty(), "{missed:?}");
}

/// Norms and dot products neither overflow nor vanish for the extremes of single precision.
mod range {
    use super::*;

    on_every_backend!(|device: &Device, dtype: DType| {
        let model = cast(
            seeded(MlpConfig::new(vec![40, 40, 3]).init(device), 1),
            dtype,
        );
        let inputs = Tensor::<2>::ones([2, 40], (device, dtype));
        let loss = |model: &Mlp| model.forward(inputs.clone()).square().mean();
        let layout = GradientOracle::new(&model, &loss).layout().unwrap();
        let v = ParamVec::gaussian(&layout, 1);
        let norm = v.norm();
        for scale in [1e-25, 1e-15, 1.0, 1e15, 1e25] {
            let scaled = v.scale(scale);
            assert!((scaled.norm() / scale / norm - 1.0).abs() < 1e-5, "{scale}");
            let on_device: f64 = scaled.norm_on_device().into_data().iter::<f64>().sum();
            assert!((on_device / scale / norm - 1.0).abs() < 1e-5, "{scale}");
            let dot = scaled.dot(&v) / scale;
            assert!((dot / norm / norm - 1.0).abs() < 1e-5, "{scale}");
        }
        assert_eq!(v.scale(0.0).norm(), 0.0);
    });
}

/// An offset that belongs to another model is refused, not ignored.
#[test]
fn offsets_of_other_models_are_refused() {
    let (model, inputs, labels) = network(Activation::Tanh);
    let objective = Supervised::new(
        move |model: &Mlp| model.forward(inputs.clone()),
        Criterion::cross_entropy(labels),
    );
    let deeper = cast(
        seeded(MlpConfig::new(vec![3, 4, 3, 3]).init(&device()), 3),
        DType::F64,
    );
    let x = Tensor::<2>::ones([2, 3], (&device(), DType::F64));
    let loss = |model: &Mlp| model.forward(x.clone()).sum();
    let foreign = GradientOracle::new(&deeper, &loss).layout().unwrap();
    let oracle = GradientOracle::new(&model, &objective);
    let offset = ParamVec::zeros(&foreign);
    let error = oracle.evaluate_at(&offset, 1.0).unwrap_err();
    assert!(
        matches!(error, CurvatureError::LayoutMismatch { .. }),
        "{error}"
    );
}

/// Probes keep the gradient checkpointing of the model's parameters.
#[test]
fn gradient_checkpointing_is_kept() {
    let device = Device::flex().autodiff().gradient_checkpointing();
    let config = MlpConfig::new(vec![4, 8, 4]).with_activation(Activation::Tanh);
    let model = seeded(config.init(&device), 1);
    let inputs = Tensor::<2>::random([6, 4], Distribution::Default, &device);
    let loss = |model: &Mlp| model.forward(inputs.clone()).square().mean();
    let direct = loss(&model).into_data().iter::<f32>().sum::<f32>();
    let oracle = GradientOracle::new(&model, &loss);
    let clean = oracle.clean().unwrap();
    let through = clean.loss.clone().into_data().iter::<f32>().sum::<f32>();
    assert_eq!(direct, through);
    let v = ParamVec::gaussian(&oracle.layout().unwrap(), 1);
    let hessian = Hessian::new(&oracle).unwrap();
    assert!(hessian.apply(&v).unwrap().value.norm() > 0.0);
}
