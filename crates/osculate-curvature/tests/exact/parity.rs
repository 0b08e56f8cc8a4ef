//! Products against those of JAX, from `tests/oracles/hvp_jax.py`.

use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::{DType, Device, Int, Tensor, TensorData};
use osculate_curvature::{
    Criterion, CurvatureOperator, GradientOracle, ParamVec, SupervisedBatch, Tensors,
};
use serde_json::Value;

use crate::checks::{devices, distance, exact};
use crate::models::{ConvNet, Mlp, Transformer};

fn floats(value: &Value) -> Vec<f64> {
    let list = value.as_array().unwrap();
    list.iter().map(|x| x.as_f64().unwrap()).collect()
}

fn float<const D: usize>(
    value: &Value,
    shape: [usize; D],
    device: &Device,
    dtype: DType,
) -> Tensor<D> {
    Tensor::from_data(TensorData::new(floats(value), shape), (device, dtype))
}

fn ints<const D: usize>(value: &Value, shape: [usize; D], device: &Device) -> Tensor<D, Int> {
    let list = value.as_array().unwrap();
    let list: Vec<i64> = list.iter().map(|x| x.as_i64().unwrap()).collect();
    Tensor::from_data(TensorData::new(list, shape), device)
}

struct Load<'a> {
    path: Vec<String>,
    parameters: &'a Value,
    dtype: DType,
}

impl ModuleMapper for Load<'_> {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.push(name.to_string());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let (id, tensor, mapper) = param.consume();
        let values = &self.parameters[self.path.join(".")];
        let loaded = float(values, tensor.dims(), &tensor.device(), self.dtype);
        Param::from_mapped_value(id, loaded.require_grad(), mapper)
    }
}

fn check<M: Module, I: Tensors>(
    case: &Value,
    model: M,
    inputs: I,
    dtype: DType,
    device: &Device,
    forward: impl Fn(&M, &I) -> Tensor<2>,
) {
    let model = model.map(&mut Load {
        path: Vec::new(),
        parameters: &case["parameters"],
        dtype,
    });
    let n = case["labels"].as_array().unwrap().len();
    let labels = ints(&case["labels"], [n], device);
    let objective = SupervisedBatch::new(inputs, forward, Criterion::cross_entropy(labels));
    let oracle = GradientOracle::new(&model, &objective);
    let hessian = exact(&oracle);
    let layout = hessian.layout();
    let flat = |values: &Value| -> Vec<f64> {
        let entries = layout.entries().iter();
        entries
            .flat_map(|entry| floats(&values[&entry.path]))
            .collect()
    };
    let v = ParamVec::from_values(&layout, &flat(&case["direction"]));
    let product = hessian.apply(&v).unwrap().value.to_values();
    let tolerance = if dtype == DType::F64 { 1e-9 } else { 1e-5 };
    let error = distance(&product, &flat(&case["product"]));
    assert!(
        error < tolerance,
        "relative distance {error:e} in {dtype:?}"
    );
}

fn cases(run: impl Fn(&Value, DType, &Device)) {
    let all: Value = serde_json::from_str(include_str!("../data/hvp.json")).unwrap();
    run(&all, DType::F64, &Device::flex().autodiff());
    for device in devices() {
        run(&all, DType::F32, &device);
    }
}

#[test]
fn mlp() {
    cases(|all, dtype, device| {
        let case = &all["mlp"];
        let inputs = float(&case["inputs"], [10, 5], device, dtype);
        let model = Mlp::new(true, [5, 8, 4], device);
        check(
            case,
            model,
            inputs,
            dtype,
            device,
            |model, x: &Tensor<2>| model.forward(x.clone()),
        );
    });
}

#[test]
fn conv_net() {
    cases(|all, dtype, device| {
        let case = &all["conv_net"];
        let inputs = float(&case["inputs"], [3, 1, 6, 6], device, dtype);
        check(
            case,
            ConvNet::new(device),
            inputs,
            dtype,
            device,
            |model, x: &Tensor<4>| model.forward(x.clone()),
        );
    });
}

#[test]
fn transformer() {
    cases(|all, dtype, device| {
        let case = &all["transformer"];
        let inputs = ints(&case["inputs"], [2, 6], device);
        check(
            case,
            Transformer::new(device),
            inputs,
            dtype,
            device,
            |model, x: &Tensor<2, Int>| model.forward(x.clone()),
        );
    });
}
