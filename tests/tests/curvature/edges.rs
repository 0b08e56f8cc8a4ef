//! Numbers that are none, spaces without elements and vectors of other models, in every public function
//! that takes an operator or a vector: a typed error, or an answer that is right, never a panic and never
//! a NaN in silence.

use std::sync::Arc;

use burn::module::ParamId;
use burn::tensor::{DType, Device, Shape};
use osculate_curvature::{
    AttackConfig, BlockLanczosConfig, CurvatureError, CurvatureOperator, DampedInverse,
    DensityConfig, DiagonalOperator, GeneralisedConfig, HutchinsonConfig, KernelPolynomialConfig,
    KrylovTraceConfig, LanczosConfig, NeumannConfig, NystromConfig, ParamEntry, ParamLayout,
    ParamVec, PowerIterationConfig, RemovalConfig, SketchConfig, SolveConfig, block_lanczos,
    block_masses, conjugate_gradient, dense_diagonal, dense_matrix, generalised_lanczos, hutch_pp,
    hutchinson_abs, hutchinson_diagonal, hutchinson_trace, influence, influence_lissa,
    kernel_polynomial, krylov_trace, lanczos, membership_score, minres, neumann, nystrom,
    power_iteration, removal_step, self_influence, spectral_density, squared_frobenius_norm,
    symmetry_check, xdiag, xnystrace, xtrace,
};

fn layout(shapes: &[&[usize]]) -> Arc<ParamLayout> {
    let entries = shapes.iter().enumerate().map(|(index, shape)| ParamEntry {
        path: format!("p{index}"),
        id: ParamId::new(),
        shape: Shape::from(shape.to_vec()),
        dtype: DType::F32,
        device: Device::flex(),
    });
    Arc::new(ParamLayout::new(entries.collect()))
}

fn diagonal(layout: &Arc<ParamLayout>, value: f64) -> DiagonalOperator {
    let values = vec![value; layout.num_elements()];
    DiagonalOperator::new(ParamVec::from_values(layout, &values))
}

type Numbers = Result<Vec<f64>, CurvatureError>;
type OfOperator = fn(&dyn CurvatureOperator) -> Numbers;
type OfVector = fn(&dyn CurvatureOperator, &ParamVec) -> Numbers;

const ATTACK: AttackConfig = AttackConfig {
    learning_rate: 0.1,
    momentum: 0.9,
    weight_decay: 0.0,
    count: 10,
};

/// Every function of an operator alone.
const OF_OPERATOR: &[(&str, OfOperator)] = &[
    ("hutchinson_trace", |a| {
        Ok(vec![
            hutchinson_trace(a, &HutchinsonConfig::default())?.value,
        ])
    }),
    ("hutchinson_diagonal", |a| {
        Ok(hutchinson_diagonal(a, &HutchinsonConfig::default())?
            .value
            .to_values())
    }),
    ("hutchinson_abs", |a| {
        Ok(hutchinson_abs(a, &HutchinsonConfig::default())?
            .value
            .to_values())
    }),
    ("hutch_pp", |a| {
        Ok(vec![hutch_pp(a, &SketchConfig::default())?.estimate.value])
    }),
    ("xtrace", |a| {
        Ok(vec![xtrace(a, &SketchConfig::default())?.estimate.value])
    }),
    ("xnystrace", |a| {
        Ok(vec![xnystrace(a, &SketchConfig::default())?.estimate.value])
    }),
    ("xdiag", |a| {
        Ok(xdiag(a, &SketchConfig::default())?.value.to_values())
    }),
    ("krylov_trace", |a| {
        Ok(vec![
            krylov_trace(a, &KrylovTraceConfig::default())?
                .estimate
                .value,
        ])
    }),
    ("squared_frobenius_norm", |a| {
        Ok(vec![
            squared_frobenius_norm(a, &HutchinsonConfig::default())?.value,
        ])
    }),
    ("block_masses", |a| {
        let masses = block_masses(a, &HutchinsonConfig::default())?;
        Ok(masses
            .masses
            .iter()
            .flatten()
            .map(|mass| mass.value)
            .collect())
    }),
    ("lanczos", |a| {
        let spectrum = lanczos(a, &LanczosConfig::default())?;
        Ok(spectrum.largest.iter().map(|pair| pair.value).collect())
    }),
    ("block_lanczos", |a| {
        let spectrum = block_lanczos(a, &BlockLanczosConfig::default())?;
        Ok(spectrum.largest.iter().map(|pair| pair.value).collect())
    }),
    ("generalised_lanczos", |a| {
        let found = generalised_lanczos(a, &a, &GeneralisedConfig::default())?;
        Ok(found.largest.iter().map(|pair| pair.value).collect())
    }),
    ("power_iteration", |a| {
        Ok(vec![
            power_iteration(a, &PowerIterationConfig::default())?
                .pair
                .value,
        ])
    }),
    ("spectral_density", |a| {
        let density = spectral_density(a, &DensityConfig::default())?;
        Ok(density.outliers.iter().map(|pair| pair.value).collect())
    }),
    ("kernel_polynomial", |a| {
        let found = kernel_polynomial(a, &KernelPolynomialConfig::default())?;
        Ok(vec![found.centre, found.half_width])
    }),
    ("nystrom", |a| {
        let found = nystrom(a, &NystromConfig::default())?;
        let ones = ParamVec::from_values(&a.layout(), &vec![1.0; a.layout().num_elements()]);
        Ok(found.operator.apply(&ones)?.value.to_values())
    }),
    ("dense_matrix", dense_matrix),
    ("dense_diagonal", |a| Ok(dense_diagonal(a)?.to_values())),
];

