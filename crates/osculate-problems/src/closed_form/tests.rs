use burn::module::{ModuleVisitor, Param};
use burn::optim::GradientsParams;
use proptest::prelude::*;

use super::*;

/// Two points, neither of them special.
fn points(problem: &impl ClosedForm) -> Vec<Vec<f64>> {
    let shift = |phase: f64| {
        problem
            .start()
            .iter()
            .enumerate()
            .map(|(i, x)| x + 0.3 * (i as f64 * 1.7 + phase).sin())
            .collect()
    };
    vec![shift(0.4), shift(2.1)]
}

fn moved(x: &[f64], index: usize, by: f64) -> Vec<f64> {
    let mut x = x.to_vec();
    x[index] += by;
    x
}

fn assert_close(a: f64, b: f64, scale: f64, tolerance: f64, what: &str) {
    let error = (a - b).abs() / scale.max(1.0);
    assert!(error <= tolerance, "{what}: {a} against {b}");
}

struct Flatten<'a>(&'a GradientsParams, Vec<f64>);

impl ModuleVisitor for Flatten<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let gradient = self.0.get::<D>(param.id).expect("a gradient");
        self.1.extend(gradient.into_data().iter::<f64>());
    }
}

fn check<P: TensorProblem>(problem: &P) {
    let name = problem.name();
    for x in points(problem) {
        let gradient = problem.gradient(&x);
        let hessian = problem.hessian(&x);
        let scale = gradient.iter().fold(0.0_f64, |m, g| m.max(g.abs()));
        let h = 1e-5;
        for (i, slope) in gradient.iter().enumerate() {
            let difference =
                (problem.loss(&moved(&x, i, h)) - problem.loss(&moved(&x, i, -h))) / (2.0 * h);
            assert_close(difference, *slope, scale, 1e-7, name);
            let (plus, minus) = (
                problem.gradient(&moved(&x, i, h)),
                problem.gradient(&moved(&x, i, -h)),
            );
            for j in 0..problem.dim() {
                let difference = (plus[j] - minus[j]) / (2.0 * h);
                let size = hessian.frobenius_norm();
                assert_close(difference, hessian.get(i, j), size, 1e-7, name);
                assert_eq!(hessian.get(i, j), hessian.get(j, i), "{name}: symmetry");
            }
        }
        assert_eq!(problem.hvp(&x, &x), hessian.mul_vec(&x));
        assert_close(problem.hessian_trace(&x), hessian.trace(), 1.0, 1e-12, name);

        #[allow(deprecated, reason = "supported for as long as burn ships it")]
        let devices = [Device::flex().autodiff(), Device::ndarray().autodiff()];
        for device in devices {
            let point = problem.point(&x, &device, DType::F64);
            assert_eq!(problem.flatten(&point), x, "{name}: variables");
            let loss = problem.tensor_loss(&point);
            let gradients = GradientsParams::from_grads(loss.backward(), &point);
            let mut flat = Flatten(&gradients, Vec::new());
            point.visit(&mut flat);
            let value: f64 = loss.into_scalar();
            assert_close(value, problem.loss(&x), value.abs(), 1e-12, name);
            for (a, b) in flat.1.iter().zip(&gradient) {
                assert_close(*a, *b, scale, 1e-10, name);
            }
        }
    }
    if let Some(minimum) = problem.minimum() {
        assert_close(problem.loss(&minimum.x), minimum.loss, 1.0, 1e-20, name);
        let gradient = problem.gradient(&minimum.x);
        assert!(
            gradient.iter().all(|g| g.abs() < 1e-9),
            "{name}: {gradient:?}"
        );
    }
}

#[test]
fn p3() {
    check(&P3);
}

#[test]
fn quadratics() {
    for condition in [1.0, 100.0, 1e8] {
        check(&RotatedQuadratic::new(12, condition, 3).unwrap());
    }
    check(&RotatedQuadratic::with_spectrum(vec![2.0, -1.0, 0.0], 1).unwrap());
}

#[test]
fn rosenbrock() {
    check(&Rosenbrock::new(2).unwrap());
    check(&Rosenbrock::new(7).unwrap());
}

#[test]
fn beale() {
    check(&Beale);
}

#[test]
fn logistic() {
    check(&LogisticRegression::new(40, 5, 1e3, 1e-3, 2).unwrap());
}

#[test]
fn matrix_factorisation() {
    check(&MatrixFactorisation::new(4, 3, 2, 5).unwrap());
}

#[test]
fn invalid_problems_are_refused_by_name() {
    let error = RotatedQuadratic::new(3, 0.5, 0).unwrap_err();
    assert_eq!(
        error.to_string(),
        "rotated-quadratic: condition = 0.5 is invalid, expected a number from 1 to 1e12"
    );
    assert!(RotatedQuadratic::new(0, 2.0, 0).is_err());
    assert!(RotatedQuadratic::with_spectrum(vec![f64::NAN], 0).is_err());
    assert!(Rosenbrock::new(1).is_err());
    assert!(LogisticRegression::new(0, 2, 1.0, 0.0, 0).is_err());
    assert!(MatrixFactorisation::new(2, 0, 1, 0).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn a_rotation_keeps_trace_and_frobenius_norm(
        spectrum in prop::collection::vec(-5.0..5.0_f64, 1..12),
        seed in 0..u64::MAX,
    ) {
        let problem = RotatedQuadratic::with_spectrum(spectrum.clone(), seed).unwrap();
        let hessian = problem.hessian(&problem.start());
        let trace: f64 = spectrum.iter().sum();
        let norm = spectrum.iter().map(|x| x * x).sum::<f64>().sqrt();
        prop_assert!((hessian.trace() - trace).abs() < 1e-10 * (1.0 + norm));
        prop_assert!((hessian.frobenius_norm() - norm).abs() < 1e-10 * (1.0 + norm));
    }
}
