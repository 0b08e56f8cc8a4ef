//! Exact products on every backend against those on flex in `f64`.

use burn::module::Module;
use burn::tensor::{DType, Device, Int, Tensor};
use osculate_curvature::*;
use osculate_problems::modules::{
    Mlp, MlpConfig, TransformerBlock, TransformerBlockConfig, cast, seeded,
};
use osculate_tests::compare::assert_vector;
use osculate_tests::on_every_backend;

/// The exact Hessian product on a batch, along one direction.
fn product<M: Module>(model: &M, batch: &impl Objective<M>) -> Vec<f64> {
    let oracle = GradientOracle::new(model, batch);
    let v = ParamVec::gaussian(&oracle.layout().unwrap(), 5);
    let config = HessianConfig {
        mode: HvpMode::Exact,
        ..HessianConfig::default()
    };
    let hessian = Hessian::with_config(&oracle, config).unwrap();
    hessian.apply(&v).unwrap().value.to_values()
}

fn check(what: &str, made: impl Fn(&Device, DType) -> Vec<f64>, device: &Device, dtype: DType) {
    let tolerance = if dtype == DType::F64 { 1e-10 } else { 1e-4 };
    let reference = made(&Device::flex().autodiff(), DType::F64);
    assert_vector(&made(device, dtype), &reference, tolerance, what);
}

/// GELU and cross-entropy.
mod perceptron {
    use super::*;

    fn made(device: &Device, dtype: DType) -> Vec<f64> {
        let config = MlpConfig::new(vec![3, 8, 8, 3]);
        let model = cast(seeded(config.init(device), 1), dtype);
        let rows = [[0.5, -1.0, 0.25], [1.0, 0.25, -0.75], [-0.5, 0.5, 2.0]];
        let inputs = Tensor::<2>::from_data(rows, (device, dtype));
        let labels = Tensor::<1, Int>::from_data([2, 0, 1], device);
        let forward = |model: &Mlp, x: &Tensor<2>| model.forward(x.clone());
        product(
            &model,
            &SupervisedBatch::new(inputs, forward, Criterion::cross_entropy(labels)),
        )
    }

    on_every_backend!(|device: &Device, dtype: DType| check("perceptron", made, device, dtype));
}

/// Embeddings, layer norms, causal attention.
mod transformer {
    use super::*;

    fn made(device: &Device, dtype: DType) -> Vec<f64> {
        let config = TransformerBlockConfig::new(5, 4)
            .with_width(8)
            .with_heads(2);
        let model = cast(seeded(config.init(device), 2), dtype);
        let tokens = Tensor::<2, Int>::from_data([[0, 3, 1, 4], [2, 2, 0, 1]], device);
        let next = Tensor::<1, Int>::from_data([3, 1, 4, 0, 2, 0, 1, 3], device);
        let forward = |model: &TransformerBlock, x: &Tensor<2, Int>| model.forward(x.clone());
        product(
            &model,
            &SupervisedBatch::new(tokens, forward, Criterion::cross_entropy(next)),
        )
    }

    on_every_backend!(|device: &Device, dtype: DType| check("transformer", made, device, dtype));
}
