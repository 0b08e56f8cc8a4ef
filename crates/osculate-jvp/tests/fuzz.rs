//! Random programs: every product against every other, and against differences in `f64`.
//!
//! `PROPTEST_CASES` sets how many.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on fails"
)]

use burn::tensor::{Bool, DType, Device, Int, Tensor, TensorData, activation};
use osculate_jvp::{AnyTensor, Bound, Program, Tangents, Wrt};
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;

const ROWS: usize = 3;
const COLUMNS: usize = 4;
const ELEMENTS: usize = ROWS * COLUMNS;

/// An operation, the values that it reads, and a choice among its variants.
type Instruction = (u8, u8, u8, u8);

/// Independent numbers in -1..1.
fn numbers(n: usize, seed: u64) -> Vec<f64> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut draw = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    };
    draw();
    (0..n).map(|_| draw()).collect()
}

fn tensor(seed: u64, dtype: DType) -> Tensor<2> {
    let data = TensorData::new(numbers(ELEMENTS, seed), [ROWS, COLUMNS]);
    Tensor::from_data(data, (&Device::flex(), dtype))
}

/// Runs instructions on a growing list of matrices of one shape. Every result stays near 1.
struct Machine {
    device: Device,
    dtype: DType,
    values: Vec<Tensor<2>>,
}

impl Machine {
    fn value(&self, index: u8) -> Tensor<2> {
        self.values[index as usize % self.values.len()].clone()
    }

    fn constant(&self, choice: u8) -> Tensor<2> {
        let data = TensorData::new(
            numbers(ELEMENTS, 1000 + u64::from(choice % 7)),
            [ROWS, COLUMNS],
        );
        Tensor::from_data(data, (&self.device, self.dtype))
    }

    /// Integers below `limit`, from a constant or from integer arithmetic.
    fn integers<const N: usize>(&self, choice: u8, limit: i64) -> Tensor<1, Int> {
        if choice.is_multiple_of(2) {
            let values: [i64; N] = core::array::from_fn(|k| {
                (i64::from(choice) + 3 * k as i64 * (1 + i64::from(choice % 3))) % limit
            });
            Tensor::from_data(values, &self.device)
        } else {
            let start = i64::from(choice % 4);
            let range = Tensor::<1, Int>::arange(start..start + N as i64, &self.device);
            (range.mul_scalar(2) + 1).remainder_scalar(limit)
        }
    }

    fn mask(&self, choice: u8) -> Tensor<2, Bool> {
        let row = self.integers::<ROWS>(choice, 3).unsqueeze_dim::<2>(1);
        let column = self.integers::<COLUMNS>(choice / 2, 3).unsqueeze::<2>();
        let equal = row
            .expand([ROWS, COLUMNS])
            .equal(column.expand([ROWS, COLUMNS]));
        match choice % 3 {
            0 => equal,
            1 => equal.bool_not(),
            _ => equal.bool_or(self.constant(choice).greater_elem(0.3)),
        }
    }

    fn step(&self, (operation, a, b, choice): Instruction) -> Tensor<2> {
        let (x, y) = (self.value(a), self.value(b));
        let bounded = |x: Tensor<2>| x.tanh();
        match operation % 34 {
            0 => x + y,
            1 => x - y.mul_scalar(0.5),
            2 => bounded(x * y),
            3 => x / (y.square() + 1.5),
            4 => x.sin(),
            5 => x.cos() + y,
            6 => bounded(x).exp().mul_scalar(0.5),
            7 => x.tanh(),
            8 => (x.square() + 0.5).log(),
            9 => (x.square() + 0.3).sqrt(),
            10 => activation::gelu(x),
            11 => activation::sigmoid(x) * y,
            12 => activation::softplus(x, 1.3).mul_scalar(0.5),
            13 => activation::softmax(x, (choice % 2) as usize).mul_scalar(2.0),
            14 => activation::log_softmax(x, (choice % 2) as usize).mul_scalar(0.3),
            15 => activation::relu(x - 0.1317) + y,
            16 => x.abs().mul_scalar(0.7),
            17 => x.clamp(-0.4217, 0.5313) * y,
            18 => x
                .matmul(y.transpose())
                .mul_scalar(0.3)
                .matmul(self.constant(choice)),
            19 => {
                let dim = (choice % 2) as usize;
                x.sum_dim(dim).expand([ROWS, COLUMNS]).mul_scalar(0.3) - y
            }
            20 => (x.clone() - x.mean_dim((choice % 2) as usize)) * y,
            21 => bounded(x * self.constant(choice)) + self.constant(choice.wrapping_add(b)),
            22 => x.mask_fill(self.mask(choice), 0.25) * y,
            23 => x.mask_where(self.mask(choice), y),
            24 => x.select(0, self.integers::<ROWS>(choice, ROWS as i64)),
            25 => x.select(1, self.integers::<COLUMNS>(choice, COLUMNS as i64)) + y,
            26 => {
                let at = self.integers::<ROWS>(choice, COLUMNS as i64);
                let at = at.unsqueeze_dim::<2>(1).expand([ROWS, COLUMNS]);
                x.gather(1, at) * y
            }
            27 => Tensor::cat(
                vec![x.slice([0..1, 0..COLUMNS]), y.slice([1..ROWS, 0..COLUMNS])],
                0,
            ),
            28 => x.flip([(choice % 2) as usize]),
            29 => x.reshape([COLUMNS, ROWS]).transpose().mul_scalar(0.9),
            30 => x.max_pair(y.add_scalar(0.0713)),
            31 => {
                let counts = self.integers::<COLUMNS>(choice, 5).float().cast(self.dtype);
                x * counts
                    .mul_scalar(0.2)
                    .unsqueeze::<2>()
                    .expand([ROWS, COLUMNS])
            }
            32 => x.powi_scalar(i32::from(choice % 3) + 1).tanh(),
            _ => x.cumsum((choice % 2) as usize).mul_scalar(0.4),
        }
    }
}