/// Every function of an operator and a vector.
const OF_VECTOR: &[(&str, OfVector)] = &[
    ("conjugate_gradient", |a, b| {
        Ok(conjugate_gradient(a, b, None, &SolveConfig::default())?
            .x
            .to_values())
    }),
    ("minres", |a, b| {
        Ok(minres(a, b, &SolveConfig::default())?.x.to_values())
    }),
    ("neumann", |a, b| {
        Ok(neumann(a, b, &NeumannConfig::default())?.x.to_values())
    }),
    ("DampedInverse", |a, b| {
        let inverse = DampedInverse::new(a, SolveConfig::damped(1.0))?;
        Ok(inverse.apply(b)?.value.to_values())
    }),
    ("influence", |a, b| {
        Ok(influence(a, b, std::slice::from_ref(b), 1)?.scores)
    }),
    ("influence_lissa", |a, b| {
        Ok(influence_lissa(a, b, std::slice::from_ref(b), 1, &NeumannConfig::default())?.scores)
    }),
    ("self_influence", |a, b| {
        Ok(self_influence(a, std::slice::from_ref(b))?.scores)
    }),
    ("membership_score", |a, b| {
        Ok(vec![membership_score(a, 1.0, b, b, &ATTACK)?])
    }),
    ("removal_step", |a, b| {
        let config = RemovalConfig {
            share: 0.1,
            solve: SolveConfig::default(),
        };
        Ok(removal_step(a, a, b, &config)?.x.to_values())
    }),
];

/// A panic is told as numbers that are none.
fn quietly(run: impl FnOnce() -> Numbers) -> Numbers {
    let made = std::panic::catch_unwind(std::panic::AssertUnwindSafe(run));
    made.unwrap_or_else(|_| Ok(vec![f64::NAN]))
}

/// Every function with an operator and a vector.
fn all(operator: &dyn CurvatureOperator, vector: &ParamVec) -> Vec<(&'static str, Numbers)> {
    let alone = OF_OPERATOR
        .iter()
        .map(|(name, run)| (*name, quietly(|| run(operator))));
    let with = OF_VECTOR
        .iter()
        .map(|(name, run)| (*name, quietly(|| run(operator, vector))));
    alone.chain(with).collect()
}

/// Those that answered with numbers that are none.
fn assert_finite(numbers: Vec<(&'static str, Numbers)>, what: &str) {
    let wrong = numbers.iter().filter(|(_, numbers)| match numbers {
        Ok(numbers) => numbers.iter().any(|x| !x.is_finite()),
        Err(_) => false,
    });
    let wrong: Vec<_> = wrong.collect();
    assert!(wrong.is_empty(), "{what}: {wrong:#?}");
}

/// The names of those that answered.
fn answered(numbers: impl IntoIterator<Item = (&'static str, Numbers)>, what: &str) {
    let silent = numbers
        .into_iter()
        .filter_map(|(name, numbers)| match numbers {
            Ok(numbers) => Some(format!("{name}: {numbers:?}")),
            Err(error) => {
                assert!(!error.to_string().is_empty());
                None
            }
        });
    let silent: Vec<_> = silent.collect();
    assert!(silent.is_empty(), "{what} was answered by {silent:#?}");
}

#[test]
fn an_operator_of_nan_is_an_error_everywhere() {
    let layout = layout(&[&[3, 2], &[2]]);
    let sound = ParamVec::from_values(&layout, &[1.0; 8]);
    for value in [f64::NAN, f64::INFINITY] {
        let operator = diagonal(&layout, value);
        answered(all(&operator, &sound), &format!("an operator of {value}"));
    }
    // A check answers: not smooth.
    let check = symmetry_check(&diagonal(&layout, f64::NAN), 1);
    assert!(check.is_err() || !check.unwrap().smooth);
}

#[test]
fn a_vector_of_nan_is_an_error_everywhere() {
    let layout = layout(&[&[3, 2], &[2]]);
    let operator = diagonal(&layout, 2.0);
    let mut values = [1.0; 8];
    values[5] = f64::NAN;
    let vector = ParamVec::from_values(&layout, &values);
    let with = OF_VECTOR
        .iter()
        .map(|(name, run)| (*name, quietly(|| run(&operator, &vector))));
    answered(with, "a vector of NaN");
}

#[test]
fn a_vector_of_another_model_is_an_error_everywhere() {
    let operator = diagonal(&layout(&[&[3, 2], &[2]]), 2.0);
    let others: [&[&[usize]]; 3] = [&[&[2, 3], &[2]], &[&[3, 2]], &[&[3, 2], &[2], &[1]]];
    for shapes in others {
        let layout = layout(shapes);
        let vector = ParamVec::from_values(&layout, &vec![1.0; layout.num_elements()]);
        for (name, run) in OF_VECTOR {
            let error = quietly(|| run(&operator, &vector)).unwrap_err();
            assert!(
                matches!(error, CurvatureError::LayoutMismatch { .. }),
                "{name}: {error}"
            );
        }
    }
}

#[test]
fn spaces_without_elements_are_errors_or_have_finite_answers() {
    let shapes: [&[&[usize]]; 3] = [&[], &[&[0]], &[&[3, 0], &[0, 2]]];
    for shapes in shapes {
        let layout = layout(shapes);
        assert_eq!(layout.num_elements(), 0);
        let (operator, vector) = (diagonal(&layout, 1.0), ParamVec::zeros(&layout));
        assert_finite(all(&operator, &vector), &format!("shapes {shapes:?}"));
    }
}

#[test]
fn an_operator_of_zeros_has_finite_answers() {
    let layout = layout(&[&[3, 2], &[2]]);
    let (operator, vector) = (diagonal(&layout, 0.0), ParamVec::zeros(&layout));
    assert_finite(all(&operator, &vector), "zeros");
}
