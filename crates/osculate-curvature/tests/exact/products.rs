use burn::tensor::{DType, Device, Int, Tensor};
use osculate_curvature::{
    Criterion, CurvatureOperator, Fisher, FisherKind, GaussNewton, GradientOracle, HvpMode,
    ParamVec, Provenance, SupervisedBatch, dense_diagonal, dense_matrix,
};

use crate::checks::{distance, exact, tensor};
use crate::models::{Mlp, fill};

fn objective(
    device: &Device,
) -> SupervisedBatch<Tensor<2>, impl Fn(&Mlp, &Tensor<2>) -> Tensor<2> + use<>> {
    SupervisedBatch::new(
        tensor([4, 3], 11, device, DType::F64),
        |model: &Mlp, x: &Tensor<2>| model.forward(x.clone()),
        Criterion::cross_entropy(Tensor::<1, Int>::from_data([0, 2, 1, 1], device)),
    )
}

#[test]
fn gauss_newton_products_are_exact() {
    let device = Device::flex().autodiff();
    let model = fill(Mlp::new(true, [3, 4, 3], &device), DType::F64);
    let objective = objective(&device);
    let oracle = GradientOracle::new(&model, &objective);
    let exact = GaussNewton::with_mode(&oracle, HvpMode::Exact).unwrap();
    let differences = GaussNewton::with_mode(&oracle, HvpMode::FiniteDifference).unwrap();
    let v = ParamVec::gaussian(&exact.layout(), 1);
    let product = exact.apply(&v).unwrap();
    assert_eq!(product.provenance, Provenance::Exact);
    let expected = differences.apply(&v).unwrap().value.to_values();
    assert!(distance(&product.value.to_values(), &expected) < 1e-6);
    let form = exact.quadratic_form(&v).unwrap();
    assert!((form - v.dot(&product.value)).abs() < 1e-12 * form);
    assert!(form > 0.0);
}

#[test]
fn fisher_products_are_exact() {
    let device = Device::flex().autodiff();
    let model = fill(Mlp::new(true, [3, 4, 3], &device), DType::F64);
    let objective = objective(&device);
    let oracle = GradientOracle::new(&model, &objective);
    for kind in [FisherKind::Empirical, FisherKind::Sampled { seed: 3 }] {
        let exact = Fisher::with_mode(&oracle, kind, HvpMode::Exact).unwrap();
        let differences = Fisher::with_mode(&oracle, kind, HvpMode::FiniteDifference).unwrap();
        let v = ParamVec::gaussian(&exact.layout(), 1);
        let product = exact.apply(&v).unwrap();
        assert_eq!(product.provenance, Provenance::Exact);
        let expected = differences.apply(&v).unwrap().value.to_values();
        assert!(distance(&product.value.to_values(), &expected) < 1e-6);
    }
}

#[test]
fn the_dense_diagonal_is_that_of_the_matrix() {
    let device = Device::flex().autodiff();
    let model = fill(Mlp::new(true, [3, 2, 3], &device), DType::F64);
    let objective = objective(&device);
    let oracle = GradientOracle::new(&model, &objective);
    let hessian = exact(&oracle);
    let n = hessian.layout().num_elements();
    let matrix = dense_matrix(&hessian).unwrap();
    let expected: Vec<f64> = (0..n).map(|k| matrix[k * n + k]).collect();
    let diagonal = dense_diagonal(&hessian).unwrap().to_values();
    assert!(distance(&diagonal, &expected) < 1e-14);
}
