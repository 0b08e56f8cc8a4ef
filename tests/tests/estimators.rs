//! Operators and estimators against explicit matrices, on problems that are neither diagonal nor
//! isotropic.

use burn::module::ParamGroup;
use burn::tensor::{DType, Device, Int, Tensor, TensorData};
use osculate_curvature::*;
use osculate_problems::closed_form::{ClosedForm, P3, RotatedQuadratic, TensorProblem};
use osculate_problems::modules::{Activation, Mlp, MlpConfig, cast, seeded};

fn device() -> Device {
    Device::flex().autodiff()
}

/// A problem's exact Hessian as an operator, at its start.
fn exact<P: TensorProblem>(problem: &P) -> (DenseOperator, Vec<f64>) {
    let point = problem.point(&problem.start(), &device(), DType::F64);
    let loss = |point: &P::Point| problem.tensor_loss(point);
    let layout = GradientOracle::new(&point, &loss).layout().unwrap();
    let hessian = problem.hessian(&problem.start());
    let rows = hessian.elements().to_vec();
    let operator = DenseOperator::new(layout, rows.clone(), Structure::Symmetric).unwrap();
    (operator, rows)
}

fn assert_vector(got: &[f64], want: &[f64], tolerance: f64, what: &str) {
    let scale = want.iter().map(|x| x * x).sum::<f64>().sqrt();
    let error: f64 = got.iter().zip(want).map(|(a, b)| (a - b).powi(2)).sum();
    assert!(
        error.sqrt() <= tolerance * scale,
        "{what}: {got:?} against {want:?}"
    );
}

/// Whether every estimate is within so many standard errors of the truth.
fn within(value: &[f64], error: &[f64], truth: &[f64], sigmas: f64) -> bool {
    let floor = 1e-9;
    value
        .iter()
        .zip(error)
        .zip(truth)
        .all(|((v, e), t)| (v - t).abs() <= sigmas * e + floor)
}

fn diagonal_is_unbiased<P: TensorProblem>(problem: &P, distribution: ProbeDistribution) {
    let (operator, _) = exact(problem);
    let config = HutchinsonConfig {
        probes: 2000,
        distribution,
        seed: 5,
        ..HutchinsonConfig::default()
    };
    let estimate = hutchinson_diagonal(&operator, &config).unwrap();
    let hessian = problem.hessian(&problem.start());
    let (value, error) = (
        estimate.value.to_values(),
        estimate.standard_error.unwrap().to_values(),
    );
    // Three standard errors hold for each element at 99.7%, so for thirty of them 3.5 is used.
    assert!(
        within(&value, &error, &hessian.diagonal(), 3.5),
        "{value:?}"
    );
    assert!(!within(&value, &error, &hessian.row_sums(), 3.5));

    let trace = hutchinson_trace(&operator, &config).unwrap();
    let error = trace.standard_error.unwrap();
    assert!(
        (trace.value - hessian.trace()).abs() <= 3.0 * error,
        "{trace:?}"
    );
    let blocks: f64 = trace.blocks.iter().map(|block| block.value).sum();
    assert!((blocks - trace.value).abs() < 1e-9 * trace.value.abs());
}

#[test]
fn hutchinson_on_p3() {
    for distribution in [ProbeDistribution::Rademacher, ProbeDistribution::Gaussian] {
        diagonal_is_unbiased(&P3, distribution);
    }
}

#[test]
fn hutchinson_on_a_rotated_quadratic() {
    let problem = RotatedQuadratic::new(30, 100.0, 4).unwrap();
    for distribution in [ProbeDistribution::Rademacher, ProbeDistribution::Gaussian] {
        diagonal_is_unbiased(&problem, distribution);
    }
}

#[test]
fn block_traces_come_from_the_same_probes() {
    let (operator, rows) = exact(&P3);
    let config = HutchinsonConfig {
        probes: 3000,
        ..HutchinsonConfig::default()
    };
    let trace = hutchinson_trace(&operator, &config).unwrap();
    let truth = [rows[0] + rows[4], rows[8]];
    for (block, truth) in trace.blocks.iter().zip(truth) {
        let error = block.standard_error.unwrap();
        assert!(
            (block.value - truth).abs() <= 3.5 * error,
            "{block:?} {truth}"
        );
    }
}

