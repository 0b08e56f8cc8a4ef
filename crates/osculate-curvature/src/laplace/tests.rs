use super::*;
use crate::error::CurvatureError;
use crate::operator::{CurvatureOperator, DenseOperator, Structure, dense_diagonal};
use crate::params::ParamVec;
use crate::spectrum::{LanczosConfig, lanczos};
use crate::testing::{assert_close, layout, m12, mixed};

const X: [[f64; 2]; 6] = [
    [1.0, 0.0],
    [0.0, 1.0],
    [1.0, 1.0],
    [2.0, -1.0],
    [-1.0, 0.5],
    [0.5, 2.0],
];
const Y: [f64; 6] = [1.0, -1.0, 0.5, 2.0, 0.0, 1.0];
/// Variance of the observations, and precision of the prior.
const NOISE: f64 = 0.25;
const PRIOR: f64 = 0.5;

/// Mean Gram matrix of the inputs: the curvature of the mean of half squares.
fn gram() -> DenseOperator {
    let element = |k: usize| X.iter().map(|x| x[k / 2] * x[k % 2]).sum::<f64>() / 6.0;
    let rows = (0..4).map(element).collect();
    DenseOperator::new(layout(&[2]), rows, Structure::PositiveSemidefinite).unwrap()
}

fn config() -> LaplaceConfig {
    LaplaceConfig {
        scale: 6.0 / NOISE,
        prior_precision: PRIOR,
    }
}

fn query() -> Vec<ParamVec> {
    vec![ParamVec::from_values(&layout(&[2]), &[1.0, 0.5])]
}

fn log_likelihood(w: [f64; 2]) -> f64 {
    let squares: f64 = X
        .iter()
        .zip(Y)
        .map(|(x, y)| (x[0] * w[0] + x[1] * w[1] - y).powi(2))
        .sum();
    -0.5 * squares / NOISE - 3.0 * (std::f64::consts::TAU * NOISE).ln()
}

#[test]
fn variances_of_all_structures_are_the_oracles() {
    let operator = gram();
    let full = DensePosterior::new(&operator, &config()).unwrap();
    let diagonal = dense_diagonal(&operator).unwrap();
    let diagonal = DiagonalPosterior::new(&diagonal, &config()).unwrap();
    let top = LanczosConfig {
        largest: 1,
        tolerance: 1e-12,
        ..LanczosConfig::default()
    };
    let pairs = lanczos(&operator, &top).unwrap().largest;
    let low = LowRankPosterior::new(operator.layout(), &pairs, &config()).unwrap();
    for (posterior, variance) in [
        (&full as &dyn Posterior, 0.04487734487734487),
        (&diagonal, 0.0423728813559322),
        (&low, 2.253968253968254),
    ] {
        let found = predictive_covariance(posterior, &query()).unwrap();
        assert!(
            (found[0][0] - variance).abs() < 1e-9,
            "{found:?} {variance}"
        );
    }
    let first = ParamVec::from_values(&layout(&[2]), &[1.0, 0.0]);
    let column = full.covariance(&first).unwrap().to_values();
    assert_close(&column, &[0.03405483405483405, 0.002308802308802309], 1e-12);
}

#[test]
fn the_evidence_of_a_linear_model_is_exact() {
    let full = DensePosterior::new(&gram(), &config()).unwrap();
    let mean = [0.8126984126984127, -0.012698412698412698];
    let distance = mean[0] * mean[0] + mean[1] * mean[1];
    let found = log_evidence(&full, log_likelihood(mean), distance, PRIOR).unwrap();
    assert!((found + 10.164902706601001).abs() < 1e-10, "{found}");
}

