use super::*;
use crate::operator::Structure;
use crate::spectrum::quadrature::run_abreast;
use crate::testing::{M12_EIGENVALUES, assert_close, m12, mixed, signs};

/// The quadratures of the oracle's probes on its matrix.
fn oracle(from: u32, count: u32, steps: usize) -> SpectralDensity {
    let operator = m12();
    let probes = signs(&operator.layout(), from, count);
    let mut tally = Tally::unlimited();
    let runs = run_abreast(&operator, &probes, steps, &Basis::default(), &mut tally).unwrap();
    SpectralDensity {
        dimension: 12,
        outliers: Vec::new(),
        probes: runs
            .iter()
            .map(|run| Quadrature::new(run, 12.0).unwrap())
            .collect(),
        cost: tally.cost,
        products: tally.products,
        product_error: None,
        provenance: Provenance::Exact,
        converged: true,
    }
}

#[test]
fn nodes_and_weights_are_the_oracles() {
    let density = oracle(1, 1, 6);
    let nodes = [
        -0.39678603296019105,
        0.09470810250054701,
        0.4660628478848803,
        2.999984542297886,
        5.999999423261346,
        9.999999995655017,
    ];
    let weights = [
        0.12415880155391877,
        0.47192905583434946,
        0.10031864133327743,
        0.15615913325285097,
        0.08904076360077552,
        0.05839360442482746,
    ];
    assert_close(&density.probes[0].nodes, &nodes, 1e-10);
    assert_close(&density.probes[0].weights, &weights, 1e-10);
}

#[test]
fn the_rule_is_exact_up_to_twice_its_nodes() {
    let operator = m12();
    let z = &signs(&operator.layout(), 1, 1)[0];
    let density = oracle(1, 1, 6);
    let mut power = z.clone();
    for degree in 0..13 {
        let exact = z.dot(&power);
        let found = density.probes[0].integrate(|x| x.powi(degree));
        let apart = (found - exact).abs() / exact.abs();
        if degree < 12 {
            assert!(apart < 1e-12, "degree {degree}: {apart:e}");
        } else {
            assert!(apart > 1e-12, "degree {degree} is beyond the rule");
        }
        power = operator.apply(&power).unwrap().value;
    }
}

#[test]
fn densities_and_integrals_are_the_oracles() {
    let density = oracle(100, 16, 6);
    let grid = [-0.4, 0.0, 0.5, 3.0, 10.0];
    let curve = density.curve(&grid, Width::Absolute(0.25)).unwrap();
    let values: Vec<f64> = curve.iter().map(|point| point.density.value).collect();
    let errors: Vec<f64> = curve
        .iter()
        .map(|point| point.density.standard_error.unwrap())
        .collect();
    assert_close(
        &values,
        &[
            0.3965166350985015,
            0.8410116441486792,
            0.3735238077750065,
            0.12195963184135647,
            0.12946080397178675,
        ],
        1e-10,
    );
    assert_close(
        &errors,
        &[
            0.06417345365045711,
            0.04247044429717444,
            0.03927629337264724,
            0.024620860305992014,
            0.01223247522632468,
        ],
        1e-10,
    );
    // The oracle has no floor under its logarithms; ours is a tenth of one eigenvalue's bump.
    let logs: Vec<f64> = curve
        .iter()
        .map(|point| point.log10_error.unwrap())
        .collect();
    for (ours, theirs) in logs.iter().zip([0.0720, 0.0220, 0.0456, 0.0909, 0.0415]) {
        assert!(
            *ours < theirs && *ours > 0.85 * theirs - 0.012,
            "{ours} {theirs}"
        );
    }

    let cumulative = density.cumulative(&[-0.01, 1.0, 5.0]);
    let values: Vec<f64> = cumulative.iter().map(|point| point.value).collect();
    let expected = [0.21907057084095305, 0.7642045383492648, 0.8406314055591988];
    assert_close(&values, &expected, 1e-10);
    assert!((cumulative[0].standard_error.unwrap() - 0.06942471271527281).abs() < 1e-10);

    let found = [
        density.absolute_trace(),
        density.log_determinant(0.1),
        density.trace(),
    ];
    let (values, errors): (Vec<f64>, Vec<f64>) = found
        .iter()
        .map(|estimate| (estimate.value, estimate.standard_error.unwrap()))
        .unzip();
    let expected = [19.911071485604015, 16.638875342981763, 18.41494625039282];
    assert_close(&values, &expected, 1e-10);
    let expected = [1.3995285028647122, 1.4375687944353897, 1.569503056877848];
    assert_close(&errors, &expected, 1e-10);
}

#[test]
fn the_density_integrates_to_one() {
    let density = spectral_density(&m12(), &DensityConfig::default()).unwrap();
    let (low, high) = density.range();
    let width = density.default_width();
    let sigma = density.resolution(width).unwrap();
    let points = 4000;
    let (from, to) = (low - 6.0 * sigma, high + 6.0 * sigma);
    let step = (to - from) / f64::from(points);
    let grid: Vec<f64> = (0..points)
        .map(|i| from + (f64::from(i) + 0.5) * step)
        .collect();
    let curve = density.curve(&grid, width).unwrap();
    let integral: f64 = curve.iter().map(|point| point.density.value * step).sum();
    assert!((integral - 1.0).abs() < 1e-3, "{integral}");
}

