//! Counts of zero, tolerances and weights that are none, budgets of nothing: every function of
//! `osculate-curvature` that takes settings names the one that is wrong, before it makes a product.

use std::sync::Arc;
use std::time::Duration;

use burn::module::ParamId;
use burn::tensor::{DType, Device, Int, Shape, Tensor};
use osculate_curvature::{
    Agreement, AttackConfig, BatchRate, BlockLanczosConfig, Budget, Criterion, CurvatureError,
    DenseOperator, DensityConfig, DiagonalOperator, GeneralisedConfig, HutchinsonConfig,
    KernelPolynomialConfig, KrylovTraceConfig, LanczosConfig, LowRank, NeumannConfig,
    NystromConfig, ParamEntry, ParamLayout, ParamVec, PowerIterationConfig, Preconditioned,
    RemovalConfig, SketchConfig, SolveConfig, Structure, block_lanczos, block_masses,
    conjugate_gradient, generalised_lanczos, hutch_pp, hutchinson_abs, hutchinson_diagonal,
    hutchinson_trace, kernel_polynomial, krylov_trace, lanczos, membership_score, minres, neumann,
    nystrom, power_iteration, removal_step, spectral_density, squared_frobenius_norm, trac_in,
    xdiag, xnystrace, xtrace,
};

fn layout() -> Arc<ParamLayout> {
    let entry = ParamEntry {
        path: "weight".to_string(),
        id: ParamId::new(),
        shape: Shape::from(vec![3, 2]),
        dtype: DType::F32,
        device: Device::flex(),
    };
    Arc::new(ParamLayout::new(vec![entry]))
}

fn ones() -> ParamVec {
    ParamVec::from_values(&layout(), &[1.0; 6])
}

fn operator() -> DiagonalOperator {
    DiagonalOperator::new(ParamVec::from_values(
        &layout(),
        &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0],
    ))
}

type Made = Result<(), CurvatureError>;

/// Each setting is refused by the name that it is given here.
fn refused(cases: Vec<(&str, Made)>) {
    for (index, (name, made)) in cases.into_iter().enumerate() {
        let Err(CurvatureError::InvalidSetting {
            name: found,
            value,
            expected,
        }) = &made
        else {
            panic!("case {index}, {name}: {made:?}");
        };
        assert!(found.contains(name), "case {index}, {name}: {made:?}");
        assert!(!value.is_empty() && !expected.is_empty(), "{made:?}");
    }
}

#[test]
fn counts_of_zero_are_refused() {
    let (a, b) = (operator(), ones());
    let probes = HutchinsonConfig {
        probes: 0,
        ..HutchinsonConfig::default()
    };
    let sketch = SketchConfig {
        products: 0,
        ..SketchConfig::default()
    };
    let solve = SolveConfig {
        steps: 0,
        ..SolveConfig::default()
    };
    let krylov = |steps, probes| KrylovTraceConfig {
        steps,
        probes,
        ..KrylovTraceConfig::default()
    };
    let pairs = LanczosConfig {
        largest: 0,
        smallest: 0,
        ..LanczosConfig::default()
    };
    let steps = LanczosConfig {
        steps: 0,
        ..LanczosConfig::default()
    };
    let block = |block, products| BlockLanczosConfig {
        block,
        products,
        ..BlockLanczosConfig::default()
    };
    let generalised = GeneralisedConfig {
        steps: 0,
        ..GeneralisedConfig::default()
    };
    let power = PowerIterationConfig {
        iterations: 0,
        ..PowerIterationConfig::default()
    };
    let density = |steps, probes| DensityConfig {
        steps,
        probes,
        ..DensityConfig::default()
    };
    let kernel = |moments, probes| KernelPolynomialConfig {
        moments,
        probes,
        ..KernelPolynomialConfig::default()
    };
    let terms = NeumannConfig {
        terms: 0,
        ..NeumannConfig::default()
    };
    let rank = NystromConfig {
        rank: 0,
        ..NystromConfig::default()
    };
    let usual = (
        BlockLanczosConfig::default(),
        KrylovTraceConfig::default(),
        DensityConfig::default(),
        KernelPolynomialConfig::default(),
    );
    let attack = AttackConfig {
        learning_rate: 0.1,
        momentum: 0.9,
        weight_decay: 0.0,
        count: 0,
    };
    refused(vec![
        ("probes", hutchinson_trace(&a, &probes).map(drop)),
        ("probes", hutchinson_diagonal(&a, &probes).map(drop)),
        ("probes", hutchinson_abs(&a, &probes).map(drop)),
        ("probes", squared_frobenius_norm(&a, &probes).map(drop)),
        ("probes", block_masses(&a, &probes).map(drop)),
        ("products", hutch_pp(&a, &sketch).map(drop)),
        ("products", xtrace(&a, &sketch).map(drop)),
        ("products", xnystrace(&a, &sketch).map(drop)),
        ("products", xdiag(&a, &sketch).map(drop)),
        (
            "steps",
            krylov_trace(&a, &krylov(0, usual.1.probes)).map(drop),
        ),
        (
            "probes",
            krylov_trace(&a, &krylov(usual.1.steps, 0)).map(drop),
        ),
        ("", lanczos(&a, &pairs).map(drop)),
        ("steps", lanczos(&a, &steps).map(drop)),
        (
            "block",
            block_lanczos(&a, &block(Some(0), usual.0.products)).map(drop),
        ),
        ("products", block_lanczos(&a, &block(None, 0)).map(drop)),
        (
            "steps",
            generalised_lanczos(&a, &&a, &generalised).map(drop),
        ),
        ("iterations", power_iteration(&a, &power).map(drop)),
        (
            "steps",
            spectral_density(&a, &density(0, usual.2.probes)).map(drop),
        ),
        (
            "probes",
            spectral_density(&a, &density(usual.2.steps, 0)).map(drop),
        ),
        (
            "moments",
            kernel_polynomial(&a, &kernel(0, usual.3.probes)).map(drop),
        ),
        (
            "probes",
            kernel_polynomial(&a, &kernel(usual.3.moments, 0)).map(drop),
        ),
        ("steps", conjugate_gradient(&a, &b, None, &solve).map(drop)),
        ("steps", minres(&a, &b, &solve).map(drop)),
        ("terms", neumann(&a, &b, &terms).map(drop)),
        ("rank", nystrom(&a, &rank).map(drop)),
        (
            "count",
            membership_score(&a, 1.0, &b, &b, &attack).map(drop),
        ),
    ]);
}