#[test]
fn an_absolute_probe_estimates_row_norms_not_the_diagonal() {
    let (operator, rows) = exact(&P3);
    let config = HutchinsonConfig {
        probes: 4000,
        distribution: ProbeDistribution::Gaussian,
        ..HutchinsonConfig::default()
    };
    let estimate = hutchinson_abs(&operator, &config)
        .unwrap()
        .value
        .to_values();
    for (row, value) in rows.chunks(3).zip(estimate) {
        // The mean magnitude of a normal number is sqrt(2 / pi) of its deviation.
        let norm = row.iter().map(|x| x * x).sum::<f64>().sqrt();
        let mean = norm * (2.0 / std::f64::consts::PI).sqrt();
        assert!((value / mean - 1.0).abs() < 0.05, "{value} against {mean}");
    }
}

#[test]
fn the_tolerance_stops_on_the_standard_error() {
    let (operator, _) = exact(&P3);
    let config = HutchinsonConfig {
        probes: 5000,
        relative_tolerance: Some(0.05),
        ..HutchinsonConfig::default()
    };
    let trace = hutchinson_trace(&operator, &config).unwrap();
    assert!(trace.converged && trace.probes < 5000);
    assert!(trace.standard_error.unwrap() <= 0.05 * trace.value);
    let impossible = HutchinsonConfig {
        probes: 8,
        relative_tolerance: Some(1e-9),
        ..config
    };
    assert!(
        !hutchinson_diagonal(&operator, &impossible)
            .unwrap()
            .converged
    );
    let none = HutchinsonConfig {
        probes: 0,
        ..HutchinsonConfig::default()
    };
    let message = hutchinson_trace(&operator, &none).unwrap_err().to_string();
    assert_eq!(
        message,
        "probes = 0 is invalid, expected at least one probe"
    );
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

/// `J^T H J` from Jacobians by central differences of the outputs, element by element.
fn dense_ggn(model: &Mlp, inputs: &Tensor<2>, layout: &std::sync::Arc<ParamLayout>) -> Vec<f64> {
    let n = layout.num_elements();
    let theta = ParamVec::of_module(model, layout);
    let outputs = |values: &ParamVec| -> Vec<f64> {
        let moved = assign(model.clone(), values);
        moved
            .forward(inputs.clone())
            .into_data()
            .iter::<f64>()
            .collect()
    };
    let h = 1e-6;
    let columns: Vec<Vec<f64>> = (0..n)
        .map(|i| {
            let basis = ParamVec::basis(layout, i);
            let (plus, minus) = (
                outputs(&theta.axpy(h, &basis)),
                outputs(&theta.axpy(-h, &basis)),
            );
            plus.iter()
                .zip(&minus)
                .map(|(a, b)| (a - b) / (2.0 * h))
                .collect()
        })
        .collect();
    let logits = outputs(&theta);
    let mut matrix = vec![0.0; n * n];
    for row in 0..10 {
        let z = &logits[3 * row..3 * row + 3];
        let total: f64 = z.iter().map(|z| z.exp()).sum();
        let p: Vec<f64> = z.iter().map(|z| z.exp() / total).collect();
        for a in 0..n {
            for b in 0..n {
                let (ja, jb) = (
                    &columns[a][3 * row..3 * row + 3],
                    &columns[b][3 * row..3 * row + 3],
                );
                let dot = |x: &[f64], y: &[f64]| x.iter().zip(y).map(|(x, y)| x * y).sum::<f64>();
                let weighted: Vec<f64> = p.iter().zip(jb).map(|(p, j)| p * j).collect();
                matrix[a * n + b] += (dot(ja, &weighted) - dot(&p, ja) * dot(&p, jb)) / 10.0;
            }
        }
    }
    matrix
}

#[test]
fn gauss_newton_matches_the_dense_matrix_and_its_diagonal() {
    let (model, inputs, labels) = network(Activation::Tanh);
    let forward = inputs.clone();
    let objective = Supervised::new(
        move |model: &Mlp| model.forward(forward.clone()),
        Criterion::cross_entropy(labels),
    );
    let oracle = GradientOracle::new(&model, &objective);
    let ggn = GaussNewton::new(&oracle).unwrap();
    let layout = ggn.layout();
    let n = layout.num_elements();
    let truth = dense_ggn(&model, &inputs, &layout);
    let columns = dense_matrix(&ggn).unwrap();
    assert_vector(&columns, &truth, 1e-6, "Gauss-Newton");
    let v = ParamVec::gaussian(&layout, 1);
    let product = v.dot(&ggn.apply(&v).unwrap().value);
    assert!((ggn.quadratic_form(&v).unwrap() / product - 1.0).abs() < 1e-6);

    // Sampled estimates of the same matrix.
    let diagonal: Vec<f64> = (0..n).map(|i| truth[i * n + i]).collect();
    let config = GnbConfig {
        draws: 1500,
        seed: 2,
    };
    let gnb = gnb_diagonal(&oracle, &config).unwrap();
    let error = gnb.standard_error.unwrap().to_values();
    assert!(within(&gnb.value.to_values(), &error, &diagonal, 3.8));
    let mut mean = vec![0.0; n];
    let draws = 300;
    for seed in 0..draws {
        let fisher = Fisher::new(&oracle, FisherKind::Sampled { seed }).unwrap();
        let product = fisher.apply(&v).unwrap().value.to_values();
        for (m, p) in mean.iter_mut().zip(product) {
            *m += p / draws as f64;
        }
    }
    let want = ggn.apply(&v).unwrap().value.to_values();
    assert_vector(&mean, &want, 0.25, "sampled Fisher");
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
fn finite_differences_match_exact_hessians_in_f64() {
    let x = P3.start();
    let point = P3.point(&x, &device(), DType::F64);
    let loss = |point: &_| P3.tensor_loss(point);
    let oracle = GradientOracle::new(&point, &loss);
    let truth = P3.hessian(&x);
    for scheme in [Scheme::Central, Scheme::Richardson] {
        for step in [StepRule::Auto, StepRule::Doubling, StepRule::Relative] {
            let config = HessianConfig {
                scheme,
                step,
                ..HessianConfig::default()
            };
            let hessian = Hessian::with_config(&oracle, config).unwrap();
            let columns = dense_matrix(&hessian).unwrap();
            assert_vector(&columns, truth.elements(), 1e-6, "Hessian");
        }
    }
    let config = HessianConfig {
        scheme: Scheme::Forward,
        step: StepRule::Relative,
        ..HessianConfig::default()
    };
    let hessian = Hessian::with_config(&oracle, config).unwrap();
    let columns = dense_matrix(&hessian).unwrap();
    assert_vector(&columns, truth.elements(), 1e-5, "forward");
    let v = ParamVec::gaussian(&hessian.layout(), 0);
    assert_eq!(hessian.apply(&v).unwrap().cost, Cost::GRADIENT);
    let zero = hessian.apply(&v.scale(0.0)).unwrap();
    assert_eq!((zero.value.norm(), zero.cost), (0.0, Cost::ZERO));
    let nan = hessian.apply(&v.scale(f64::NAN)).unwrap_err();
    assert!(matches!(nan, CurvatureError::NonFinite { .. }), "{nan}");
}

#[test]
fn the_length_of_the_direction_does_not_matter() {
    let point = P3.point(&P3.start(), &device(), DType::F64);
    let loss = |point: &_| P3.tensor_loss(point);
    let oracle = GradientOracle::new(&point, &loss);
    let hessian = Hessian::new(&oracle).unwrap();
    let v = ParamVec::gaussian(&hessian.layout(), 8);
    let want = hessian.apply(&v).unwrap().value.to_values();
    for scale in [1e-8, 1e8] {
        let product = hessian.apply(&v.scale(scale)).unwrap();
        let got = product.value.scale(1.0 / scale).to_values();
        assert_vector(&got, &want, 1e-7, "scaled");
        assert!(
            matches!(product.provenance, Provenance::FiniteDifference { error, .. }
            if error.largest().is_some())
        );
    }
}

#[test]
fn operators_compose_and_restrict() {
    let (operator, rows) = exact(&P3);
    let layout = operator.layout();
    let twice = Sum::new(&operator, Scaled::new(1.0, &operator)).unwrap();
    let damped = Shifted::new(twice, 0.5);
    let columns = dense_matrix(&damped).unwrap();
    let want: Vec<f64> = rows
        .iter()
        .enumerate()
        .map(|(i, x)| 2.0 * x + if i % 4 == 0 { 0.5 } else { 0.0 })
        .collect();
    assert_vector(&columns, &want, 1e-12, "2A + I/2");

    let weights = ParamGroup::from_predicate("weight");
    let block = Restricted::new(&operator, &weights).unwrap();
    let columns = dense_matrix(&block).unwrap();
    assert_vector(
        &columns,
        &[rows[0], rows[1], rows[3], rows[4]],
        1e-12,
        "block",
    );
    let full = ParamVec::gaussian(&layout, 0);
    let error = block.apply(&full).unwrap_err();
    assert!(
        matches!(error, CurvatureError::LayoutMismatch { .. }),
        "{error}"
    );
    let nothing = ParamGroup::from_predicate("encoder");
    let error = Restricted::new(&operator, &nothing)
        .unwrap_err()
        .to_string();
    assert!(error.contains("weight, bias"), "{error}");
}

#[test]
fn lanczos_finds_both_ends_without_ghosts() {
    let spectrum: Vec<f64> = (0..40)
        .map(|i| match i {
            0 => 10.0,
            1 => 9.0,
            2 => -4.0,
            3 => -3.0,
            _ => f64::from(i) / 40.0,
        })
        .collect();
    let problem = RotatedQuadratic::with_spectrum(spectrum, 2).unwrap();
    let (operator, _) = exact(&problem);
    let config = LanczosConfig {
        largest: 4,
        smallest: 2,
        steps: 40,
        tolerance: 1e-9,
        seed: 1,
    };
    let found = lanczos(&operator, &config).unwrap();
    assert!(found.converged, "{found:?}");
    let values: Vec<f64> = found.largest.iter().map(|pair| pair.value).collect();
    assert_vector(&values, &[10.0, 9.0, 0.975, 0.95], 1e-9, "largest");
    let values: Vec<f64> = found.smallest.iter().map(|pair| pair.value).collect();
    assert_vector(&values, &[-4.0, -3.0], 1e-9, "smallest");
    for pair in found.largest.iter().chain(&found.smallest) {
        let product = operator.apply(&pair.vector).unwrap().value;
        let residual = product.axpy(-pair.value, &pair.vector).norm();
        assert!((pair.vector.norm() - 1.0).abs() < 1e-9);
        assert!(residual < 1e-6, "{residual}");
    }
}

#[test]
fn lanczos_stops_where_the_krylov_space_closes() {
    let problem = RotatedQuadratic::with_spectrum(vec![3.0, 3.0, 1.0, 1.0, 1.0], 7).unwrap();
    let (operator, _) = exact(&problem);
    let found = lanczos(&operator, &LanczosConfig::default()).unwrap();
    assert_eq!(found.steps, 2);
    assert!((found.largest[0].value - 3.0).abs() < 1e-9);
    assert!((found.largest[1].value - 1.0).abs() < 1e-9);
    assert!(!found.converged, "four pairs were asked for");
}

#[test]
fn power_iteration_finds_the_largest_magnitude() {
    let problem = RotatedQuadratic::with_spectrum(vec![-5.0, 2.0, 1.0, 0.5], 3).unwrap();
    let (operator, _) = exact(&problem);
    let config = PowerIterationConfig {
        tolerance: 1e-8,
        ..PowerIterationConfig::default()
    };
    let found = power_iteration(&operator, &config).unwrap();
    assert!(found.converged);
    assert!((found.pair.value + 5.0).abs() < 1e-9, "{found:?}");
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
        Criterion::cross_entropy(labels),
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
