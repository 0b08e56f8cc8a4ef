//! Products that are not numbers, budgets that are too small, and operators that are not definite.

use std::time::Duration;

use osculate_curvature::{
    BlockLanczosConfig, Budget, CurvatureError, CurvatureOperator, DensePosterior, DensityConfig,
    DiagonalPosterior, GaussNewton, GeneralisedConfig, GradientOracle, HutchinsonConfig,
    KernelPolynomialConfig, KrylovTraceConfig, LanczosConfig, LaplaceConfig, ParamVec,
    PowerIterationConfig, SketchConfig, Structure, block_lanczos, block_masses, dense_diagonal,
    dense_matrix, generalised_lanczos, hutch_pp, hutchinson_abs, hutchinson_diagonal,
    hutchinson_trace, kernel_polynomial, krylov_trace, lanczos, power_iteration, spectral_density,
    squared_frobenius_norm, symmetry_check, xdiag, xnystrace, xtrace,
};

use crate::{SIZE, classifier, diagonal, names_numbers};

const SKETCH: SketchConfig = SketchConfig {
    products: 12,
    seed: 0,
    budget: Budget {
        products: None,
        gradient_evaluations: None,
        time: None,
    },
};

#[test]
fn products_that_are_not_numbers_are_told() {
    let nan = |row| if row == 3 { f64::NAN } else { 1.0 };
    let operator = &diagonal(nan, Structure::PositiveSemidefinite);
    let hutchinson = HutchinsonConfig::default();
    names_numbers("lanczos", lanczos(operator, &LanczosConfig::default()));
    names_numbers(
        "block_lanczos",
        block_lanczos(operator, &BlockLanczosConfig::default()),
    );
    names_numbers(
        "power_iteration",
        power_iteration(operator, &PowerIterationConfig::default()),
    );
    names_numbers(
        "spectral_density",
        spectral_density(operator, &DensityConfig::default()),
    );
    names_numbers(
        "kernel_polynomial",
        kernel_polynomial(operator, &KernelPolynomialConfig::default()),
    );
    let one = diagonal(|_| 1.0, Structure::PositiveSemidefinite);
    let config = GeneralisedConfig::default();
    names_numbers(
        "generalised_lanczos",
        generalised_lanczos(operator, &one, &config),
    );
    names_numbers("hutchinson_trace", hutchinson_trace(operator, &hutchinson));
    names_numbers(
        "hutchinson_diagonal",
        hutchinson_diagonal(operator, &hutchinson),
    );
    names_numbers("hutchinson_abs", hutchinson_abs(operator, &hutchinson));
    names_numbers(
        "squared_frobenius_norm",
        squared_frobenius_norm(operator, &hutchinson),
    );
    names_numbers("block_masses", block_masses(operator, &hutchinson));
    names_numbers("hutch_pp", hutch_pp(operator, &SKETCH));
    names_numbers("xtrace", xtrace(operator, &SKETCH));
    names_numbers("xnystrace", xnystrace(operator, &SKETCH));
    names_numbers("xdiag", xdiag(operator, &SKETCH));
    names_numbers(
        "krylov_trace",
        krylov_trace(operator, &KrylovTraceConfig::default()),
    );
    names_numbers("dense_matrix", dense_matrix(operator));
    names_numbers("dense_diagonal", dense_diagonal(operator));
    let laplace = LaplaceConfig {
        scale: 1.0,
        prior_precision: 1.0,
    };
    names_numbers(
        "DensePosterior",
        DensePosterior::new(operator, &laplace).map(drop),
    );
    let elements = ParamVec::from_values(&operator.layout(), &[f64::NAN; SIZE]);
    names_numbers(
        "DiagonalPosterior",
        DiagonalPosterior::new(&elements, &laplace).map(drop),
    );
    // It says so in its result.
    let v = ParamVec::gaussian(&operator.layout(), 0);
    let check = symmetry_check(operator, 3);
    assert!(check.is_err() || !check.unwrap().smooth, "{v:?}");
}

