//! Selections, batches, weights and vectors.

use burn::module::ParamGroup;
use osculate_curvature::{
    AlignmentConfig, AlignmentPenalty, CurvatureError, CurvatureOperator, DampedInverse, Fisher,
    FisherKind, GaussNewton, GaussNewtonFactor, GradientOracle, Hessian, HessianConfig,
    HutchinsonConfig, HvpMode, LanczosConfig, Objective, ParamVec, Penalty, Restricted,
    SolveConfig, SpectralPenalty, gnb_diagonal, hutchinson_trace, lanczos, sample_gradients,
};

use crate::{classifier, names_numbers};

fn elsewhere() -> ParamGroup {
    ParamGroup::from_path("encoder.weight")
}

/// The paths there are stand in the message.
fn names_paths<T>(what: &str, result: Result<T, CurvatureError>) {
    let Err(error) = result else {
        panic!("{what} selects nothing");
    };
    assert!(
        matches!(error, CurvatureError::EmptySelection { .. }),
        "{what}: {error}"
    );
    assert!(error.to_string().contains("weight"), "{what}: {error}");
}

#[test]
fn a_selection_that_matches_nothing_lists_what_there_is() {
    let (model, batch) = classifier(4, 1.0);
    let oracle = GradientOracle::new(&model, &batch);
    let hessian = Hessian::new(&oracle).unwrap();
    let layout = hessian.layout();
    names_paths("Restricted", Restricted::new(&hessian, &elsewhere()));
    let v = ParamVec::zeros(&layout);
    names_paths("ParamVec::select", v.select(&elsewhere()));
    let trace = hutchinson_trace(&hessian, &HutchinsonConfig::default()).unwrap();
    names_paths("TraceEstimate::group", trace.group(&layout, &elsewhere()));
    let spectral = SpectralPenalty::new().with_group(elsewhere());
    names_paths("SpectralPenalty", spectral.evaluate(&model));
    let config = AlignmentConfig {
        group: Some(elsewhere()),
        ..AlignmentConfig::default()
    };
    let domains: Vec<&dyn Objective<_>> = vec![&batch, &batch];
    let alignment = AlignmentPenalty::new(domains, config).unwrap();
    names_paths("AlignmentPenalty", alignment.evaluate(&model));
}

#[test]
fn an_empty_batch_is_named() {
    let (model, batch) = classifier(0, 1.0);
    let oracle = GradientOracle::new(&model, &batch);
    let empty = |error: CurvatureError| {
        assert!(
            matches!(error, CurvatureError::EmptyBatch { .. }),
            "{error}"
        );
        assert!(
            error.to_string().contains("leave empty batches out"),
            "{error}"
        );
    };
    empty(oracle.clean().unwrap_err());
    empty(Hessian::new(&oracle).err().unwrap());
    empty(GaussNewton::new(&oracle).err().unwrap());
    empty(GaussNewtonFactor::new(&oracle).err().unwrap());
    empty(Fisher::new(&oracle, FisherKind::Empirical).err().unwrap());
    empty(sample_gradients(&oracle, &[0]).unwrap_err());
    empty(gnb_diagonal(&oracle, &Default::default()).unwrap_err());
}

#[test]
fn weights_that_are_not_numbers_are_told() {
    let (model, batch) = classifier(4, f64::NAN);
    let oracle = GradientOracle::new(&model, &batch);
    let differences = HessianConfig {
        mode: HvpMode::FiniteDifference,
        ..HessianConfig::default()
    };
    let by_differences = Hessian::with_config(&oracle, differences).unwrap();
    let gauss_newton = GaussNewton::new(&oracle).unwrap();
    let hessian = Hessian::new(&oracle).unwrap();
    let fisher = Fisher::new(&oracle, FisherKind::Empirical).unwrap();
    let operators: [(&str, &dyn CurvatureOperator); 4] = [
        ("differences", &by_differences),
        ("Gauss-Newton", &gauss_newton),
        ("Hessian", &hessian),
        ("Fisher", &fisher),
    ];
    for (what, operator) in operators {
        names_numbers(what, lanczos(operator, &LanczosConfig::default()));
        names_numbers(
            what,
            hutchinson_trace(operator, &HutchinsonConfig::default()),
        );
    }
}

#[test]
fn vectors_that_are_not_numbers_or_of_another_space_are_told() {
    let (model, batch) = classifier(4, 1.0);
    let oracle = GradientOracle::new(&model, &batch);
    let hessian = Hessian::new(&oracle).unwrap();
    let gauss_newton = GaussNewton::new(&oracle).unwrap();
    let fisher = Fisher::new(&oracle, FisherKind::Empirical).unwrap();
    let inverse = DampedInverse::new(&gauss_newton, SolveConfig::damped(0.1)).unwrap();
    let operators: [(&str, &dyn CurvatureOperator); 4] = [
        ("Hessian", &hessian),
        ("Gauss-Newton", &gauss_newton),
        ("Fisher", &fisher),
        ("inverse", &inverse),
    ];
    for (what, operator) in operators {
        let layout = operator.layout();
        let nan = ParamVec::zeros(&layout).map(|(_, x)| x.clone().add_scalar(f64::NAN));
        names_numbers(what, operator.apply(&nan));
        let other = ParamVec::zeros(&crate::layout());
        let error = operator.apply(&other).unwrap_err();
        assert!(
            matches!(error, CurvatureError::LayoutMismatch { .. }),
            "{what}: {error}"
        );
    }
}
