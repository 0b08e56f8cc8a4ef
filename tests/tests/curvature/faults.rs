//! Curvature estimates that are not finite while the gradient is, and gradients at the limits of
//! half precision.

use std::sync::Arc;

use burn::module::{Module, Param, ParamId};
use burn::tensor::{DType, Device, Int, Tensor};
use osculate_curvature::{Criterion, CurvatureError, Drawing, Objective, ParamVec, Supervised};
use osculate_optim::{
    AdaHessianConfig, ClosureOptimizer, CustomDiagonal, DiagonalFn, DiagonalRequest,
    NonFinitePolicy, SkipReason, SophiaConfig, StepErrorCause, StepPolicy,
};
use osculate_tests::for_each_optimizer;
use osculate_tests::model::{Batch, Fault, Ranked};
use osculate_tests::subject::Subject;

/// Ones, but NaN for the parameter `rank2` in the steps listed.
fn spoiled(steps: &'static [u64]) -> DiagonalFn {
    Arc::new(
        move |request: &DiagonalRequest<'_>| -> Result<ParamVec, CurvatureError> {
            Ok(request.gradient.map(|(entry, g)| {
                let spoil = entry.path == "rank2" && steps.contains(&request.step);
                g.full_like(if spoil { f64::NAN } else { 1.0 })
            }))
        },
    )
}

fn adahessian(policy: StepPolicy, period: usize, steps: &'static [u64]) -> Subject {
    let config = AdaHessianConfig::new().with_period(period);
    let driver = config
        .init()
        .expect("valid")
        .with_policy(policy)
        .expect("valid");
    Box::new(driver.with_curvature(CustomDiagonal::new(spoiled(steps))))
}

fn sophia(policy: StepPolicy, period: usize, steps: &'static [u64]) -> Subject {
    let config = SophiaConfig::h().with_period(period);
    let driver = config
        .init()
        .expect("valid")
        .with_policy(policy)
        .expect("valid");
    Box::new(driver.with_curvature(CustomDiagonal::new(spoiled(steps))))
}

