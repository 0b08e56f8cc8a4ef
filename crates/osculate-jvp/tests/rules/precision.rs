//! Rounding of single rules in `f32`, against the same rule in `f64`.

use burn::tensor::{DType, Device, Tensor, TensorData, activation};
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
