use burn::tensor::{DType, Tensor};
use faer::Mat;
use osculate_linalg::{
    Effort, EighConfig, LinalgError, MatrixFailure, OrthogonalIterationConfig, eigh,
    off_diagonality, orthogonal_iteration, orthonormalize,
};

use crate::matrices::*;

/// The decomposition's values against faer's, and `V Λ Vᵀ` against the matrix.
fn check(n: usize, dtype: DType) {
    let (names, matrices): (Vec<_>, Vec<_>) = family(n).into_iter().unzip();
    let eigen = eigh(stack(&matrices, dtype), &EighConfig::default()).unwrap();
    let values: Vec<f64> = eigen.values.to_data().iter::<f64>().collect();
    let tolerance = 20.0 * (n as f64).sqrt() * roundoff(dtype);
    for (index, (name, a)) in names.iter().zip(&matrices).enumerate() {
        let solved = eigen.outcomes[index].expect(name);
        assert_eq!(solved.effort, Effort::Plain, "{name} {n}");
        let own = &values[index * n..(index + 1) * n];
        let size = a.norm_l2().max(1e-300);
        for (got, want) in own.iter().zip(eigenvalues(a)) {
            assert!(
                (got - want).abs() <= tolerance * size,
                "{name} {n}: {got} {want}"
            );
        }
        let v = matrix(&eigen.vectors, index);
        let scaled = Mat::from_fn(n, n, |i, j| v[(i, j)] * own[j]);
        let again = &scaled * v.transpose();
        assert!(
            distance(&again, a) <= tolerance,
            "{name} {n}: {}",
            distance(&again, a)
        );
        let unit = v.transpose() * &v;
        assert!(
            distance(&unit, &Mat::<f64>::identity(n, n)) <= tolerance,
            "{name} {n}"
        );
    }
}

#[test]
fn eigh_agrees_with_faer() {
    for dtype in TYPES {
        for n in [1, 2, 3, 17, 64, 150] {
            check(n, dtype);
        }
    }
}

#[test]
fn eigh_of_a_stack_is_that_of_its_matrices() {
    let matrices: Vec<_> = family(40).into_iter().map(|(_, a)| a).collect();
    let config = EighConfig::default();
    let together = eigh(stack(&matrices, DType::F32), &config).unwrap();
    for (index, a) in matrices.iter().enumerate() {
        let alone = eigh(stack(std::slice::from_ref(a), DType::F32), &config).unwrap();
        assert_eq!(matrix(&together.vectors, index), matrix(&alone.vectors, 0));
        assert_eq!(together.outcomes[index], alone.outcomes[0]);
    }
}

#[test]
fn eigh_takes_any_size_of_elements() {
    let a = family(20).remove(0).1;
    for scale in [1e-36, 1e-20, 1e20, 1e34] {
        let scaled = Mat::from_fn(20, 20, |i, j| a[(i, j)] * scale);
        let eigen = eigh(stack(&[scaled], DType::F32), &EighConfig::default()).unwrap();
        assert!(eigen.outcomes[0].is_ok(), "{scale}");
        let values: Vec<f64> = eigen.values.into_data().iter::<f64>().collect();
        for (got, want) in values.iter().zip(eigenvalues(&a)) {
            assert!((got / scale - want).abs() < 1e-4, "{scale}: {got} {want}");
        }
    }
}

#[test]
fn one_bad_matrix_spoils_no_other() {
    for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        let mut matrices: Vec<_> = family(8).into_iter().map(|(_, a)| a).collect();
        matrices[1][(5, 2)] = value;
        let eigen = eigh(stack(&matrices, DType::F32), &EighConfig::default()).unwrap();
        for (index, outcome) in eigen.outcomes.iter().enumerate() {
            match index {
                1 => assert_eq!(*outcome, Err(MatrixFailure::NonFinite)),
                _ => assert!(outcome.is_ok()),
            }
        }
        assert_eq!(matrix(&eigen.vectors, 1), Mat::<f64>::identity(8, 8));
        let last = Tensor::ones_like(&eigen.vectors);
        let before = matrix(&eigen.vectors, 0);
        let kept = eigen
            .clone()
            .or_last(Tensor::ones_like(&eigen.values), last)
            .unwrap();
        assert_eq!(matrix(&kept.vectors, 1), Mat::from_fn(8, 8, |_, _| 1.0));
        assert_eq!(matrix(&kept.vectors, 0), before);
    }
}