#[test]
fn clusters_leave_no_ghosts() {
    let eigenvalues: Vec<f64> = (0..200)
        .map(|i| [0.0, 1.0, 100.0][i % 3] + 1e-7 * i as f64)
        .collect();
    let operator = mixed(&eigenvalues, &[200], Structure::Symmetric);
    let config = DensityConfig {
        steps: 200,
        probes: 3,
        ..DensityConfig::default()
    };
    let density = spectral_density(&operator, &config).unwrap();
    for probe in &density.probes {
        for node in &probe.nodes {
            let near = [0.0, 1.0, 100.0].iter().any(|at| (node - at).abs() < 1e-4);
            assert!(near, "a node at {node}");
        }
        let at_top: f64 = probe
            .nodes
            .iter()
            .zip(&probe.weights)
            .filter(|(node, _)| **node > 50.0)
            .map(|(_, weight)| weight)
            .sum();
        assert!((at_top - 1.0 / 3.0).abs() < 0.15, "{at_top}");
    }
}

#[test]
fn deflated_outliers_have_no_sampling_error() {
    let operator = m12();
    let plain = DensityConfig {
        probes: 6,
        ..DensityConfig::default()
    };
    let deflated = DensityConfig {
        deflate: 3,
        ..plain
    };
    let error = |config: &DensityConfig| {
        let density = spectral_density(&operator, config).unwrap();
        let trace = density.trace();
        assert!(density.converged);
        let (low, high) = trace.interval(0.999).unwrap();
        assert!(low < 19.72 && high > 19.72, "{trace:?}");
        trace.standard_error.unwrap()
    };
    assert!(error(&deflated) < 0.2 * error(&plain));
    for distribution in [ProbeDistribution::Rademacher, ProbeDistribution::Gaussian] {
        let config = DensityConfig {
            distribution,
            probes: 400,
            ..deflated
        };
        let density = spectral_density(&operator, &config).unwrap();
        let exact: f64 = M12_EIGENVALUES.iter().map(|x| x.abs()).sum();
        let found = density.absolute_trace();
        let apart = (found.value - exact).abs() / found.standard_error.unwrap();
        assert!(apart < 3.5, "{distribution:?}: {apart} standard errors");
    }
}

#[test]
fn intervals_of_integrals_cover() {
    let steep: Vec<f64> = (1..=40).map(|i| 30.0 / f64::from(i * i) - 0.02).collect();
    let operator = mixed(&steep, &[15, 25], Structure::Symmetric);
    let exact = [
        steep.iter().sum::<f64>(),
        steep.iter().map(|x| (x.max(0.0) / 0.5).ln_1p()).sum(),
    ];
    let mut covered = [0; 2];
    for seed in 0..400 {
        let config = DensityConfig {
            steps: 12,
            probes: 6,
            seed,
            ..DensityConfig::default()
        };
        let density = spectral_density(&operator, &config).unwrap();
        let found = [density.trace(), density.log_determinant(0.5)];
        for ((count, estimate), exact) in covered.iter_mut().zip(found).zip(exact) {
            let (low, high) = estimate.interval(0.95).unwrap();
            *count += usize::from(low <= exact && exact <= high);
        }
    }
    for count in covered {
        let rate = count as f64 / 400.0;
        assert!((rate - 0.95).abs() <= 0.05, "{rate}");
    }
}

#[test]
fn shares_of_the_spectrum() {
    let config = DensityConfig {
        probes: 300,
        ..DensityConfig::default()
    };
    let density = spectral_density(&m12(), &config).unwrap();
    let sum: f64 = M12_EIGENVALUES.iter().map(|x| x.abs()).sum();
    for (found, exact) in [
        (density.negative_share(), 0.45 / sum),
        (density.participation_ratio(), sum * sum / 145.5554),
        (density.squared_frobenius_norm(), 145.5554),
        (density.fraction_within(0.15), 5.0 / 12.0),
    ] {
        let apart = (found.value - exact).abs() / found.standard_error.unwrap();
        assert!(apart < 3.5, "{found:?} for {exact}");
    }
}

#[test]
fn a_budget_leaves_probes_out() {
    let config = DensityConfig {
        steps: 6,
        probes: 10,
        budget: Budget::products(20),
        ..DensityConfig::default()
    };
    let density = spectral_density(&m12(), &config).unwrap();
    assert_eq!((density.probes.len(), density.products), (3, 18));
    assert!(!density.converged);
}

#[test]
fn wrong_settings_are_named() {
    let operator = m12();
    let none = DensityConfig {
        probes: 0,
        ..DensityConfig::default()
    };
    let error = spectral_density(&operator, &none).unwrap_err().to_string();
    assert_eq!(error, "probes = 0 is invalid, expected at least one probe");
    let density = spectral_density(&operator, &DensityConfig::default()).unwrap();
    assert!(density.curve(&[0.0], Width::Absolute(0.0)).is_err());
}

#[test]
fn probes_that_are_not_finite_are_an_error() {
    let nan = crate::operator::DenseOperator::new(
        crate::testing::layout(&[2]),
        vec![f64::NAN, 0.0, 0.0, 1.0],
        Structure::Symmetric,
    )
    .unwrap();
    let error = spectral_density(&nan, &DensityConfig::default()).unwrap_err();
    assert!(error.to_string().contains("Lanczos coefficient is NaN"));
}