#[test]
fn budgets_of_nothing_are_refused() {
    let (a, b) = (operator(), ones());
    for (name, budget) in [
        ("budget.products", Budget::products(0)),
        ("budget.gradient_evaluations", Budget::gradients(0.0)),
        ("budget.gradient_evaluations", Budget::gradients(f64::NAN)),
        ("budget.time", Budget::seconds(Duration::ZERO)),
    ] {
        let probes = HutchinsonConfig {
            budget,
            ..HutchinsonConfig::default()
        };
        let sketch = SketchConfig {
            budget,
            ..SketchConfig::default()
        };
        let solve = SolveConfig {
            budget,
            ..SolveConfig::default()
        };
        let density = DensityConfig {
            budget,
            ..DensityConfig::default()
        };
        let kernel = KernelPolynomialConfig {
            budget,
            ..KernelPolynomialConfig::default()
        };
        let krylov = KrylovTraceConfig {
            budget,
            ..KrylovTraceConfig::default()
        };
        let block = BlockLanczosConfig {
            budget,
            ..BlockLanczosConfig::default()
        };
        let terms = NeumannConfig {
            budget,
            ..NeumannConfig::default()
        };
        let rank = NystromConfig {
            budget,
            ..NystromConfig::default()
        };
        refused(vec![
            (name, hutchinson_trace(&a, &probes).map(drop)),
            (name, hutchinson_diagonal(&a, &probes).map(drop)),
            (name, hutch_pp(&a, &sketch).map(drop)),
            (name, xtrace(&a, &sketch).map(drop)),
            (name, xnystrace(&a, &sketch).map(drop)),
            (name, xdiag(&a, &sketch).map(drop)),
            (name, krylov_trace(&a, &krylov).map(drop)),
            (name, block_lanczos(&a, &block).map(drop)),
            (name, spectral_density(&a, &density).map(drop)),
            (name, kernel_polynomial(&a, &kernel).map(drop)),
            (name, conjugate_gradient(&a, &b, None, &solve).map(drop)),
            (name, minres(&a, &b, &solve).map(drop)),
            (name, neumann(&a, &b, &terms).map(drop)),
            (name, nystrom(&a, &rank).map(drop)),
        ]);
    }
}

#[test]
fn numbers_that_are_none_are_refused() {
    let (a, b) = (operator(), ones());
    for wrong in [f64::NAN, f64::INFINITY] {
        let solve = SolveConfig::damped(wrong);
        let solved = conjugate_gradient(&a, &b, None, &solve).map(drop);
        let shifted = minres(&a, &b, &solve).map(drop);
        refused(vec![("damping", solved), ("damping", shifted)]);
    }
    for wrong in [f64::NAN, f64::NEG_INFINITY, -1.0] {
        let tolerance = LanczosConfig {
            tolerance: wrong,
            ..LanczosConfig::default()
        };
        let share = RemovalConfig {
            share: wrong,
            solve: SolveConfig::default(),
        };
        let labels = Tensor::<1, Int>::from_data([0, 1], &Device::flex());
        refused(vec![
            ("damping", a.damped_inverse(wrong).map(drop)),
            ("tolerance", lanczos(&a, &tolerance).map(drop)),
            ("share", removal_step(&a, &a, &b, &share).map(drop)),
            (
                "smoothing",
                Criterion::smoothed_cross_entropy(labels, wrong).map(drop),
            ),
            ("sharpness", BatchRate::fit((1, wrong), (8, 1.0)).map(drop)),
        ]);
    }
    refused(vec![
        ("checkpoints", trac_in(&[]).map(drop)),
        ("measurements", Agreement::between(&[], &[]).map(drop)),
        (
            "measurements",
            Agreement::between(&[1.0, 2.0], &[1.0]).map(drop),
        ),
        (
            "predictions",
            Agreement::between(&[1.0, 1.0], &[1.0, 2.0]).map(drop),
        ),
        (
            "matrix elements",
            DenseOperator::new(layout(), vec![1.0; 5], Structure::Symmetric).map(drop),
        ),
    ]);
    let error = Agreement::between(&[1.0, f64::NAN], &[1.0, 2.0]).unwrap_err();
    assert!(matches!(error, CurvatureError::NonFinite { .. }), "{error}");
    let other = ParamVec::from_values(
        &Arc::new(ParamLayout::new(vec![ParamEntry {
            path: "other".to_string(),
            ..layout().entries()[0].clone()
        }])),
        &[1.0; 6],
    );
    let error = Preconditioned::new(&a, other).map(drop).unwrap_err();
    assert!(
        matches!(error, CurvatureError::LayoutMismatch { .. }),
        "{error}"
    );
    let negative = Preconditioned::by_diagonal(&a, &b.scale(-1.0)).map(drop);
    assert!(negative.is_err());
    assert!(LowRank::new(layout(), &[], f64::NAN).map(drop).is_err());
}
