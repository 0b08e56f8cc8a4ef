//! Products of a function of two matrices.

use burn::tensor::{DType, Tensor};
use osculate_jvp::{Bound, Program, Tangents, Wrt};
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;

use crate::config;
use crate::machine::{Instruction, run, run_through, tensor};
use crate::measures::{all, close, differences, dot, values};

type Inputs = (Tensor<2>, Tensor<2>);

fn loss(instructions: &[Instruction], inputs: &Inputs) -> Tensor<1> {
    let out = run(instructions, (&inputs.0, &inputs.1));
    out.clone().sin().mean() + out.square().mean()
}

fn check(instructions: &[Instruction], seed: u64) -> Result<(), TestCaseError> {
    let draw = |k: u64, dtype| tensor(seed * 16 + k, dtype);
    let f64s = |k: u64| draw(k, DType::F64);
    let inputs: Inputs = (f64s(0), f64s(1));
    let direction = |k: u64, dtype| Tangents {
        inputs: vec![Some(draw(k, dtype).into()), Some(draw(k + 1, dtype).into())],
        ..Tangents::default()
    };
    let (v, u) = (direction(2, DType::F64), direction(4, DType::F64));
    let moved = |h: f64| -> Inputs {
        (
            inputs.0.clone() + f64s(2).mul_scalar(h),
            inputs.1.clone() + f64s(3).mul_scalar(h),
        )
    };
    let f = |inputs: &Inputs| loss(instructions, inputs);
    let program = Program::record_function(&inputs, f).unwrap();
    let bound = program.bind_inputs(&inputs).unwrap();
    let gradient = |at: &Inputs| {
        let bound = program.bind_inputs(at).unwrap();
        all(&bound.gradient(Wrt::Inputs).unwrap().1.inputs)
    };
    let product = |bound: &Bound, v: &Tangents| bound.hvp(v, Wrt::Inputs).unwrap();

    // Values and tangents, one by one and at once.
    let value = values(&f(&inputs).into());
    let jvp = bound.jvp(&[v.clone(), u.clone()]).unwrap();
    close("value", &values(&jvp.outputs[0]), &value, 1e-12)?;
    let (slope, slope_u) = (values(&jvp.tangents[0][0]), values(&jvp.tangents[1][0]));
    let alone = bound.jvp(core::slice::from_ref(&u)).unwrap();
    close(
        "tangent alone",
        &values(&alone.tangents[0][0]),
        &slope_u,
        1e-13,
    )?;
    if let Some(expected) = differences(|h| values(&f(&moved(h)).into())) {
        close("tangent", &slope, &expected, 1e-6)?;
    }
    let own = gradient(&inputs);
    close("gradient", &[dot(&own, &all(&v.inputs))], &slope, 1e-12)?;

    // Products of the Hessian.
    let hv = product(&bound, &v);
    close("slope of the product", &values(&hv.slope), &slope, 1e-12)?;
    let hv = all(&hv.product.inputs);
    let hu = all(&product(&bound, &u).product.inputs);
    if let Some(expected) = differences(|h| gradient(&moved(h))) {
        close("product", &hv, &expected, 1e-6)?;
    }
    let (uhv, vhu) = (dot(&all(&u.inputs), &hv), dot(&all(&v.inputs), &hu));
    close("symmetry", &[uhv], &[vhu], 1e-11)?;
    let at_once = bound.hvps(&[v.clone(), u.clone()], Wrt::Inputs).unwrap();
    close("at once", &all(&at_once[1].product.inputs), &hu, 1e-14)?;

    // The same with what all directions share computed once.
    let plan = program.hessian_plan(Wrt::Inputs).unwrap();
    let kept = bound.keep_hessian(&plan).unwrap();
    let again = kept.products(&[v.clone(), u.clone()]).unwrap();
    for (made, expected) in again.iter().zip([&hv, &hu]) {
        close("kept product", &all(&made.inputs), expected, 1e-12)?;
    }

    // Programs made of the program, which are simplified.
    let results = |program: &Program, v: &Tangents| -> Vec<f64> {
        let along = bound.along(program, v.clone()).unwrap();
        along.evaluate().unwrap().iter().flat_map(values).collect()
    };
    let first = program.derivative(Wrt::Inputs).unwrap();
    close(
        "derivative",
        &results(&first, &v),
        &[value[0], slope[0]],
        1e-12,
    )?;
    let second = program.second_derivative(Wrt::Inputs).unwrap();
    let vhv = dot(&all(&v.inputs), &hv);
    let expected = [value[0], slope[0], vhv];
    close("second derivative", &results(&second, &v), &expected, 1e-10)?;
    let derived = first.bind_inputs(&((inputs.0.clone(), inputs.1.clone()), (f64s(2), f64s(3))));
    let again = derived.unwrap().evaluate().unwrap();
    close("bound anew", &values(&again[1]), &slope, 1e-12)?;

    // The Jacobian of the outputs and its transpose.
    let outputs = Program::record_function(&inputs, |(x, y)| run(instructions, (x, y))).unwrap();
    let bound = outputs.bind_inputs(&inputs).unwrap();
    let jv = values(&bound.jvp(core::slice::from_ref(&v)).unwrap().tangents[0][0]);
    let cotangent = f64s(6);
    let (_, transposed) = bound
        .vjp(Wrt::Inputs, |_| vec![cotangent.clone().into()])
        .unwrap();
    let plan = outputs.jacobian_plan(Wrt::Inputs).unwrap();
    let kept = bound.keep_jacobian(&plan).unwrap();
    let again = values(&kept.jvp(&v).unwrap()[0]);
    close("kept tangent", &again, &jv, 1e-12)?;
    let again = kept.vjp(vec![cotangent.clone().into()]).unwrap();
    let expected = all(&transposed.inputs);
    close("kept gradient", &all(&again.inputs), &expected, 1e-12)?;
    let forward = dot(&jv, &values(&cotangent.into()));
    let backward = dot(&all(&transposed.inputs), &all(&v.inputs));
    close("adjoint", &[forward], &[backward], 1e-12)?;

    // Gauss-Newton of half the squared outputs: JᵀJ.
    let of = |v: &Tangents| bound.jvp(core::slice::from_ref(v)).unwrap().tangents[0][0].clone();
    let (jv, ju) = (of(&v), of(&u));
    let (_, jtjv) = bound.vjp(Wrt::Inputs, |_| vec![jv.clone()]).unwrap();
    let form = dot(&all(&u.inputs), &all(&jtjv.inputs));
    close(
        "Gauss-Newton",
        &[form],
        &[dot(&values(&ju), &values(&jv))],
        1e-12,
    )?;

    // The same program in single precision.
    let single: Inputs = (draw(0, DType::F32), draw(1, DType::F32));
    let program = Program::record_function(&single, f).unwrap();
    let bound = program.bind_inputs(&single).unwrap();
    let got = product(&bound, &direction(2, DType::F32));
    close("single precision", &all(&got.product.inputs), &hv, 1e-2)
}

