//! Products by half on the host, against the device's own.

use burn::tensor::{DType, Device, Tensor};
use osculate_linalg::{
    Triangle, gram, gram_of_columns, pack, packed_gram, polar_express, quintic_newton_schulz,
    symmetric_mode_gram,
};

fn wave(shape: [usize; 3], dtype: DType, device: &Device) -> Tensor<3> {
    let n: usize = shape.iter().product();
    let values: Vec<f64> = (0..n)
        .map(|i| ((i * i % 7919) as f64 * 0.37).sin())
        .collect();
    Tensor::<1>::from_data(&values[..], (device, dtype)).reshape(shape)
}

/// Within a tolerance of the largest element.
fn assert_close(result: Tensor<3>, expected: Tensor<3>, tolerance: f64) {
    let largest = |x: Tensor<3>| x.abs().max().to_data().iter::<f64>().next().unwrap();
    let limit = tolerance * largest(expected.clone());
    let error = largest(result - expected);
    assert!(error <= limit, "{error:e} > {limit:e}");
}

/// On an autodiff device products stay where derivatives can be taken.
fn on_device(stack: &Tensor<3>) -> Tensor<3> {
    Tensor::from_inner(stack.clone())
}

#[test]
fn halves_are_whole_products() {
    let device = Device::flex();
    for (dtype, tolerance) in [(DType::F64, 1e-13), (DType::F32, 2e-5)] {
        // Large enough for the host: square, wide, tall, odd sizes, one matrix and several.
        for shape in [
            [1, 193, 193],
            [1, 192, 400],
            [3, 401, 192],
            [2, 255, 256],
            [1, 193, 1100],
        ] {
            let x = wave(shape, dtype, &device);
            let [k, m, n] = shape;
            let rows = gram(x.clone());
            assert_close(
                rows.clone(),
                on_device(&x).matmul(on_device(&x).swap_dims(1, 2)).inner(),
                tolerance,
            );
            // To the bit, which a whole product need not be.
            assert_eq!(rows.clone().swap_dims(1, 2).to_data(), rows.to_data());
            let columns = gram_of_columns(x.clone());
            assert_close(
                columns.clone(),
                on_device(&x).swap_dims(1, 2).matmul(on_device(&x)).inner(),
                tolerance,
            );
            let flat = x.clone().reshape([k, m * n]);
            for (mode, whole) in [rows, columns].into_iter().enumerate() {
                let packed = packed_gram(flat.clone(), &[m, n], mode).unwrap();
                let expected = pack(whole.clone(), Triangle::Lower).unwrap();
                let [_, height, width] = expected.dims();
                // One element of the rectangle of an odd size is free.
                assert_eq!(packed.dims(), [k, height, width]);
                assert_eq!(packed.to_data(), expected.to_data(), "{shape:?} {mode}");
                let mode_gram = symmetric_mode_gram(flat.clone(), &[m, n], mode).unwrap();
                assert_eq!(mode_gram.to_data(), whole.to_data());
            }
        }
    }
}

#[test]
fn a_middle_mode_has_the_gram_matrix_of_its_rows() {
    let device = Device::flex();
    let x = wave([2, 1, 4 * 200 * 50], DType::F64, &device).reshape([2, 40_000]);
    let dims = [4, 200, 50];
    let expected = osculate_linalg::mode_gram(x.clone(), x.clone(), &dims, 1).unwrap();
    assert_close(symmetric_mode_gram(x, &dims, 1).unwrap(), expected, 1e-13);
}

#[test]
fn derivatives_go_through_gram_matrices() {
    let x = wave([1, 200, 200], DType::F64, &Device::flex().autodiff()).require_grad();
    let gradients = gram(x.clone()).sum().backward();
    let expected = x
        .clone()
        .inner()
        .sum_dim(1)
        .mul_scalar(2.0)
        .expand([1, 200, 200]);
    assert_close(x.grad(&gradients).unwrap(), expected, 1e-12);
}

#[test]
fn polar_factors_on_the_host_are_those_of_the_device() {
    let device = Device::flex();
    for (dtype, tolerance) in [(DType::F64, 1e-12), (DType::F32, 2e-4)] {
        for shape in [[1, 200, 200], [1, 192, 256], [3, 300, 200]] {
            let x = wave(shape, dtype, &device);
            for factor in [polar_express, quintic_newton_schulz] {
                let host = factor(x.clone(), 5);
                assert_close(host, factor(on_device(&x), 5).inner(), tolerance);
            }
            // A matrix is what it is alone, wherever it stands.
            let alone = x.clone().narrow(0, 0, 1);
            let (together, alone) = (polar_express(x, 5).narrow(0, 0, 1), polar_express(alone, 5));
            assert_eq!(together.to_data(), alone.to_data(), "{shape:?}");
        }
    }
}

#[test]
fn what_is_not_finite_stays_in_its_matrix() {
    let x = wave([2, 200, 200], DType::F32, &Device::flex());
    let nan = Tensor::full([1, 1, 1], f32::NAN, &x.device());
    let x = x.slice_assign([0..1, 3..4, 5..6], nan);
    for result in [
        gram(x.clone()),
        gram_of_columns(x.clone()),
        polar_express(x, 5),
    ] {
        let finite = |at: usize| {
            let one = result.clone().narrow(0, at, 1).to_data();
            one.iter::<f64>().all(f64::is_finite)
        };
        assert_eq!([finite(0), finite(1)], [false, true]);
    }
}
