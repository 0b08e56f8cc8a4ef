use burn::tensor::{DType, Device, Int, Tensor, TensorData};
use osculate_curvature::{
    Criterion, CurvatureOperator, GradientOracle, Hessian, HessianConfig, HvpMode, ParamVec,
    SupervisedBatch,
};

use crate::checks::{assert_dense, assert_products, devices, distance, exact, tensor};
use crate::models::{Cell, ConvNet, Mlp, Recurrent, Transformer, fill};

const F64: DType = DType::F64;

fn labels(n: usize, classes: usize, device: &Device) -> Tensor<1, Int> {
    let values: Vec<i64> = (0..n).map(|k| ((k * 7 + 1) % classes) as i64).collect();
    Tensor::from_data(TensorData::new(values, [n]), device)
}

fn mlp(
    smooth: bool,
    criterion: &dyn Fn(&Device, DType) -> Criterion,
    device: &Device,
    dtype: DType,
) -> (
    Mlp,
    SupervisedBatch<Tensor<2>, impl Fn(&Mlp, &Tensor<2>) -> Tensor<2> + use<>>,
) {
    let model = fill(Mlp::new(smooth, [3, 4, 3], device), dtype);
    let objective = SupervisedBatch::new(
        tensor([6, 3], 11, device, dtype),
        |model: &Mlp, x: &Tensor<2>| model.forward(x.clone()),
        criterion(device, dtype),
    );
    (model, objective)
}

#[test]
fn smooth_mlp_with_cross_entropy() {
    // On ndarray the differences would be those of an approximate gradient of GELU.
    let device = Device::flex().autodiff();
    let criterion = |device: &Device, _| Criterion::cross_entropy(labels(6, 3, device));
    let (model, objective) = mlp(true, &criterion, &device, F64);
    assert_dense(&model, &objective);
    assert_products(&model, &objective);
}

#[test]
fn relu_mlp_with_mse() {
    for device in devices() {
        let criterion = |device: &Device, dtype| Criterion::mse(tensor([6, 3], 5, device, dtype));
        let (model, objective) = mlp(false, &criterion, &device, F64);
        assert_dense(&model, &objective);
    }
}

#[test]
fn relu_mlp_with_binary_cross_entropy() {
    // ndarray computes the sigmoid in `f32`.
    let device = Device::flex().autodiff();
    let criterion =
        |device: &Device, dtype| Criterion::bce_with_logits(tensor([6, 3], 5, device, dtype).abs());
    let (model, objective) = mlp(false, &criterion, &device, F64);
    assert_dense(&model, &objective);
}

#[test]
fn conv_net_with_pooling_and_group_norm() {
    let device = Device::flex().autodiff();
    let model = fill(ConvNet::new(&device), F64);
    let objective = SupervisedBatch::new(
        tensor([2, 1, 6, 6], 3, &device, F64),
        |model: &ConvNet, x: &Tensor<4>| model.forward(x.clone()),
        Criterion::cross_entropy(labels(2, 3, &device)),
    );
    assert_dense(&model, &objective);
    assert_products(&model, &objective);
}

#[test]
fn transformer_with_tied_embedding() {
    let device = Device::flex().autodiff();
    let model = fill(Transformer::new(&device), F64);
    let tokens = labels(6, 5, &device).reshape([2, 3]);
    let objective = SupervisedBatch::new(
        tokens,
        |model: &Transformer, tokens: &Tensor<2, Int>| model.forward(tokens.clone()),
        Criterion::cross_entropy(labels(6, 5, &device)),
    );
    assert_dense(&model, &objective);
    assert_products(&model, &objective);
}

#[test]
fn lstm() {
    let device = Device::flex().autodiff();
    let model = fill(Cell::new(&device), F64);
    let objective = SupervisedBatch::new(
        tensor([2, 3, 2], 3, &device, F64),
        |model: &Cell, x: &Tensor<3>| model.forward(x.clone()),
        Criterion::mse(tensor([2, 2], 5, &device, F64)),
    );
    assert_dense(&model, &objective);
    assert_products(&model, &objective);
}

#[test]
fn lstm_module_in_single_precision() {
    let device = Device::flex().autodiff();
    let model = fill(Recurrent::new(&device), DType::F32);
    let objective = SupervisedBatch::new(
        tensor([2, 3, 2], 3, &device, DType::F32),
        |model: &Recurrent, x: &Tensor<3>| model.forward(x.clone()),
        Criterion::mse(tensor([2, 2], 5, &device, DType::F32)),
    );
    let oracle = GradientOracle::new(&model, &objective);
    let hessian = exact(&oracle);
    let v = ParamVec::gaussian(&hessian.layout(), 4);
    let product = hessian.apply(&v).unwrap().value.to_values();
    let config = HessianConfig {
        mode: HvpMode::FiniteDifference,
        ..HessianConfig::default()
    };
    let differences = Hessian::with_config(&oracle, config).unwrap();
    let expected = differences.apply(&v).unwrap().value.to_values();
    let error = distance(&product, &expected);
    assert!(error < 5e-3, "relative distance {error:e} to differences");
}

#[test]
fn single_precision_products_are_accurate() {
    for device in devices() {
        let criterion = |device: &Device, _| Criterion::cross_entropy(labels(6, 3, device));
        let product = |dtype| {
            let (model, objective) = mlp(true, &criterion, &device, dtype);
            let oracle = GradientOracle::new(&model, &objective);
            let hessian = exact(&oracle);
            let v = ParamVec::rademacher(&hessian.layout(), 4);
            hessian.apply(&v).unwrap().value.to_values()
        };
        let error = distance(&product(DType::F32), &product(F64));
        assert!(error < 1e-5, "relative error {error:e}");
    }
}
