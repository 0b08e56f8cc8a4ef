//! Rounding of single rules in `f32`, against the same rule in `f64`, and rules within programs of
//! derivatives.

use burn::module::Param;
use burn::tensor::ops::GridSampleOptions;
use burn::tensor::{DType, Device, IndexingUpdateOp, Int, Tensor, TensorData, activation};
use osculate_jvp::{AnyTensor, Program, Tangents, Wrt};

/// The slope and the Hessian product of `f` at `x` along `v`, in `dtype`.
fn second_order(
    x: &[f64],
    v: &[f64],
    shape: [usize; 2],
    dtype: DType,
    f: impl Fn(Tensor<2>) -> Tensor<1>,
) -> (f64, Vec<f64>) {
    let device = Device::flex();
    let tensor = |values: &[f64]| {
        Tensor::<2>::from_data(TensorData::new(values.to_vec(), shape), (&device, dtype))
    };
    let x = tensor(x);
    let program = Program::record_function(&x, |x| f(x.clone())).unwrap();
    let direction = Tangents {
        inputs: vec![Some(AnyTensor::from(tensor(v)))],
        ..Tangents::default()
    };
    let bound = program.bind_inputs(&x).unwrap();
    let made = bound.hvp(&direction, Wrt::Inputs).unwrap();
    let product = made.product.inputs.into_iter().next().flatten().unwrap();
    let numbers = |tensor: Tensor<1>| tensor.into_data().iter::<f64>().collect::<Vec<_>>();
    let slope = numbers(made.slope.float_reshaped([1]))[0];
    (
        slope,
        numbers(product.float_reshaped([x.shape().num_elements()])),
    )
}

/// Asserts that `f32` is within `tolerance` of the largest element.
fn assert_precise(
    values: &[f64],
    along: &[f64],
    shape: [usize; 2],
    tolerance: f64,
    f: impl Fn(Tensor<2>) -> Tensor<1>,
) {
    // Both see the same numbers.
    let rounded = |values: &[f64]| {
        values
            .iter()
            .map(|&x| f64::from(x as f32))
            .collect::<Vec<_>>()
    };
    let (values, along) = (rounded(values), rounded(along));
    let (slope, product) = second_order(&values, &along, shape, DType::F32, &f);
    let (slope_f64, product_f64) = second_order(&values, &along, shape, DType::F64, &f);
    assert!(
        (slope - slope_f64).abs() <= tolerance * slope_f64.abs(),
        "slope {slope:e}, in f64 {slope_f64:e}"
    );
    let size = product_f64
        .iter()
        .fold(0.0, |size, x| f64::max(size, x.abs()));
    for (got, expected) in product.iter().zip(&product_f64) {
        assert!(
            (got - expected).abs() <= tolerance * size,
            "product {product:?}, in f64 {product_f64:?}"
        );
    }
}

#[test]
fn cross_entropy_of_a_sure_answer_keeps_its_digits() {
    for margin in [1.0, 5.0, 10.0, 14.0] {
        // The answer is right and nearly certain: all derivatives are of the order of `1 - p`.
        let logits = [0.3, margin, -0.7, 0.1];
        let along = [0.9, 0.6, -1.1, 0.4];
        assert_precise(&logits, &along, [1, 4], 2e-6, |x| {
            activation::log_softmax(x, 1)
                .slice([0..1, 1..2])
                .reshape([1])
                .neg()
        });
    }
}

#[test]
fn gelu_is_precise_at_every_point() {
    // A direction along one element gives its first and second derivative.
    for step in -48..=48 {
        let x = f64::from(step) / 8.0 + 0.01;
        let (slope, product) = second_order(&[x], &[1.0], [1, 1], DType::F32, gelu);
        let (slope_f64, product_f64) = second_order(&[x], &[1.0], [1, 1], DType::F64, gelu);
        // Where both are below rounding of `Φ` only their size matters: it is at most 1.
        assert!(
            (slope - slope_f64).abs() < 5e-7,
            "slope at {x}: {slope}, {slope_f64}"
        );
        let (second, second_f64) = (product[0], product_f64[0]);
        assert!(
            (second - second_f64).abs() < 1e-6,
            "curvature at {x}: {second}, {second_f64}"
        );
    }
}

fn gelu(x: Tensor<2>) -> Tensor<1> {
    activation::gelu(x).reshape([1])
}

#[test]
fn gelu_in_half_precision_is_finite_where_the_square_is_not() {
    for (x, slope_there) in [(300.0, 1.0), (-300.0, 0.0)] {
        let (slope, product) = second_order(&[x], &[1.0], [1, 1], DType::F16, gelu);
        assert_eq!((slope, product[0]), (slope_there, 0.0), "at {x}");
    }
}

