use burn::tensor::{DType, Tensor};
use faer::Mat;
use osculate_linalg::{
    DeviceSolution, EighConfig, LinalgError, MatrixFailure, Ridge, RootIteration,
    coupled_newton_inverse_root, eigh_inverse_root, higher_order_inverse_root,
};

use crate::matrices::*;

#[test]
fn eigh_roots_agree_with_faer() {
    let (names, matrices): (Vec<_>, Vec<_>) = family(40).into_iter().unzip();
    for dtype in TYPES {
        // In f32 eigenvalues below 1e-7 of the largest are noise: the ridge must be above them.
        let ridge = if dtype == DType::F64 { 1e-12 } else { 1e-3 };
        let tolerance = if dtype == DType::F64 { 1e-3 } else { 1e-2 };
        for exponent in [0.25, 0.5, 1.0, 1.0 / 6.0, -1.0] {
            let ridge = Ridge::absolute(ridge);
            let config = EighConfig::default();
            let roots =
                eigh_inverse_root(stack(&matrices, dtype), exponent, ridge, &config).unwrap();
            for (index, a) in matrices.iter().enumerate() {
                let want = inverse_root(a, exponent, ridge.absolute);
                let off = distance(&matrix(&roots.roots, index), &want);
                assert!(roots.outcomes[index].is_ok());
                assert!(
                    off < tolerance,
                    "{} {dtype:?} {exponent}: {off}",
                    names[index]
                );
            }
        }
    }
}

#[test]
fn the_relative_ridge_follows_the_largest_eigenvalue() {
    let a = Mat::from_fn(2, 2, |i, j| if i == j { [100.0, 0.0][i] } else { 0.0 });
    let ridge = Ridge::relative(1e-2);
    let config = EighConfig::default();
    let both = stack(&[a, Mat::<f64>::zeros(2, 2)], DType::F64);
    let roots = eigh_inverse_root(both, 1.0, ridge, &config).unwrap().roots;
    let first = matrix(&roots, 0);
    assert!((first[(0, 0)] - 1.0 / 101.0).abs() < 1e-12);
    assert!((first[(1, 1)] - 1.0).abs() < 1e-12);
    assert!((matrix(&roots, 1)[(0, 0)] - 1e8).abs() < 1e-3);
}

#[test]
fn a_root_that_does_not_exist_is_a_typed_failure() {
    let config = EighConfig::default();
    let zero = stack(&[Mat::<f64>::zeros(3, 3)], DType::F32);
    let none = Ridge::absolute(0.0);
    let roots = eigh_inverse_root(zero.clone(), 0.5, none, &config).unwrap();
    assert_eq!(roots.outcomes, [Err(MatrixFailure::NonFinite)]);
    assert_eq!(matrix(&roots.roots, 0), Mat::<f64>::identity(3, 3));
    let last = Tensor::ones_like(&zero);
    let kept = roots.or_last(last).unwrap().roots;
    assert_eq!(matrix(&kept, 0), Mat::from_fn(3, 3, |_, _| 1.0));
    let negative = Ridge::absolute(-1.0);
    assert!(matches!(
        eigh_inverse_root(zero, 0.5, negative, &config),
        Err(LinalgError::Setting {
            setting: "ridge.absolute",
            ..
        })
    ));
}

type Iteration = fn(Tensor<3>, u32, Ridge) -> DeviceSolution;

const ITERATIONS: [(&str, Iteration); 3] = [
    ("newton", |a, p, ridge| {
        coupled_newton_inverse_root(a, p, ridge, &RootIteration::default()).unwrap()
    }),
    ("order 3", |a, p, ridge| {
        higher_order_inverse_root(a, p, 3, ridge, &RootIteration::default()).unwrap()
    }),
    ("order 5", |a, p, ridge| {
        higher_order_inverse_root(a, p, 5, ridge, &RootIteration::default()).unwrap()
    }),
];

#[test]
fn iterations_agree_with_faer() {
    let (names, matrices): (Vec<_>, Vec<_>) = family(24).into_iter().unzip();
    for (method, iteration) in ITERATIONS {
        for p in [1, 2, 4, 6] {
            // The coupled iterate drifts from X^p A by the condition number times the roundoff.
            for (dtype, ridge, tolerance) in [(DType::F64, 1e-6, 1e-4), (DType::F32, 1e-2, 2e-2)] {
                let solution = iteration(stack(&matrices, dtype), p, Ridge::absolute(ridge));
                let outcomes = solution.outcomes(1e-4).unwrap();
                for (index, a) in matrices.iter().enumerate() {
                    let want = inverse_root(a, 1.0 / f64::from(p), ridge);
                    let off = distance(&matrix(&solution.value, index), &want);
                    let name = names[index];
                    assert!(outcomes[index].is_ok(), "{method} {name} {p}: {outcomes:?}");
                    assert!(off < tolerance, "{method} {name} {p} {dtype:?}: {off}");
                }
            }
        }
    }
}

#[test]
fn iterations_keep_the_last_good_root_of_a_matrix_that_fails() {
    let mut bad = family(5).remove(0).1;
    bad[(1, 1)] = f64::NAN;
    let good = family(5).remove(2).1;
    for (method, iteration) in ITERATIONS {
        let solution = iteration(
            stack(&[bad.clone(), good.clone()], DType::F32),
            4,
            Ridge::absolute(1e-3),
        );
        let outcomes = solution.outcomes(1e-4).unwrap();
        assert_eq!(outcomes[0], Err(MatrixFailure::NonFinite), "{method}");
        assert!(outcomes[1].is_ok(), "{method}");
        let found = matrix(&solution.value, 1);
        let last = Tensor::ones_like(&solution.value);
        let kept = solution.or_last(1e-4, last).unwrap();
        assert_eq!(matrix(&kept, 0), Mat::from_fn(5, 5, |_, _| 1.0), "{method}");
        assert_eq!(matrix(&kept, 1), found, "{method}");
    }
}

#[test]
fn too_few_iterations_are_a_typed_failure() {
    let a = stack(&[family(10).remove(3).1], DType::F64);
    let settings = RootIteration {
        iterations: 3,
        ..RootIteration::default()
    };
    let solution =
        coupled_newton_inverse_root(a.clone(), 2, Ridge::absolute(1e-8), &settings).unwrap();
    assert!(matches!(
        solution.outcomes(1e-6).unwrap()[0],
        Err(MatrixFailure::NoConvergence { .. })
    ));
    assert!(matches!(
        higher_order_inverse_root(a.clone(), 2, 1, Ridge::absolute(0.0), &settings),
        Err(LinalgError::Setting {
            setting: "order",
            ..
        })
    ));
    assert!(matches!(
        coupled_newton_inverse_root(a, 0, Ridge::absolute(0.0), &settings),
        Err(LinalgError::Setting { setting: "p", .. })
    ));
}

#[test]
fn empty_stacks_have_empty_roots() {
    for (_, iteration) in ITERATIONS {
        for shape in [[0, 3, 3], [2, 0, 0]] {
            let solution = iteration(Tensor::zeros(shape, &device()), 2, Ridge::absolute(1e-3));
            assert_eq!(solution.value.dims(), shape);
            assert_eq!(solution.outcomes(1e-6).unwrap().len(), shape[0]);
        }
    }
}
