use burn::tensor::{DType, Tensor};
use faer::Mat;
use osculate_linalg::{
    MatrixFailure, newton_schulz, orthogonality_defect, polar_express, quintic_newton_schulz,
    spectral_norm_lower, spectral_norm_upper,
};

use crate::matrices::*;

/// `U Vᵀ` through faer in f64.
fn polar(a: &Mat<f64>) -> Mat<f64> {
    let svd = a.thin_svd().expect("converges");
    svd.U() * svd.V().transpose()
}

fn singular_values(a: &Mat<f64>) -> Vec<f64> {
    a.singular_values().expect("converges")
}

/// A matrix with given singular values.
fn with_singular_values(m: usize, n: usize, values: &[f64]) -> Mat<f64> {
    let svd = random(m, n, 12).thin_svd().expect("converges");
    let scaled = Mat::from_fn(m, m.min(n), |i, j| svd.U()[(i, j)] * values[j]);
    &scaled * svd.V().transpose()
}

#[test]
fn polar_factors_agree_with_the_svd() {
    for (m, n) in [(1, 1), (8, 8), (5, 20), (20, 5), (1, 7), (7, 1)] {
        let values: Vec<f64> = (0..m.min(n)).map(|i| 3.0 * 0.5f64.powi(i as i32)).collect();
        let a = with_singular_values(m, n, &values);
        let want = polar(&a);
        for (dtype, tolerance) in [(DType::F32, 1e-5), (DType::F64, 1e-12)] {
            let stacked = stack(&[a.clone(), a.clone()], dtype);
            let express = polar_express(stacked.clone(), 12);
            assert!(distance(&matrix(&express, 1), &want) < tolerance, "{m} {n}");
            assert!(vector(orthogonality_defect(express))[0] < tolerance);
            let cubic = newton_schulz(stacked, 30);
            assert!(distance(&matrix(&cubic.value, 0), &want) < tolerance);
            assert!(cubic.outcomes(tolerance).unwrap()[1].is_ok());
        }
    }
}

#[test]
fn polar_express_brings_small_singular_values_up() {
    let values: Vec<f64> = (0..10).map(|i| 10f64.powf(-2.9 * i as f64 / 9.0)).collect();
    let a = with_singular_values(10, 14, &values);
    let norm = a.norm_l2();
    assert!(values[9] / norm > 0.5e-3);
    for (steps, least) in [(6, 0.9), (8, 0.999)] {
        let factor = matrix(
            &polar_express(stack(std::slice::from_ref(&a), DType::F32), steps),
            0,
        );
        for value in singular_values(&factor) {
            assert!(value > least && value < 1.02, "{steps}: {value}");
        }
    }
}

#[test]
fn the_quintic_keeps_its_promise() {
    let values: Vec<f64> = (0..10).map(|i| 10f64.powf(-1.5 * i as f64 / 9.0)).collect();
    for (m, n) in [(10, 14), (14, 10)] {
        let a = with_singular_values(m, n, &values);
        let factor = matrix(&quintic_newton_schulz(stack(&[a], DType::F32), 5), 0);
        for value in singular_values(&factor) {
            assert!((0.67..1.14).contains(&value), "{value}");
        }
    }
}

/// The worked number of the specification sheet: five quintic steps of one 2 by 3 gradient.
#[test]
fn the_quintic_reproduces_the_oracle() {
    let a = Mat::from_fn(2, 3, |i, j| [[0.4, -0.3, 0.2], [0.1, 0.5, -0.6]][i][j]);
    let want = [
        1.010_528_475_525_587,
        -0.304_661_107_000_815,
        -0.007_088_653_138_412,
        0.435_125_707_112_093,
        0.362_687_536_986_970,
        -0.561_342_679_067_738,
    ];
    let factor = matrix(&quintic_newton_schulz(stack(&[a], DType::F64), 5), 0);
    for (index, want) in want.iter().enumerate() {
        assert!((factor[(index / 3, index % 3)] - want).abs() < 1e-6);
    }
}

#[test]
fn stacks_sizes_and_rank() {
    let low = &random(9, 2, 13) * random(2, 6, 14);
    for (index, scale) in [1e-20, 1.0, 1e20].into_iter().enumerate() {
        let scaled = Mat::from_fn(9, 6, |i, j| low[(i, j)] * scale);
        let factor = matrix(&polar_express(stack(&[scaled], DType::F32), 10), 0);
        let values = singular_values(&factor);
        assert!(values[1] > 0.999 && values[2] < 0.5, "{index}: {values:?}");
    }
    let zero = Tensor::<3>::zeros([2, 4, 3], &device());
    assert_eq!(matrix(&polar_express(zero, 5), 1), Mat::<f64>::zeros(4, 3));
    for shape in [[0, 2, 3], [2, 0, 3], [2, 3, 0]] {
        let empty = Tensor::<3>::zeros(shape, &device());
        assert_eq!(polar_express(empty.clone(), 5).dims(), shape);
        assert_eq!(orthogonality_defect(empty.clone()).dims(), [shape[0]]);
        assert_eq!(spectral_norm_upper(empty.clone()).dims(), [shape[0]]);
        assert_eq!(spectral_norm_lower(empty, 4, 2).dims(), [shape[0]]);
    }
}

#[test]
fn a_nan_is_a_typed_failure_of_its_matrix_alone() {
    let mut bad = random(4, 6, 15);
    bad[(2, 2)] = f64::NAN;
    let good = random(4, 6, 16);
    let solution = newton_schulz(stack(&[bad, good], DType::F32), 25);
    let outcomes = solution.outcomes(1e-3).unwrap();
    assert_eq!(outcomes[0], Err(MatrixFailure::NonFinite));
    assert!(outcomes[1].is_ok());
}

#[test]
fn half_precision_factors_keep_their_type() {
    let a = stack(&[random(6, 6, 17)], DType::F32);
    for dtype in [DType::F16, DType::BF16] {
        let half = a.clone().cast(dtype);
        let factor = polar_express(half.clone(), 8);
        assert_eq!(factor.dtype(), dtype);
        let wide = polar_express(half.cast(DType::F32), 8).cast(dtype);
        assert_eq!(matrix(&factor, 0), matrix(&wide, 0));
    }
}

#[test]
fn norm_bounds_hold_and_are_near() {
    let matrices = [
        random(12, 12, 18),
        with_singular_values(12, 12, &(0..12).map(|i| 0.1f64.powi(i)).collect::<Vec<_>>()),
        Mat::<f64>::zeros(12, 12),
        Mat::from_fn(12, 12, |i, j| if i == j { 1e-18 } else { 0.0 }),
        Mat::from_fn(12, 12, |i, j| 1e18 * (i as f64 - j as f64)),
    ];
    for dtype in TYPES {
        let upper = vector(spectral_norm_upper(stack(&matrices, dtype)));
        let lower = vector(spectral_norm_lower(stack(&matrices, dtype), 8, 3));
        for (index, a) in matrices.iter().enumerate() {
            let norm = singular_values(a)[0];
            let slack = norm * 1e-5;
            assert!(
                upper[index] >= norm - slack && upper[index] <= 3.5 * norm,
                "{index}"
            );
            assert!(
                lower[index] <= norm + slack && lower[index] >= 0.9 * norm,
                "{index}"
            );
        }
    }
    let mut nan = random(3, 5, 19);
    nan[(0, 4)] = f64::NAN;
    let nan = stack(&[nan], DType::F32);
    assert!(vector(spectral_norm_upper(nan.clone()))[0].is_nan());
    assert!(vector(spectral_norm_lower(nan, 4, 2))[0].is_nan());
}
