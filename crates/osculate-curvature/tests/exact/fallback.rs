//! When products cannot be exact.

use burn::module::Module;
use burn::nn::loss::CrossEntropyLossConfig;
use burn::nn::{Linear, LinearConfig};
use burn::tensor::{Bool, DType, Device, Int, Tensor, activation};
use osculate_curvature::{
    Batched, CurvatureError, CurvatureOperator, GradientOracle, Hessian, HessianConfig, HvpMode,
    JvpError, Objective, ParamVec, Provenance,
};

use crate::checks::tensor;
use crate::models::fill;

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
fn another_function_is_refused() {
    let device = Device::flex().autodiff();
    let model = fill(LinearConfig::new(3, 2).init(&device), DType::F64);
    let x = tensor([5, 3], 2, &device, DType::F64);
    // Code that looks at what a recording cannot show it.
    let objective = Batched::new(x, |model: &Linear, x: &Tensor<2>| {
        let loss = activation::tanh(model.forward(x.clone())).square().mean();
        if loss.is_tracked() { loss.exp() } else { loss }
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

#[test]
fn captured_tensors_of_every_kind_are_recognised() {
    let device = Device::flex().autodiff();
    let model = fill(LinearConfig::new(3, 2).init(&device), DType::F64);
    let teacher: Linear = fill(LinearConfig::new(3, 2).init(&device), DType::F64);
    let x = || tensor([4, 3], 2, &device, DType::F64);
    let labels = Tensor::<1, Int>::from_data([0, 1, 1, 0], &device);
    let mask = Tensor::<2, Bool>::from_data([[true, false]; 4], &device);
    let weights = tensor([2], 5, &device, DType::F64);
    type Loss = Box<dyn Fn(&Linear, &Tensor<2>) -> Tensor<1>>;
    let losses: [Loss; 6] = [
        Box::new({
            let labels = labels.clone();
            move |model, x| {
                let loss = CrossEntropyLossConfig::new().init(&x.device());
                loss.forward(model.forward(x.clone()), labels.clone())
            }
        }),
        Box::new({
            let labels = labels.clone();
            move |model, x| {
                model
                    .forward(x.clone())
                    .select(0, labels.clone())
                    .square()
                    .mean()
            }
        }),
        Box::new({
            let labels = labels.clone().unsqueeze_dim::<2>(1);
            move |model, x| {
                model
                    .forward(x.clone())
                    .gather(1, labels.clone())
                    .square()
                    .mean()
            }
        }),
        Box::new(move |model, x| {
            model
                .forward(x.clone())
                .mask_fill(mask.clone(), 0.0)
                .square()
                .mean()
        }),
        Box::new(move |model, x| {
            (model.forward(x.clone()) * weights.clone().unsqueeze::<2>())
                .square()
                .mean()
        }),
        Box::new(move |model, x| {
            (model.forward(x.clone()) - teacher.forward(x.clone()))
                .square()
                .mean()
        }),
    ];
    for (index, loss) in losses.into_iter().enumerate() {
        let (error, reason) = outcome(&model, &Batched::new(x(), loss));
        assert!(
            matches!(error, CurvatureError::Jvp(JvpError::ForeignTensor { .. })),
            "{index}: {error}"
        );
        assert!(reason.contains("through the inputs"), "{reason}");
    }
}
