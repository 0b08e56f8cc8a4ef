//! Operators and estimators against explicit matrices, on problems that are neither diagonal nor
//! isotropic.

use burn::module::ParamGroup;
use burn::tensor::{DType, Device};
use osculate_curvature::*;
use osculate_problems::closed_form::{ClosedForm, P3, RotatedQuadratic, TensorProblem};
use osculate_tests::compare::{assert_vector, within};

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
    // Extrapolated forward differences are of second order, with or without an error estimate.
    for estimate_error in [true, false] {
        let config = HessianConfig {
            scheme: Scheme::Forward,
            step: StepRule::Doubling,
            estimate_error,
            ..HessianConfig::default()
        };
        let doubled = Hessian::with_config(&oracle, config).unwrap();
        let columns = dense_matrix(&doubled).unwrap();
        assert_vector(&columns, truth.elements(), 1e-6, "forward, doubling");
    }
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
