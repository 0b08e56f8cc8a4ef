//! Products where the gradient vanishes, and refusals that end with their cause.

use burn::module::{Module, Param};
use burn::nn::{Linear, LinearConfig};
use burn::tensor::{DType, Device, Int, Tensor, activation};
use osculate_curvature::{
    Batched, Criterion, CurvatureOperator, GradientOracle, Hessian, HvpFallback, Objective,
    ParamVec, Provenance, SupervisedBatch, assign,
};

use crate::checks::{distance, exact, tensor};
use crate::models::{Mlp, fill};

#[derive(Module, Debug)]
struct Weights {
    w: Param<Tensor<2>>,
}

/// Least squares with orthogonal columns, at its solution moved by `off`.
fn least_squares(off: f64, dtype: DType) -> (Weights, impl Objective<Weights>) {
    let device = Device::flex().autodiff();
    let at = (&device, dtype);
    let x = Tensor::<2>::from_data(
        [[1.0, 1.0], [1.0, -1.0], [2.0, 0.0], [0.0, 3.0], [1.0, 0.0]],
        at,
    );
    let y = tensor([5, 1], 4, &device, dtype).mul_scalar(10.0);
    // The columns are orthogonal: (7, 11) are the squares of their lengths.
    let lengths = Tensor::<2>::from_data([[7.0], [11.0]], at);
    let solution = x.clone().transpose().matmul(y.clone()) / lengths;
    let w = solution.add_scalar(off).inner();
    let w = Tensor::from_inner(w).require_grad();
    let model = Weights {
        w: Param::initialized(burn::module::ParamId::new(), w),
    };
    let objective = Batched::new(
        (x, y),
        |model: &Weights, (x, y): &(Tensor<2>, Tensor<2>)| {
            (x.clone().matmul(model.w.val()) - y.clone())
                .square()
                .mean()
        },
    );
    (model, objective)
}

#[test]
fn least_squares_at_the_solution() {
    for (dtype, offsets) in [
        (DType::F32, [0.0, 1e-6, 1e-5, 1e-3]),
        (DType::F64, [0.0, 1e-16, 1e-15, 1e-10]),
    ] {
        for off in offsets {
            let (model, objective) = least_squares(off, dtype);
            let oracle = GradientOracle::new(&model, &objective);
            let hessian = Hessian::new(&oracle).unwrap();
            for k in 0..2 {
                let v = ParamVec::gaussian(&hessian.layout(), k);
                let product = hessian.apply_probe(&v).unwrap();
                assert_eq!(product.provenance, Provenance::Exact, "{dtype:?} {off:e}");
                let v = v.to_values();
                let expected = [7.0 * v[0] * 0.4, 11.0 * v[1] * 0.4];
                assert!(distance(&product.value.to_values(), &expected) < 1e-5);
            }
        }
    }
}

#[test]
fn a_regression_that_has_converged() {
    let device = Device::flex().autodiff();
    let mut model = fill(LinearConfig::new(3, 3).init(&device), DType::F32);
    let labels = Tensor::<1, Int>::from_data([0, 2, 1, 1, 0, 2], &device);
    let x = tensor([6, 3], 2, &device, DType::F32);
    let objective = Batched::new(
        (x, Criterion::cross_entropy(labels)),
        |model: &Linear, (x, criterion): &(Tensor<2>, Criterion)| {
            let loss = criterion.loss(model.forward(x.clone())).unwrap();
            let bias = model.bias.as_ref().unwrap().val().square().sum();
            loss + (model.weight.val().square().sum() + bias).mul_scalar(0.5)
        },
    );
    for step in 0..60 {
        let gradient = {
            let oracle = GradientOracle::new(&model, &objective);
            let product = exact(&oracle)
                .apply(&ParamVec::gaussian(&oracle.layout().unwrap(), step))
                .unwrap();
            assert_eq!(product.provenance, Provenance::Exact, "step {step}");
            oracle.clean().unwrap().gradient.clone()
        };
        let layout = gradient.layout().clone();
        let weights = ParamVec::of_module(&model, &layout).axpy(-0.7, &gradient);
        model = assign(model, &weights);
    }
    let oracle = GradientOracle::new(&model, &objective);
    assert!(oracle.clean().unwrap().gradient.norm() < 1e-6);
}

#[test]
fn what_is_true_of_one_step_decides_that_step() {
    let device = Device::flex().autodiff();
    let model = fill(Mlp::new(true, [3, 4, 3], &device), DType::F64);
    let x = tensor([4, 3], 11, &device, DType::F64);
    let labels = Tensor::<1, Int>::from_data([0, 2, 1, 1], &device);
    let criterion = Criterion::cross_entropy(labels);
    let handed_over = SupervisedBatch::new(
        x.clone(),
        |model: &Mlp, x: &Tensor<2>| model.forward(x.clone()),
        criterion.clone(),
    );
    let closure = move |model: &Mlp| criterion.loss(model.forward(x.clone())).unwrap();
    // A function that a recording cannot follow: it asks whether it is tracked.
    let other = Batched::new(
        tensor([4, 3], 11, &device, DType::F64),
        |model: &Mlp, x: &Tensor<2>| {
            let loss = activation::tanh(model.forward(x.clone())).mean();
            if loss.is_tracked() { loss.exp() } else { loss }
        },
    );
    let fallback = HvpFallback::default();
    let is_exact = |objective: &dyn Objective<Mlp>| {
        let oracle = GradientOracle::new(&model, objective);
        let hessian = Hessian::new(&oracle)
            .unwrap()
            .with_fallback(fallback.clone());
        let v = ParamVec::gaussian(&hessian.layout(), 7);
        let product = hessian.apply_probe(&v).unwrap();
        let exact = product.provenance == Provenance::Exact;
        assert_eq!(exact, hessian.fallback().is_none());
        exact
    };
    assert!(is_exact(&handed_over));
    assert!(!is_exact(&closure));
    assert!(is_exact(&handed_over));
    assert!(!is_exact(&other));
    assert!(is_exact(&handed_over));
    assert_eq!(fallback.reason(), None);

    // What the code does is true of every step.
    let reads = Batched::new(
        tensor([4, 3], 11, &device, DType::F64),
        |model: &Mlp, x: &Tensor<2>| {
            let y = model.forward(x.clone());
            let scale: f64 = y.clone().abs().max().into_scalar();
            y.square().mean().div_scalar(scale)
        },
    );
    assert!(!is_exact(&reads));
    assert!(!is_exact(&handed_over));
    assert!(
        fallback
            .reason()
            .unwrap()
            .contains("reads a tensor's value")
    );
}
