//! When products cannot be exact.

use burn::module::Module;
use burn::nn::{BatchNorm, BatchNormConfig, Dropout, DropoutConfig, Linear, LinearConfig};
use burn::tensor::{DType, Device, Tensor, activation};
use osculate_curvature::{
    Batched, CurvatureError, CurvatureOperator, GradientOracle, Hessian, HessianConfig, HvpMode,
    JvpError, Objective, ParamVec, Provenance,
};

use crate::checks::tensor;
use crate::models::fill;

#[derive(Module, Debug)]
struct Net {
    first: Linear,
    norm: BatchNorm,
    dropout: Dropout,
    head: Linear,
}

#[derive(Clone, Copy)]
enum Layer {
    Norm,
    Dropout,
    Neither,
}

impl Net {
    fn new(device: &Device) -> Self {
        Self {
            first: LinearConfig::new(3, 4).init(device),
            norm: BatchNormConfig::new(4).init(device),
            dropout: DropoutConfig::new(0.4).init(),
            head: LinearConfig::new(4, 1).init(device),
        }
    }

    fn loss(&self, x: Tensor<2>, layer: Layer) -> Tensor<1> {
        let x = self.first.forward(x);
        let x = match layer {
            Layer::Norm => self.norm.forward(x),
            Layer::Dropout => self.dropout.forward(x),
            Layer::Neither => x,
        };
        self.head.forward(activation::tanh(x)).square().mean()
    }
}

fn with_mode(mode: HvpMode) -> HessianConfig {
    HessianConfig {
        mode,
        ..HessianConfig::default()
    }
}

/// Applies both modes; gives the error of exact mode and the fallback's reason.
fn outcome<M: Module>(model: &M, objective: &dyn Objective<M>) -> (CurvatureError, String) {
    let oracle = GradientOracle::new(model, objective);
    let exact = Hessian::with_config(&oracle, with_mode(HvpMode::Exact)).unwrap();
    let v = ParamVec::gaussian(&exact.layout(), 7);
    let error = exact.apply(&v).unwrap_err();
    let auto = Hessian::new(&oracle).unwrap();
    for product in [auto.apply(&v).unwrap(), auto.apply_probe(&v).unwrap()] {
        assert!(matches!(
            product.provenance,
            Provenance::FiniteDifference { .. }
        ));
    }
    (error, auto.fallback().unwrap().to_string())
}

#[test]
fn what_differs_in_training_is_found_out() {
    let device = Device::flex().autodiff();
    let x = tensor([5, 3], 2, &device, DType::F64);
    for (layer, zero_head) in [
        (Layer::Norm, false),
        (Layer::Dropout, false),
        (Layer::Dropout, true),
        (Layer::Neither, false),
    ] {
        let mut model = fill(Net::new(&device), DType::F64);
        if zero_head {
            // Outputs do not depend on what dropout does; derivatives do.
            model.head.weight = model.head.weight.map(|w| w.zeros_like().require_grad());
        }
        let objective = Batched::new(x.clone(), move |model: &Net, x: &Tensor<2>| {
            model.loss(x.clone(), layer)
        });
        let oracle = GradientOracle::new(&model, &objective);
        let hessian = Hessian::new(&oracle).unwrap();
        let v = ParamVec::gaussian(&hessian.layout(), 7);
        for product in [hessian.apply_probe(&v).unwrap(), hessian.apply(&v).unwrap()] {
            assert_eq!(product.provenance, Provenance::Exact);
        }
        assert_eq!(hessian.fallback(), None);
    }
}

#[test]
fn another_function_is_refused() {
    let device = Device::flex().autodiff();
    let model = fill(Net::new(&device), DType::F64);
    let x = tensor([5, 3], 2, &device, DType::F64);
    // Code that looks at what a recording cannot show it.
    let objective = Batched::new(x, |model: &Net, x: &Tensor<2>| {
        let loss = model.loss(x.clone(), Layer::Neither);
        if loss.is_tracked() {
            loss.square().mul_scalar(2.0)
        } else {
            loss
        }
    });
    let (error, reason) = outcome(&model, &objective);
    assert!(
        matches!(error, CurvatureError::NotReproduced { .. }),
        "{error}"
    );
    assert!(reason.contains("freeze"), "{reason}");
}

#[test]
fn closures_fall_back() {
    let device = Device::flex().autodiff();
    let model = fill(LinearConfig::new(3, 2).init(&device), DType::F64);
    let x = tensor([5, 3], 2, &device, DType::F64);
    let objective = |model: &Linear| activation::tanh(model.forward(x.clone())).square().mean();
    let (error, reason) = outcome(&model, &objective);
    assert!(matches!(error, CurvatureError::NotRecordable));
    assert!(reason.contains("Batched"), "{reason}");
}

#[test]
fn reading_a_value_falls_back() {
    let device = Device::flex().autodiff();
    let model = fill(LinearConfig::new(3, 2).init(&device), DType::F64);
    let x = tensor([5, 3], 2, &device, DType::F64);
    let objective = Batched::new(x, |model: &Linear, x: &Tensor<2>| {
        let y = activation::tanh(model.forward(x.clone()));
        let scale: f64 = y.clone().abs().max().into_scalar();
        y.square().mean().div_scalar(scale)
    });
    let (error, _) = outcome(&model, &objective);
    assert!(
        matches!(error, CurvatureError::Jvp(JvpError::ReadBack { .. })),
        "{error}"
    );
}

#[test]
fn a_captured_tensor_falls_back() {
    let device = Device::flex().autodiff();
    let model = fill(LinearConfig::new(3, 2).init(&device), DType::F64);
    let x = tensor([5, 3], 2, &device, DType::F64);
    let captured = tensor([5, 2], 4, &device, DType::F64);
    let objective = Batched::new(x, move |model: &Linear, x: &Tensor<2>| {
        (activation::tanh(model.forward(x.clone())) - captured.clone())
            .square()
            .mean()
    });
    let (error, reason) = outcome(&model, &objective);
    assert!(
        matches!(error, CurvatureError::Jvp(JvpError::ForeignTensor { .. })),
        "{error}"
    );
    assert!(reason.contains("inputs"), "{reason}");
}