#[test]
fn the_ladder_climbs_to_f64_and_ends_in_a_typed_failure() {
    let a = stack(&[family(30).remove(0).1], DType::F32);
    let tight = |tolerance| EighConfig {
        tolerance: Some(tolerance),
        double: false,
    };
    let effort = |tolerance| {
        let outcome = eigh(a.clone(), &tight(tolerance)).unwrap().outcomes[0];
        outcome.map(|solved| solved.effort)
    };
    assert_eq!(effort(1e-3), Ok(Effort::Plain));
    assert_eq!(effort(1e-12), Ok(Effort::Double));
    assert!(matches!(
        effort(0.0),
        Err(MatrixFailure::NoConvergence { tolerance: 0.0, .. })
    ));
    let double = EighConfig {
        tolerance: None,
        double: true,
    };
    let outcome = eigh(a, &double).unwrap().outcomes[0].unwrap();
    assert_eq!(outcome.effort, Effort::Double);
    assert!(outcome.residual < 1e-13);
}

#[test]
fn a_matrix_that_is_not_symmetric_fails() {
    let a = stack(&[random(12, 12, 4)], DType::F64);
    let outcome = eigh(a, &EighConfig::default()).unwrap().outcomes[0];
    assert!(
        matches!(outcome, Err(MatrixFailure::NoConvergence { .. })),
        "{outcome:?}"
    );
}

#[test]
fn empty_stacks_and_wrong_shapes() {
    for shape in [[0, 3, 3], [2, 0, 0]] {
        let empty = Tensor::<3>::zeros(shape, &device());
        let eigen = eigh(empty.clone(), &EighConfig::default()).unwrap();
        assert_eq!(eigen.vectors.dims(), shape);
        assert_eq!(eigen.outcomes.len(), shape[0]);
        let config = OrthogonalIterationConfig::default();
        let basis = orthogonal_iteration(empty.clone(), empty, &config).unwrap();
        assert_eq!(basis.vectors.dims(), shape);
    }
    let wide = Tensor::<3>::zeros([1, 2, 3], &device());
    assert!(matches!(
        eigh(wide.clone(), &EighConfig::default()),
        Err(LinalgError::Shape {
            operation: "eigh",
            ..
        })
    ));
    assert!(matches!(
        orthonormalize(wide),
        Err(LinalgError::Shape { .. })
    ));
    let config = EighConfig {
        tolerance: Some(-1.0),
        double: false,
    };
    let one = Tensor::<3>::zeros([1, 2, 2], &device());
    assert!(matches!(
        eigh(one, &config),
        Err(LinalgError::Setting { .. })
    ));
}

#[test]
fn half_precision_is_computed_in_f32() {
    let a = stack(&[family(24).remove(0).1], DType::F32);
    for dtype in [DType::F16, DType::BF16] {
        let half = a.clone().cast(dtype);
        let own = eigh(half.clone(), &EighConfig::default()).unwrap();
        let wide = eigh(half.cast(DType::F32), &EighConfig::default()).unwrap();
        assert_eq!(own.vectors.dtype(), dtype);
        assert_eq!(own.outcomes, wide.outcomes);
        let narrowed = wide.vectors.cast(dtype);
        assert_eq!(matrix(&own.vectors, 0), matrix(&narrowed, 0));
    }
}