#[test]
fn the_prior_of_the_largest_evidence_is_found() {
    let full = DensePosterior::new(&gram(), &config()).unwrap();
    let eigenvalues = full.eigenvalues().unwrap();
    let determinant = |tau: f64| eigenvalues.iter().map(|x| (x / tau).ln_1p()).sum::<f64>();
    let mean = [0.8126984126984127, -0.012698412698412698];
    let distance = mean[0] * mean[0] + mean[1] * mean[1];
    let found = fit_prior(determinant, log_likelihood(mean), distance, (1e-4, 1e4)).unwrap();
    assert!(found.interior);
    for factor in [0.9, 1.1] {
        let config = LaplaceConfig {
            prior_precision: found.prior_precision * factor,
            ..config()
        };
        let posterior = DensePosterior::new(&gram(), &config).unwrap();
        let tau = config.prior_precision;
        let other = log_evidence(&posterior, log_likelihood(mean), distance, tau).unwrap();
        assert!(other < found.log_evidence, "{other} {found:?}");
    }
    // Where the evidence is NaN, it must not win.
    let broken = |tau: f64| {
        if tau < 1.0 {
            f64::NAN
        } else {
            determinant(tau)
        }
    };
    let found = fit_prior(broken, log_likelihood(mean), distance, (1e-4, 1e4)).unwrap();
    assert!(found.prior_precision >= 1.0);
    assert!(fit_prior(|_| f64::NAN, 0.0, 1.0, (1e-4, 1e4)).is_err());
    assert!(fit_prior(|_| 0.0, 0.0, 1.0, (1.0, 1.0)).is_err());
}

#[test]
fn samples_have_the_covariance() {
    let eigenvalues = [4.0, 1.0, 0.3, 0.0];
    let operator = mixed(&eigenvalues, &[1, 3], Structure::PositiveSemidefinite);
    let config = LaplaceConfig {
        scale: 5.0,
        prior_precision: 0.7,
    };
    let all = LanczosConfig {
        largest: 2,
        ..LanczosConfig::default()
    };
    let pairs = lanczos(&operator, &all).unwrap().largest;
    let diagonal = dense_diagonal(&operator).unwrap();
    let full = DensePosterior::new(&operator, &config).unwrap();
    let low = LowRankPosterior::new(operator.layout(), &pairs, &config).unwrap();
    let diagonal = DiagonalPosterior::new(&diagonal, &config).unwrap();
    for posterior in [&full as &dyn Posterior, &low, &diagonal] {
        let draws: Vec<Vec<f64>> = (0..3000)
            .map(|seed| posterior.sample(seed).unwrap().to_values())
            .collect();
        for k in 0..4 {
            let unit = ParamVec::basis(&posterior.layout(), k);
            let column = posterior.covariance(&unit).unwrap().to_values();
            for (l, expected) in column.iter().enumerate() {
                let terms: Vec<f64> = draws.iter().map(|draw| draw[k] * draw[l]).collect();
                let found = crate::Estimate::from_samples(&terms);
                let apart = (found.value - expected) / found.standard_error.unwrap();
                assert!(apart.abs() < 4.0, "{k} {l}: {found:?} {expected}");
            }
        }
    }
    // The determinants of all structures agree where they must.
    let exact: f64 = eigenvalues.iter().map(|x| (5.0 * x + 0.7_f64).ln()).sum();
    assert!((full.log_determinant().unwrap() - exact).abs() < 1e-10);
    let known: f64 = [4.0, 1.0, 0.0, 0.0]
        .iter()
        .map(|x| (5.0 * x + 0.7_f64).ln())
        .sum();
    assert!((low.log_determinant().unwrap() - known).abs() < 1e-4);
}

#[test]
fn probabilities_are_moderated_as_in_the_oracle() {
    let found = probit(&[1.0, 0.0, -1.0], &[2.0, 0.5, 0.1]).unwrap();
    let expected = [0.6058665327662623, 0.28665001013273766, 0.10748345710099995];
    assert_close(&found, &expected, 1e-12);
    let found = probit(&[1.0, 0.0, -1.0], &[0.0; 3]).unwrap();
    let expected = [0.6652409557748218, 0.24472847105479764, 0.09003057317038046];
    assert_close(&found, &expected, 1e-12);
    assert!(probit(&[1.0], &[]).is_err());
    assert!(probit(&[f64::NAN], &[1.0]).is_err());
    assert!(probit(&[0.0], &[-1.0]).is_err());
}

#[test]
fn indefinite_curvature_is_refused() {
    let config = LaplaceConfig {
        scale: 100.0,
        prior_precision: 1.0,
    };
    let error = DensePosterior::new(&m12(), &config).unwrap_err();
    assert!(matches!(error, CurvatureError::NotPositiveDefinite { .. }));
    let wrong = LaplaceConfig {
        prior_precision: 0.0,
        ..config
    };
    assert!(DensePosterior::new(&m12(), &wrong).is_err());
}