type Make = fn(StepPolicy, usize, &'static [u64]) -> Subject;

fn start() -> Ranked {
    Ranked::new(&Device::flex().autodiff(), DType::F64)
}

fn good(step: usize) -> Batch {
    Batch::new(&start(), step, false, Fault::None)
}

#[test]
fn a_bad_estimate_is_counted_and_an_older_one_stands_in() {
    for make in [adahessian as Make, sophia] {
        for period in [1, 2] {
            let mut optimizer = make(StepPolicy::new(), period, &[2]);
            let mut model = start();
            for step in 0..5 {
                let before = model.values_of_rank(2);
                let made = optimizer.step(0.01, model, &good(step)).expect("a step");
                let skipped = made.report.skipped();
                model = made.model;
                assert!(model.values().iter().all(|x| x.is_finite()));
                let counted = skipped
                    .iter()
                    .any(|s| s.path == "rank2" && s.reason == SkipReason::Curvature);
                assert_eq!(counted, step == 2, "step {step}: {skipped:?}");
                // AdaHessian keeps no older curvature with a period of 1: the parameter waits.
                let waits = optimizer.name() == "adahessian" && period == 1 && step == 2;
                let moved = model.values_of_rank(2) != before;
                assert_eq!(moved, !waits, "{} step {step}", optimizer.name());
            }
        }
    }
}

#[test]
fn without_any_curvature_a_parameter_waits_for_one() {
    let mut optimizer = adahessian(StepPolicy::new(), 2, &[0]);
    let mut model = start();
    let initial = model.values_of_rank(2);
    for step in 0..4 {
        model = optimizer
            .step(0.01, model, &good(step))
            .expect("a step")
            .model;
        let moved = model.values_of_rank(2) != initial;
        assert_eq!(moved, step >= 2, "step {step}");
    }
    let longest = model
        .values_of_rank(2)
        .iter()
        .zip(&initial)
        .map(|(a, b)| (a - b).abs())
        .fold(0.0, f64::max);
    assert!(longest < 0.1, "a step of {longest}");
}

#[test]
fn the_policy_error_looks_at_curvature() {
    for make in [adahessian as Make, sophia] {
        let policy = StepPolicy::new().with_non_finite(NonFinitePolicy::Error);
        let mut optimizer = make(policy, 1, &[1]);
        let model = optimizer
            .step(0.01, start(), &good(0))
            .expect("a step")
            .model;
        let (values, record) = (model.values(), optimizer.to_record());
        let error = optimizer.step(0.01, model, &good(1)).expect_err("a NaN");
        assert!(
            matches!(&error.cause, StepErrorCause::NonFiniteCurvature { paths }
                if paths == &["rank2"]),
            "{error}"
        );
        assert_eq!(error.model.values(), values);
        assert_eq!(optimizer.to_record(), record);
    }
}

/// Two weights.
#[derive(Module, Debug)]
struct Single {
    weight: Param<Tensor<1>>,
    other: Param<Tensor<1>>,
}

impl Single {
    /// A loss whose gradients are of the size of `factor`.
    fn objective(&self, factor: f64, supervised: bool) -> Box<dyn Objective<Single>> {
        if supervised {
            let labels = Tensor::<1, Int>::from_data([0, 1, 0, 1], &self.weight.val().device());
            return Box::new(Supervised::new(
                move |model: &Single| {
                    let all = Tensor::cat(vec![model.weight.val(), model.other.val()], 0);
                    all.reshape([4, 2]).mul_scalar(factor)
                },
                Criterion::cross_entropy(labels),
            ));
        }
        Box::new(move |model: &Single| {
            let bowl = model.weight.val().square().sum() + model.other.val().square().sum();
            bowl.mul_scalar(factor)
        })
    }
}

/// Zero, tiny and NaN gradients of half-precision parameters do not spoil the weights, in a first
/// step and after one.
fn half(make: fn(StepPolicy) -> Subject<Single>, supervised: bool) {
    let device = Device::flex().autodiff();
    for dtype in [DType::F16, DType::BF16] {
        for scale in [0.0, 1e-5, 1e-7, f64::NAN] {
            let weight = |at: f32| {
                let tensor = Tensor::<1>::full([4], at, (&device, dtype)).require_grad();
                Param::initialized(ParamId::new(), tensor)
            };
            let mut model = Single {
                weight: weight(0.5),
                other: weight(0.25),
            };
            let mut optimizer = make(StepPolicy::new());
            for step in 0..6 {
                let factor = if step % 2 == 0 { scale } else { 1.0 };
                let other = model.clone();
                let objective = Drawing::new(model.objective(factor, supervised), move |_| {
                    Ok(other.objective(factor, supervised))
                });
                let made = optimizer.step(0.01, model, &objective);
                model = made.expect("a step").model;
                for param in [&model.weight, &model.other] {
                    let finite = param.val().into_data().iter::<f32>().all(f32::is_finite);
                    assert!(finite, "{dtype:?}, gradients of {scale}, step {step}");
                }
            }
        }
    }
}

macro_rules! suite {
    ($name:ident, $make:path, $supervised:literal) => {
        mod $name {
            #[test]
            fn half() {
                super::half($make, $supervised);
            }
        }
    };
}

for_each_optimizer!(suite);

/// A weight that is not finite and takes no part in the loss does not stop the others.
#[test]
fn a_useless_weight_stops_nobody() {
    use burn::module::ParamGroup;
    use burn::optim::SgdConfig;
    use osculate_optim::Asam;

    let device = Device::flex().autodiff();
    let values = [0.5, f32::INFINITY, -0.5, f32::NAN];
    let by_magnitude = Asam::new(0.05)
        .with_eta(0.0)
        .with_scaled(Some(ParamGroup::all()));
    let optimizers: [Box<dyn ClosureOptimizer<Single>>; 2] = [
        Box::new(Asam::new(0.5).over(SgdConfig::new().init()).unwrap()),
        Box::new(by_magnitude.over(SgdConfig::new().init()).unwrap()),
    ];
    for mut optimizer in optimizers {
        let leaf = |tensor: Tensor<1>| Param::initialized(ParamId::new(), tensor.require_grad());
        let model = Single {
            weight: leaf(Tensor::from_data(values, &device)),
            other: leaf(Tensor::from_data([1.0, 2.0], &device)),
        };
        let loss = |model: &Single| {
            let rows = Tensor::<1, Int>::from_data([0, 2], &device);
            let used = model.weight.val().select(0, rows);
            used.square().sum() + model.other.val().square().sum()
        };
        let step = optimizer.step(0.1, model, &loss).expect("a step");
        let name = optimizer.name();
        assert!(step.report.skipped().is_empty(), "{name}");
        let read = |param: &Param<Tensor<1>>| -> Vec<f32> {
            param.val().into_data().iter::<f32>().collect()
        };
        let (weight, other) = (read(&step.model.weight), read(&step.model.other));
        assert!(weight[0] < 0.5 && weight[2] > -0.5, "{name}: {weight:?}");
        assert!(other[0] < 1.0 && other[1] < 2.0, "{name}: {other:?}");
    }
}
