//! Programs derived from programs with several constants: each derivative is checked against the
//! function that it came from.

use burn::nn::{Linear, LinearConfig};
use burn::tensor::{Bool, DType, Device, Int, Tensor, TensorData};
use osculate_jvp::{AnyTensor, Field, Program, Tangents, Wrt};

fn device() -> Device {
    Device::flex()
}

fn vector<const N: usize>(values: [f64; N]) -> Tensor<1> {
    Tensor::from_data(TensorData::from(values), (&device(), DType::F64))
}

fn numbers(tensor: &AnyTensor) -> Vec<f64> {
    let n = tensor.shape().num_elements();
    let flat = tensor.clone().float_reshaped([n]);
    flat.into_data().iter::<f64>().collect()
}

fn close(what: &str, got: &[f64], expected: &[f64], tolerance: f64) {
    assert_eq!(got.len(), expected.len(), "{what}");
    for (got, expected) in got.iter().zip(expected) {
        assert!(
            (got - expected).abs() <= tolerance * (1.0 + expected.abs()),
            "{what}: got {got}, expected {expected}"
        );
    }
}

/// Value, slope and curvature of `f` along `v` by the derived programs, against `f` itself and its
/// central differences.
fn check<const N: usize>(f: impl Fn(&Tensor<1>) -> Tensor<1>, at: [f64; N], v: [f64; N]) {
    let x = vector(at);
    let program = Program::record_function(&x, |x| f(x)).unwrap();
    let bound = program.bind_inputs(&x).unwrap();
    let direction = Tangents {
        inputs: vec![Some(vector(v).into())],
        ..Tangents::default()
    };
    let value = |t: f64| numbers(&f(&(vector(at) + vector(v).mul_scalar(t))).into())[0];
    let h = 1e-4;
    let slope = (value(h) - value(-h)) / (2.0 * h);
    let curvature = (value(h) - 2.0 * value(0.0) + value(-h)) / (h * h);

    let first = program.derivative(Wrt::Inputs).unwrap();
    let made = bound.along(&first, direction.clone()).unwrap().evaluate();
    let made: Vec<f64> = made.unwrap().iter().flat_map(numbers).collect();
    close("first", &made, &[value(0.0), slope], 1e-6);

    let second = program.second_derivative(Wrt::Inputs).unwrap();
    let made = bound.along(&second, direction).unwrap().evaluate();
    let made: Vec<f64> = made.unwrap().iter().flat_map(numbers).collect();
    close("second", &made, &[value(0.0), slope, curvature], 1e-6);
}

#[test]
fn two_constants_of_one_shape_stay_two() {
    check(
        |x| {
            let (a, b) = (vector([1.0, 2.0]), vector([3.0, 5.0]));
            let on = |constant: Tensor<1>| constant.to_device(&x.device());
            (x.clone().square() * on(a)).sum() + (x.clone().square() * on(b)).sum()
        },
        [0.5, 0.25],
        [1.0, 0.0],
    );
}

#[test]
fn constants_that_the_function_makes_stay_apart() {
    let int = |values: [i64; 2], device: &Device| Tensor::<1, Int>::from_data(values, device);
    check(
        |x| {
            let d = x.device();
            let first = x.clone().select(0, int([0, 2], &d)).square();
            let second = x.clone().select(0, int([1, 3], &d)).powi_scalar(3);
            first.sum() + second.sum().mul_scalar(2.0)
        },
        [0.3, -0.6, 0.8, 0.2],
        [0.5, 1.0, -0.3, 0.7],
    );
    check(
        |x| {
            let d = x.device();
            let first = x.clone().gather(0, int([0, 2], &d)).square();
            let second = x.clone().gather(0, int([1, 3], &d)).exp();
            (first * second).sum()
        },
        [0.3, -0.6, 0.8, 0.2],
        [0.5, 1.0, -0.3, 0.7],
    );
    check(
        |x| {
            let d = x.device();
            let mask = |on: [bool; 3]| Tensor::<1, Bool>::from_data(on, &d);
            let first = x.clone().mask_fill(mask([true, false, false]), 0.0).exp();
            let second = x.clone().mask_fill(mask([false, true, true]), 0.0).square();
            (first * second).sum()
        },
        [0.3, -0.6, 0.8],
        [0.5, 1.0, -0.3],
    );
    check(
        |x| {
            let d = x.device();
            let range = |from| Tensor::<1, Int>::arange(from..from + 2, &d);
            let first = x.clone().select(0, range(0)).square();
            let second = x.clone().select(0, range(2)).square();
            (first * second.mul_scalar(3.0)).sum()
        },
        [0.3, -0.6, 0.8, 0.2],
        [0.5, 1.0, -0.3, 0.7],
    );
}

#[test]
fn equal_constants_are_kept_once() {
    let x = vector([0.5, 0.25]);
    let program = Program::record_function(&x, |x| {
        let a = || Tensor::<1>::from_data([1.0, 2.0], (&x.device(), DType::F64));
        (x.clone() * a()).sum() + (x.clone() * a()).sum()
    });
    let derivative = program.unwrap().derivative(Wrt::Inputs).unwrap();
    let products = derivative
        .operations()
        .filter(|name| name.ends_with("::Mul"));
    assert_eq!(products.count(), 2, "x * a once, and v * a once");
}

#[test]
fn a_field_with_constants_has_its_own_derivatives() {
    let device = device();
    let model: Linear = LinearConfig::new(1, 1).init(&device);
    let points = Tensor::<2>::from_data([[0.5, 0.25]], (&device, DType::F64));
    let field = Field::record(&model, &points, |_, x| {
        let constant =
            |values: [[f64; 2]; 1]| Tensor::<2>::from_data(values, (&x.device(), DType::F64));
        ((x.clone() - constant([[0.5, 1.0]])) / constant([[2.0, 4.0]]))
            .square()
            .sum_dim(1)
    })
    .unwrap();
    let second = field.second_partial(&model, &points, 1).unwrap();
    let element = |tensor: Tensor<2>| numbers(&tensor.into())[0];
    let value = 0.75f64.powi(2) / 16.0;
    close("value", &[element(second.value)], &[value], 1e-12);
    close("first", &[element(second.first)], &[-0.09375], 1e-12);
    close("second", &[element(second.second)], &[0.125], 1e-12);
    let laplacian = field.laplacian(&model, &points).unwrap();
    close("laplacian", &[element(laplacian)], &[0.625], 1e-12);
}
