//! Derivatives of random fields by their coordinates.

use burn::module::{Param, ParamId};
use burn::tensor::{DType, Device, Tensor};
use osculate_jvp::{Field, Program, Tangents, Wrt};
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;

use crate::config;
use crate::machine::{COLUMNS, Instruction, by_row, run, tensor};
use crate::measures::{close, differences, values};

type Weights = Param<Tensor<2>>;

fn weights(values: Tensor<2>) -> Weights {
    let tracked = values.is_autodiff();
    Param::initialized(ParamId::new(), values.set_require_grad(tracked))
}

/// A field of the points and of weights, each row of which is a function of that row.
fn of(instructions: &[Instruction], weights: &Weights, points: &Tensor<2>) -> Tensor<2> {
    run(instructions, (points, &weights.val()))
}

fn check(instructions: &[Instruction], seed: u64) -> Result<(), TestCaseError> {
    let instructions: Vec<Instruction> = instructions.iter().copied().map(by_row).collect();
    let draw = |k: u64| tensor(seed * 16 + k, DType::F64);
    let (points, parameters, direction) = (draw(0), draw(1), draw(2));
    let model = weights(parameters.clone());
    let field = Field::record(&model, &points, |model, points| {
        of(&instructions, model, points)
    });
    let field = field.unwrap();

    // Along a direction, against the program of tensors alone and against differences.
    let along = field.along(&model, &points, direction.clone()).unwrap();
    let inputs = (points.clone(), parameters.clone());
    let program = Program::record_function(&inputs, |(x, y)| run(&instructions, (x, y))).unwrap();
    let second = program.second_derivative(Wrt::Inputs).unwrap();
    let bound = program.bind_inputs(&inputs).unwrap();
    let v = Tangents {
        inputs: vec![Some(direction.clone().into()), None],
        ..Tangents::default()
    };
    let expected = bound.along(&second, v).unwrap().evaluate().unwrap();
    let got = [&along.value, &along.first, &along.second];
    for ((what, got), expected) in ["value", "first", "second"].iter().zip(got).zip(&expected) {
        close(what, &values(&got.clone().into()), &values(expected), 1e-11)?;
    }
    let moved = |h: f64| points.clone() + direction.clone().mul_scalar(h);
    let first = |h: f64| {
        let along = field.along(&model, &moved(h), direction.clone()).unwrap();
        values(&along.first.into())
    };
    if let Some(expected) = differences(first) {
        close(
            "differences",
            &values(&along.second.into()),
            &expected,
            1e-6,
        )?;
    }

    // The Laplacian, and its derivative by the weights.
    let laplacian = |model: &Weights, points: &Tensor<2>| field.laplacian(model, points).unwrap();
    let mut sum = points.zeros_like();
    for axis in 0..COLUMNS {
        let partial = field.partial(&model, &points, axis).unwrap();
        let along = field.second_partial(&model, &points, axis).unwrap();
        close(
            "partial",
            &values(&partial.into()),
            &values(&along.first.into()),
            1e-12,
        )?;
        sum = sum + along.second;
    }
    let got = values(&laplacian(&model, &points).into());
    close("laplacian", &got, &values(&sum.into()), 1e-12)?;

    let device = Device::flex().autodiff();
    let tracked =
        |tensor: &Tensor<2>| Tensor::<2>::from_data(tensor.to_data(), (&device, DType::F64));
    let model = weights(tracked(&parameters));
    let field = Field::record(&model, &tracked(&points), |model, points| {
        of(&instructions, model, points)
    });
    let loss = field.unwrap().laplacian(&model, &tracked(&points)).unwrap();
    let loss = loss.square().mean();
    if !loss.is_tracked() {
        return Ok(());
    }
    let gradient = model.val().grad(&loss.backward());
    let along = gradient.map_or(0.0, |gradient| {
        (gradient * draw(3)).sum().into_scalar::<f64>()
    });
    let expected = differences(|h| {
        let model = weights(parameters.clone() + draw(3).mul_scalar(h));
        values(&laplacian(&model, &points).square().mean().into())
    });
    if let Some(expected) = expected {
        close("by the weights", &[along], &expected, 1e-6)?;
    }
    Ok(())
}

proptest! {
    #![proptest_config(config(60))]
    #[test]
    fn random_fields(
        instructions in prop::collection::vec(any::<Instruction>(), 1..12),
        seed in 0u64..1_000_000,
    ) {
        check(&instructions, seed)?;
    }
}