#[test]
fn gelu_is_differentiated_where_gradients_are_checkpointed() {
    let device = Device::flex();
    let x = Tensor::<2>::from_data([[0.3, -0.4]], &device);
    let program = Program::record_function(&x, |x| activation::gelu(x.clone())).unwrap();
    let tape = Device::flex().autodiff().gradient_checkpointing();
    let leaf = Tensor::<2>::from_data([[0.3, -0.4]], &tape).require_grad();
    let outputs = program.call(&None::<Param<Tensor<1>>>, &leaf).unwrap();
    let y = outputs.into_iter().next().unwrap().float::<2>();
    let gradients = y.sum().backward();
    let found = leaf.grad(&gradients).unwrap().into_data();
    for (x, slope) in [0.3_f64, -0.4].into_iter().zip(found.iter::<f64>()) {
        let (expected, _) = second_order(&[x], &[1.0], [1, 1], DType::F64, gelu);
        assert!(
            (slope - expected).abs() < 1e-6,
            "at {x}: {slope}, {expected}"
        );
    }
}

#[test]
fn an_extreme_keeps_what_is_not_a_number_and_its_own_value() {
    let device = Device::flex();
    let x = Tensor::<2>::from_data([[0.0], [f64::NAN], [f64::NAN]], (&device, DType::F32));
    let program = Program::record_function(&x, |x| {
        // Three equal values, whose shares do not sum to them in every rounding.
        let values = Tensor::<2>::from_data([[0.1], [0.1], [0.1], [0.5]], &x.device());
        let at = Tensor::<1, Int>::from_data([0, 0, 0, 1], &x.device());
        x.clone()
            .select_assign(0, at, values, IndexingUpdateOp::Max)
    })
    .unwrap();
    let bound = program.bind_inputs(&x).unwrap();
    let value = bound.evaluate().unwrap().remove(0).float::<2>().into_data();
    let value: Vec<f32> = value.iter::<f32>().collect();
    assert_eq!(value[0], 0.1);
    assert!(value[1].is_nan() && value[2].is_nan(), "{value:?}");
}

#[test]
fn derivatives_of_derivatives_are_those_of_the_function() {
    // What makes a rule cheap for one backward pass must not enter a program of derivatives.
    let device = Device::flex();
    let points = [-2.0, -0.3, 0.0, 0.7, 1.9_f64];
    let x = Tensor::<2>::from_data([points], (&device, DType::F64));
    let ones = x.ones_like();
    let program = Program::record_function(&x, |x| activation::gelu(x.clone())).unwrap();
    let second = program.second_derivative(Wrt::Inputs).unwrap();
    let direction = Tangents {
        inputs: vec![Some(AnyTensor::from(ones.clone()))],
        ..Tangents::default()
    };
    let bound = program.bind_inputs(&x).unwrap();
    let along = bound.along(&second, direction).unwrap();
    let still = x.zeros_like();
    let cotangents = || [&still, &still, &ones].map(|part| AnyTensor::from(part.clone()));
    let (_, gradient) = along.vjp(Wrt::Inputs, |_| cotangents().to_vec()).unwrap();
    let third = gradient.inputs.into_iter().next().flatten().unwrap();
    let third = third.float::<2>().into_data();
    for (x, got) in points.into_iter().zip(third.iter::<f64>()) {
        let density = (-0.5 * x * x).exp() / core::f64::consts::TAU.sqrt();
        let expected = density * (x * x * x - 4.0 * x);
        assert!((got - expected).abs() < 1e-12, "at {x}: {got}, {expected}");
    }
}

#[test]
fn programs_of_derivatives_reach_updates_and_sampling() {
    let device = Device::flex();
    let x = Tensor::<2>::from_data([[0.3, -0.4], [0.9, 0.1]], (&device, DType::F64));
    let program = Program::record_function(&x, |x| {
        let at = Tensor::<2, Int>::from_data([[1, 0]], &x.device());
        let value = x.clone().slice([0..1, 0..2]).sin();
        let best = x
            .clone()
            .scatter(0, at.clone(), value.clone(), IndexingUpdateOp::Max);
        let scaled = best.scatter(0, at, value, IndexingUpdateOp::Mul);
        let grid = x.clone().reshape([1, 1, 2, 2]);
        let seen = scaled
            .reshape([1, 1, 2, 2])
            .grid_sample_2d(grid, GridSampleOptions::default());
        seen.square().sum()
    })
    .unwrap();
    let direction = Tangents {
        inputs: vec![Some(AnyTensor::from(x.ones_like()))],
        ..Tangents::default()
    };
    let bound = program.bind_inputs(&x).unwrap();
    let second = program.second_derivative(Wrt::Inputs).unwrap();
    let along = bound.along(&second, direction.clone()).unwrap();
    let number = |tensor: AnyTensor| tensor.float_reshaped([1]).into_scalar::<f64>();
    let curvature = number(along.evaluate().unwrap().remove(2));
    let product = bound.hvp(&direction, Wrt::Inputs).unwrap().product;
    let product = product.inputs.into_iter().next().flatten().unwrap();
    let expected = product.float::<2>().sum().into_scalar::<f64>();
    assert!(expected.abs() > 1e-3);
    assert!(
        (curvature - expected).abs() < 1e-12,
        "{curvature}, {expected}"
    );
}