#[test]
fn orthogonal_iteration_converges_to_the_eigenvectors() {
    let values: Vec<f64> = (0..30).map(|i| 0.7f64.powi(i)).collect();
    let a = stack(
        &[with_spectrum(&values, 5), with_spectrum(&values, 6)],
        DType::F64,
    );
    let start = stack(&[random(30, 30, 7), random(30, 30, 8)], DType::F64);
    let (start, _) = orthonormalize(start).unwrap();
    let config = OrthogonalIterationConfig {
        iterations: 200,
        tolerance: Some(1e-9),
        sort: true,
    };
    let basis = orthogonal_iteration(a.clone(), start, &config).unwrap();
    let on_device = vector(off_diagonality(a.clone(), basis.vectors.clone()).unwrap());
    for (index, defect) in on_device.iter().enumerate() {
        let residual = basis.outcomes[index].unwrap().residual;
        assert!(residual <= 1e-9 && basis.iterations[index] < 200);
        assert!((residual - defect).abs() < 1e-12);
        let (a, q) = (matrix(&a, index), matrix(&basis.vectors, index));
        let rotated = q.transpose() * (&a * &q);
        for (j, value) in values.iter().enumerate() {
            assert!((rotated[(j, j)] - value).abs() < 1e-9, "{j}");
        }
    }
    // A basis that is good enough is left alone.
    let again = orthogonal_iteration(a, basis.vectors.clone(), &config).unwrap();
    assert_eq!(again.iterations, [0, 0]);
    assert_eq!(matrix(&again.vectors, 0), matrix(&basis.vectors, 0));
}

#[test]
fn orthogonal_iteration_sorts_and_says_how() {
    let a = Mat::from_fn(3, 3, |i, j| if i == j { [1.0, 3.0, 2.0][i] } else { 0.0 });
    let identity = Mat::<f64>::identity(3, 3);
    let config = OrthogonalIterationConfig::default();
    let basis = orthogonal_iteration(
        stack(&[a.clone(), Mat::<f64>::zeros(3, 3)], DType::F32),
        stack(&[identity.clone(), identity.clone()], DType::F32),
        &config,
    )
    .unwrap();
    let order: Vec<i64> = basis.order.into_data().iter::<i64>().collect();
    assert_eq!(order, [1, 2, 0, 0, 1, 2]);
    let q = matrix(&basis.vectors, 0);
    for (j, from) in [1, 2, 0].into_iter().enumerate() {
        assert!((q[(from, j)].abs() - 1.0).abs() < 1e-6);
    }
    // A zero matrix leaves an orthonormal basis.
    let zero = matrix(&basis.vectors, 1);
    assert!(distance(&(zero.transpose() * &zero), &identity) < 1e-6);
}

#[test]
fn orthogonal_iteration_keeps_the_basis_of_a_matrix_that_fails() {
    let mut a = family(6).remove(0).1;
    a[(2, 3)] = f64::NAN;
    let q = orthonormalize(stack(&[random(6, 6, 9)], DType::F32))
        .unwrap()
        .0;
    let config = OrthogonalIterationConfig::default();
    let basis = orthogonal_iteration(stack(&[a], DType::F32), q.clone(), &config).unwrap();
    assert_eq!(basis.outcomes, [Err(MatrixFailure::NonFinite)]);
    assert_eq!(matrix(&basis.vectors, 0), matrix(&q, 0));
}

#[test]
fn orthonormalize_completes_a_rank_deficient_basis() {
    let thin = random(20, 4, 10);
    let deficient = &thin * random(4, 12, 11);
    for dtype in TYPES {
        let (q, outcomes) = orthonormalize(stack(std::slice::from_ref(&deficient), dtype)).unwrap();
        assert!(outcomes[0].unwrap().residual < 100.0 * roundoff(dtype));
        let q = matrix(&q, 0);
        let unit = q.transpose() * &q;
        assert!(distance(&unit, &Mat::<f64>::identity(12, 12)) < 100.0 * roundoff(dtype));
        let back = &q * (q.transpose() * &deficient);
        assert!(distance(&back, &deficient) < 100.0 * roundoff(dtype));
    }
    let mut nan = random(5, 3, 1);
    nan[(4, 1)] = f64::NAN;
    let (_, outcomes) = orthonormalize(stack(&[nan], DType::F32)).unwrap();
    assert_eq!(outcomes, [Err(MatrixFailure::NonFinite)]);
}