/// Products of a function in `f64` that loses digits in `f32` on its way.
fn check_lossy(instructions: &[Instruction], seed: u64) -> Result<(), TestCaseError> {
    let draw = |k: u64| tensor(seed * 16 + k, DType::F64);
    let inputs: Inputs = (draw(0), draw(1));
    let f = |through: DType, inputs: &Inputs| {
        let out = run_through(through, instructions, (&inputs.0, &inputs.1));
        out.clone().sin().mean() + out.square().mean()
    };
    let of = |through: DType| {
        let program = Program::record_function(&inputs, |inputs| f(through, inputs)).unwrap();
        let bound = program.bind_inputs(&inputs).unwrap();
        let direction = |k: u64| Tangents {
            inputs: vec![Some(draw(k).into()), Some(draw(k + 1).into())],
            ..Tangents::default()
        };
        let (v, u) = (direction(2), direction(4));
        let hv = all(&bound.hvp(&v, Wrt::Inputs).unwrap().product.inputs);
        let hu = all(&bound.hvp(&u, Wrt::Inputs).unwrap().product.inputs);
        let forms = [dot(&all(&u.inputs), &hv), dot(&all(&v.inputs), &hu)];
        let second = program.second_derivative(Wrt::Inputs).unwrap();
        let along = bound.along(&second, v.clone()).unwrap();
        let derived = values(&along.evaluate().unwrap()[2]);
        (hv.clone(), forms, [dot(&all(&v.inputs), &hv), derived[0]])
    };
    let (lossy, forms, [form, derived]) = of(DType::F32);
    close("symmetry", &forms[..1], &forms[1..], 1e-4)?;
    close("second derivative", &[form], &[derived], 1e-4)?;
    close("without loss", &lossy, &of(DType::F64).0, 1e-2)
}

proptest! {
    #![proptest_config(config(200))]
    #[test]
    fn random_programs(
        instructions in prop::collection::vec(any::<Instruction>(), 1..24),
        seed in 0u64..1_000_000,
    ) {
        check(&instructions, seed)?;
    }
}

proptest! {
    #![proptest_config(config(50))]
    #[test]
    fn random_programs_that_lose_digits(
        instructions in prop::collection::vec(any::<Instruction>(), 1..24),
        seed in 0u64..1_000_000,
    ) {
        check_lossy(&instructions, seed)?;
    }
}