#[test]
fn a_budget_too_small_for_one_product_says_what_one_takes() {
    let (model, batch) = classifier(4, 1.0);
    let oracle = GradientOracle::new(&model, &batch);
    let operator = &GaussNewton::new(&oracle).unwrap();
    let budget = Budget::gradients(0.1);
    let hutchinson = HutchinsonConfig {
        budget,
        ..HutchinsonConfig::default()
    };
    // Fewer than there are weights: the sketches would form the matrix otherwise.
    let sketch = SketchConfig {
        products: 6,
        budget,
        ..SKETCH
    };
    let krylov = KrylovTraceConfig {
        steps: 3,
        probes: 3,
        budget,
        ..KrylovTraceConfig::default()
    };
    let density = DensityConfig {
        budget,
        ..DensityConfig::default()
    };
    let polynomial = KernelPolynomialConfig {
        budget,
        ..KernelPolynomialConfig::default()
    };
    let block = BlockLanczosConfig {
        budget,
        ..BlockLanczosConfig::default()
    };
    for (what, error) in [
        (
            "hutchinson_trace",
            hutchinson_trace(operator, &hutchinson).err(),
        ),
        (
            "hutchinson_diagonal",
            hutchinson_diagonal(operator, &hutchinson).err(),
        ),
        (
            "hutchinson_abs",
            hutchinson_abs(operator, &hutchinson).err(),
        ),
        (
            "squared_frobenius_norm",
            squared_frobenius_norm(operator, &hutchinson).err(),
        ),
        ("block_masses", block_masses(operator, &hutchinson).err()),
        ("hutch_pp", hutch_pp(operator, &sketch).err()),
        ("xtrace", xtrace(operator, &sketch).err()),
        ("xnystrace", xnystrace(operator, &sketch).err()),
        ("xdiag", xdiag(operator, &sketch).err()),
        ("krylov_trace", krylov_trace(operator, &krylov).err()),
        (
            "spectral_density",
            spectral_density(operator, &density).err(),
        ),
        (
            "kernel_polynomial",
            kernel_polynomial(operator, &polynomial).err(),
        ),
        ("block_lanczos", block_lanczos(operator, &block).err()),
    ] {
        let error = error.expect(what);
        assert!(
            matches!(error, CurvatureError::BudgetTooSmall { .. }),
            "{what}: {error}"
        );
        assert!(
            error.to_string().contains("allow at least that"),
            "{what}: {error}"
        );
    }
    for budget in [
        Budget::products(0),
        Budget::seconds(Duration::ZERO),
        Budget::gradients(-1.0),
    ] {
        let config = HutchinsonConfig {
            budget,
            ..HutchinsonConfig::default()
        };
        let error = hutchinson_trace(operator, &config).unwrap_err();
        assert!(
            matches!(error, CurvatureError::InvalidSetting { .. }),
            "{error}"
        );
    }
}

#[test]
fn an_indefinite_operator_where_a_definite_one_is_needed_says_what_to_do() {
    let sign = |row: usize| if row.is_multiple_of(2) { 1.0 } else { -1.0 };
    let operator = &diagonal(sign, Structure::Symmetric);
    let definite = diagonal(|_| 1.0, Structure::PositiveSemidefinite);
    let laplace = LaplaceConfig {
        scale: 1.0,
        prior_precision: 0.5,
    };
    let generalised = GeneralisedConfig::default();
    for (what, error) in [
        ("xnystrace", xnystrace(operator, &SKETCH).err()),
        (
            "generalised_lanczos",
            generalised_lanczos(&definite, operator, &generalised).err(),
        ),
        (
            "DensePosterior",
            DensePosterior::new(operator, &laplace).err(),
        ),
    ] {
        let error = error.expect(what);
        let typed = matches!(error, CurvatureError::NotPositiveDefinite { .. });
        assert!(
            typed && error.to_string().contains("Gauss-Newton"),
            "{what}: {error}"
        );
    }
}
