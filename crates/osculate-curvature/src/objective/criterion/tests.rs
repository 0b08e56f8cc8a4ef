use super::*;
use burn::tensor::{DType, Device};

#[test]
fn row_gradients_are_those_of_the_summed_rows() {
    let device = Device::flex().autodiff();
    let at = (&device, DType::F64);
    let labels = Tensor::<1, Int>::from_data([2, 0], &device);
    let values = Tensor::<2>::from_data([[0.0, 1.0, 0.25], [1.0, 0.5, 0.0]], at);
    for criterion in [
        Criterion::cross_entropy(labels.clone()),
        Criterion::smoothed_cross_entropy(labels.clone(), 0.3).unwrap(),
        Criterion::stable_max(labels),
        Criterion::mse(values.clone()),
        Criterion::bce_with_logits(values),
    ] {
        let outputs = Tensor::<2>::from_data([[0.3, -1.0, 0.7], [1.1, 0.2, -0.4]], at);
        let outputs = outputs.require_grad();
        let sum = criterion.per_sample(outputs.clone()).unwrap().sum();
        let gradient = outputs.grad(&sum.backward()).unwrap();
        let closed = criterion.row_gradients(outputs).inner();
        let apart = (closed - gradient).abs().max().into_scalar::<f64>();
        assert!(apart < 1e-12, "{criterion:?}: {apart}");
    }
}

#[test]
fn products_keep_their_digits_where_a_class_is_nearly_certain() {
    let device = Device::flex();
    let criterion = Criterion::cross_entropy(Tensor::from_data([1], &device));
    let product = |logits: [f32; 4], along: [f32; 4], dtype: DType| -> Vec<f64> {
        let row = |row: [f32; 4]| Tensor::<2>::from_data([row], &device).cast(dtype);
        let product = criterion.hessian_vp(row(logits), row(along)).into_data();
        product.iter::<f64>().collect()
    };
    for margin in [1.0, 5.0, 10.0, 14.0] {
        // All of the direction's elements may share an offset, which counts for nothing.
        for along in [[0.9, 0.6, -1.1, 0.4], [100.5, 100.25, 99.0, 100.0]] {
            let logits = [0.3, margin, -0.7, 0.1];
            let exact = product(logits, along, DType::F64);
            let size = exact.iter().fold(0.0_f64, |size, x| size.max(x.abs()));
            let found = product(logits, along, DType::F32);
            for (found, exact) in found.iter().zip(&exact) {
                let apart = (found - exact).abs() / size;
                assert!(apart < 2e-6, "margin {margin}: {apart:e}");
            }
        }
    }
}