fn run(instructions: &[Instruction], (x, y): (&Tensor<2>, &Tensor<2>)) -> Tensor<2> {
    let mut machine = Machine {
        device: x.device(),
        dtype: x.dtype(),
        values: vec![x.clone(), y.clone()],
    };
    for &instruction in instructions {
        let made = machine.step(instruction);
        machine.values.push(made);
    }
    machine.values.pop().unwrap()
}

type Inputs = (Tensor<2>, Tensor<2>);

fn loss(instructions: &[Instruction], inputs: &Inputs) -> Tensor<1> {
    let out = run(instructions, (&inputs.0, &inputs.1));
    out.clone().sin().mean() + out.square().mean()
}

fn values(tensor: &AnyTensor) -> Vec<f64> {
    let n = tensor.shape().num_elements();
    let flat = tensor.clone().float_reshaped([n]);
    flat.into_data().iter::<f64>().collect()
}

fn all(tensors: &[Option<AnyTensor>]) -> Vec<f64> {
    tensors
        .iter()
        .flat_map(|tensor| tensor.as_ref().map_or(vec![0.0; ELEMENTS], values))
        .collect()
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn distance(a: &[f64], b: &[f64]) -> f64 {
    let size = dot(b, b).sqrt();
    let difference: Vec<f64> = a.iter().zip(b).map(|(a, b)| a - b).collect();
    dot(&difference, &difference).sqrt() / (1.0 + size)
}

fn close(what: &str, got: &[f64], expected: &[f64], tolerance: f64) -> Result<(), TestCaseError> {
    prop_assert_eq!(got.len(), expected.len(), "{}", what);
    let off = distance(got, expected);
    prop_assert!(
        off <= tolerance,
        "{}: {:?} and {:?}, {:e} apart",
        what,
        got,
        expected,
        off
    );
    Ok(())
}

/// Differences at two steps, where they agree: next to a kink they do not.
fn differences(f: impl Fn(f64) -> Vec<f64>) -> Option<Vec<f64>> {
    let at = |h: f64| -> Vec<f64> {
        let (plus, minus) = (f(h), f(-h));
        let pairs = plus.iter().zip(&minus);
        pairs.map(|(p, m)| (p - m) / (2.0 * h)).collect()
    };
    let (one, other) = (at(1e-5), at(3e-6));
    (distance(&one, &other) < 1e-7).then_some(one)
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
    close(
        "kept tangent",
        &values(&kept.jvp(&v).unwrap()[0]),
        &jv,
        1e-12,
    )?;
    let again = kept.vjp(vec![cotangent.clone().into()]).unwrap();
    let expected = all(&transposed.inputs);
    close("kept gradient", &all(&again.inputs), &expected, 1e-12)?;
    let forward = dot(&jv, &values(&cotangent.into()));
    let backward = dot(&all(&transposed.inputs), &all(&v.inputs));
    close("adjoint", &[forward], &[backward], 1e-12)?;

    // The same program in single precision.
    let single: Inputs = (draw(0, DType::F32), draw(1, DType::F32));
    let program = Program::record_function(&single, f).unwrap();
    let bound = program.bind_inputs(&single).unwrap();
    let got = product(&bound, &direction(2, DType::F32));
    close("single precision", &all(&got.product.inputs), &hv, 1e-2)
}

fn config() -> ProptestConfig {
    let cases = std::env::var("PROPTEST_CASES");
    let cases = cases.ok().and_then(|cases| cases.parse().ok());
    ProptestConfig {
        cases: cases.unwrap_or(200),
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(config())]
    #[test]
    fn random_programs(
        instructions in prop::collection::vec(any::<Instruction>(), 1..24),
        seed in 0u64..1_000_000,
    ) {
        check(&instructions, seed)?;
    }
}
