//! Solvers and what is made of them.

use osculate_curvature::{
    Budget, CurvatureError, CurvatureOperator, DampedInverse, Deflation, DenseFactor,
    DiagonalOperator, GaussNewton, GradientOracle, GradientRows, NeumannConfig, NystromConfig,
    ParamVec, RemovalConfig, RightHandSide, SolveConfig, Structure, Woodbury, conjugate_gradient,
    deflated_conjugate_gradient, influence, influence_lissa, lsmr, minres, neumann, nystrom,
    removal_step, self_influence,
};

use crate::{SIZE, classifier, diagonal, layout, names_numbers};

fn nan() -> ParamVec {
    ParamVec::from_values(&layout(), &[f64::NAN; SIZE])
}

#[test]
fn numbers_that_are_none_are_told() {
    let b = ParamVec::gaussian(&layout(), 1);
    let element = |row| if row == 3 { f64::NAN } else { 1.0 };
    let broken = &diagonal(element, Structure::PositiveSemidefinite);
    let sound = &diagonal(|_| 1.0, Structure::PositiveSemidefinite);
    let config = SolveConfig::damped(0.1);
    for (operator, b) in [(broken, &b), (sound, &nan())] {
        names_numbers("cg", conjugate_gradient(operator, b, None, &config));
        names_numbers("minres", minres(operator, b, &config));
        names_numbers("neumann", neumann(operator, b, &NeumannConfig::default()));
        let inverse = DampedInverse::new(operator, config.clone()).unwrap();
        names_numbers("DampedInverse", inverse.apply(b));
        names_numbers(
            "influence",
            influence(&inverse, b, std::slice::from_ref(b), 4),
        );
        names_numbers(
            "self_influence",
            self_influence(&inverse, std::slice::from_ref(b)),
        );
        let series = NeumannConfig::default();
        names_numbers(
            "lissa",
            influence_lissa(operator, b, std::slice::from_ref(b), 4, &series),
        );
        let removal = RemovalConfig {
            share: 0.1,
            solve: config.clone(),
        };
        names_numbers("removal_step", removal_step(operator, sound, b, &removal));
    }
    names_numbers(
        "nystrom",
        nystrom(broken, &NystromConfig::default()).map(drop),
    );
    let directions = [ParamVec::basis(&layout(), 3)];
    names_numbers(
        "Deflation",
        Deflation::new(broken, &directions, 0.1).map(drop),
    );
    names_numbers("GradientRows", GradientRows::new(vec![nan()]).map(drop));
    let factor = DenseFactor::new(layout(), &[f64::NAN; SIZE]).unwrap();
    names_numbers("lsmr", lsmr(&factor, &RightHandSide::Vector(b), &config));
    let factor = DenseFactor::new(layout(), &[1.0; SIZE]).unwrap();
    names_numbers(
        "lsmr",
        lsmr(&factor, &RightHandSide::Vector(nan()), &config),
    );
    names_numbers(
        "lsmr",
        lsmr(&factor, &RightHandSide::Residual(vec![f64::NAN]), &config),
    );
}

#[test]
fn indefinite_operators_are_told_where_a_definite_one_is_needed() {
    let sign = |row: usize| if row.is_multiple_of(2) { 1.0 } else { -1.0 };
    let operator = &diagonal(sign, Structure::Symmetric);
    let b = ParamVec::gaussian(&layout(), 1);
    let config = SolveConfig::damped(0.1);
    let directions = [ParamVec::basis(&layout(), 1)];
    let inverse = DampedInverse::new(operator, config.clone()).unwrap();
    let removal = RemovalConfig {
        share: 0.1,
        solve: config.clone(),
    };
    let zero = diagonal(|_| 0.0, Structure::PositiveSemidefinite);
    let removed = removal_step(operator, &zero, &b, &removal);
    for (what, error) in [
        (
            "cg",
            conjugate_gradient(operator, &b, None, &config)
                .unwrap()
                .solved()
                .err(),
        ),
        (
            "neumann",
            neumann(operator, &b, &NeumannConfig::default()).err(),
        ),
        (
            "nystrom",
            nystrom(operator, &NystromConfig::default()).err(),
        ),
        (
            "Deflation",
            Deflation::new(operator, &directions, 0.1).err(),
        ),
        ("DampedInverse", inverse.apply(&b).err()),
        (
            "influence",
            influence(&inverse, &b, std::slice::from_ref(&b), 4).err(),
        ),
        ("removal_step", removed.unwrap().solved().err()),
    ] {
        let error = error.expect(what);
        let typed = matches!(error, CurvatureError::NotPositiveDefinite { .. });
        assert!(
            typed && error.to_string().contains("raise the damping"),
            "{what}: {error}"
        );
    }
    // It is for any symmetric operator.
    assert!(minres(operator, &b, &config).unwrap().converged);

    let definite = diagonal(|row| 1.0 + row as f64, Structure::PositiveSemidefinite);
    let values: Vec<f64> = (0..SIZE).map(|row| 0.5 * sign(row)).collect();
    let wrong = DiagonalOperator::new(ParamVec::from_values(&layout(), &values));
    let error = conjugate_gradient(&definite, &b, Some(&wrong), &config).unwrap_err();
    assert!(
        matches!(error, CurvatureError::IndefinitePreconditioner { .. }),
        "{error}"
    );
    let error = wrong.damped_inverse(0.0).unwrap_err();
    assert!(
        matches!(error, CurvatureError::InvalidSetting { .. }),
        "{error}"
    );
    let rows = GradientRows::new(vec![b.clone()]).unwrap();
    assert!(Woodbury::new(rows, -1.0).is_err());
    let deflation = Deflation::new(&definite, &directions, 0.1).unwrap();
    let other = SolveConfig::damped(0.2);
    assert!(deflated_conjugate_gradient(&definite, &b, &deflation, &other).is_err());
}

#[test]
fn a_budget_too_small_for_one_product_says_what_one_takes() {
    let (model, batch) = classifier(4, 1.0);
    let oracle = GradientOracle::new(&model, &batch);
    let operator = &GaussNewton::new(&oracle).unwrap();
    let b = oracle.clean().unwrap().gradient.clone();
    let budget = Budget::gradients(0.1);
    let solve = SolveConfig {
        budget,
        ..SolveConfig::damped(0.1)
    };
    let series = NeumannConfig {
        budget,
        ..NeumannConfig::default()
    };
    let sketch = NystromConfig {
        budget,
        ..NystromConfig::default()
    };
    for (what, error) in [
        ("cg", conjugate_gradient(operator, &b, None, &solve).err()),
        ("minres", minres(operator, &b, &solve).err()),
        ("neumann", neumann(operator, &b, &series).err()),
        ("nystrom", nystrom(operator, &sketch).err()),
    ] {
        let error = error.expect(what);
        assert!(
            matches!(error, CurvatureError::BudgetTooSmall { .. }),
            "{what}: {error}"
        );
    }
}
