//! Parameters whose gradient is zero for good come to rest, and a loss that is not finite is no step where
//! the policy says so.

use burn::module::{Module, Param, ParamId};
use burn::optim::{AdamWConfig, SgdConfig};
use burn::tensor::{DType, Device, Tensor, TensorData};
use osculate_curvature::{
    Accumulated, Criterion, Drawing, Fallible, Objective, ObjectiveError, SupervisedBatch,
};
use osculate_optim::registry::{OptimizerKind, OptimizerSpec};
use osculate_optim::{
    ClosureOptimizer, Driver, MuonConfig, NonFinitePolicy, Sam, SoapConfig, StatefulOptimizer,
    StepErrorCause, StepPolicy, WeightDecay,
};
use osculate_tests::model::wave;

/// A layer that a mask takes out of the loss after some steps, and one that stays.
#[derive(Module, Debug)]
struct Masked {
    masked: Param<Tensor<2>>,
    other: Param<Tensor<2>>,
}

fn matrix(phase: f64) -> Param<Tensor<2>> {
    let data = TensorData::new(wave(12, phase), [4, 3]);
    let values = Tensor::<2>::from_data(data, (&device(), DType::F32));
    Param::initialized(ParamId::new(), values.require_grad())
}

fn device() -> Device {
    Device::flex().autodiff()
}

impl Masked {
    fn new() -> Self {
        Self {
            masked: matrix(0.1),
            other: matrix(0.6),
        }
    }
}

fn values(param: &Param<Tensor<2>>) -> Vec<f64> {
    param.val().into_data().iter().collect()
}

/// A batch, with others for who draws them.
fn objective(mask: f32) -> Drawing<'static, Masked> {
    Drawing::new(Box::new(batch(mask)), move |_| Ok(Box::new(batch(mask))))
}

fn batch(mask: f32) -> impl Objective<Masked> + 'static {
    let at = (&device().inner(), DType::F32);
    let targets = Tensor::<2>::full([8, 3], 0.7, at);
    SupervisedBatch::new(
        Tensor::<1>::from_data([mask], at),
        |model: &Masked, mask: &Tensor<1>| {
            let masked = model.masked.val() * mask.clone().reshape([1, 1]);
            Tensor::cat(vec![masked, model.other.val()], 0)
        },
        Criterion::mse(targets),
    )
}

/// How far the masked layer goes in the last steps of many.
fn drift(mut optimizer: Driver) -> f64 {
    let mut model = Masked::new();
    for _ in 0..4 {
        model = optimizer.step(1e-2, model, &objective(1.0)).unwrap().model;
    }
    let mut before = Vec::new();
    for step in 0..700 {
        if step == 680 {
            before = values(&model.masked);
        }
        model = optimizer.step(1e-2, model, &objective(0.0)).unwrap().model;
    }
    let after = values(&model.masked);
    let moved = before.iter().zip(&after).map(|(a, b)| (a - b).abs());
    moved.fold(0.0, f64::max)
}

#[test]
fn a_parameter_without_a_gradient_comes_to_rest() {
    for kind in OptimizerKind::all() {
        if kind == OptimizerKind::LION {
            // Its step is a sign: a momentum that fades by 0.99 a step has one for ten thousand steps.
            continue;
        }
        if kind == OptimizerKind::PERP_GRAD {
            // It refuses a squared error.
            continue;
        }
        // Twenty steps of the rate 1e-2 go 0.2 at full length; the decay inside burn's optimizers goes 2e-3.
        let optimizer = OptimizerSpec::new(kind).build(1).unwrap();
        let drift = drift(optimizer.with_weight_decay(WeightDecay::NONE).unwrap());
        assert!(drift < 5e-3, "{kind}: {drift}");
    }
}

/// A loss of which the gradient is finite.
fn loss_of(value: f32) -> impl Fn(&Masked) -> Tensor<1> {
    move |model: &Masked| {
        let sound = model.masked.val().square().mean() + model.other.val().square().mean();
        let device = sound.device();
        sound + Tensor::<1>::from_data([value], &device)
    }
}

#[test]
fn under_error_a_loss_that_is_not_finite_is_no_step() {
    let policy = StepPolicy::new().with_non_finite(NonFinitePolicy::Error);
    let makes: [fn() -> Driver; 4] = [
        || SgdConfig::new().init().into(),
        || Sam::new(0.05).over(AdamWConfig::new().init()).unwrap(),
        || MuonConfig::new().init().unwrap(),
        || SoapConfig::new().init().unwrap(),
    ];
    for make in makes {
        for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut optimizer = make().with_policy(policy.clone()).unwrap();
            let name = optimizer.name().to_string();
            let model = Masked::new();
            let start = (values(&model.masked), values(&model.other));
            let before = optimizer.to_record();
            let error = optimizer.step(0.1, model, &loss_of(value)).unwrap_err();
            let StepErrorCause::NonFiniteLoss { value: told } = error.cause else {
                panic!("{name}: {:?}", error.cause);
            };
            assert!(!told.is_finite());
            let model = error.model;
            assert_eq!((values(&model.masked), values(&model.other)), start);
            assert_eq!(optimizer.to_record(), before, "{name}");
            // A sound one goes on.
            optimizer.step(0.1, model, &loss_of(1.0)).unwrap();
        }
    }
}

#[test]
fn parts_without_rows_weigh_nothing_and_none_at_all_is_an_error() {
    let part = |value: f32, rows: usize| {
        let loss: Box<dyn Objective<Masked>> = Box::new(loss_of(value));
        (loss, rows)
    };
    let policy = || StepPolicy::new().with_non_finite(NonFinitePolicy::Error);
    let step = |parts: Vec<(Box<dyn Objective<Masked>>, usize)>| {
        let sgd = Driver::from(SgdConfig::new().init());
        let mut optimizer = sgd.with_policy(policy()).unwrap();
        let made = optimizer.step(0.1, Masked::new(), &Accumulated::new(parts));
        made.map_err(Box::new)
    };
    let alone = step(vec![part(0.0, 5)]).unwrap();
    let beside = step(vec![part(0.0, 5), part(f32::NAN, 0)]).unwrap();
    assert_eq!(values(&alone.model.masked), values(&beside.model.masked));
    for parts in [Vec::new(), vec![part(0.0, 0)]] {
        let error = step(parts).unwrap_err();
        let told = error.cause.to_string();
        assert!(told.contains("no batch with samples"), "{told}");
        assert_eq!(values(&error.model.masked), values(&Masked::new().masked));
    }
    // A part that fails says so.
    let failing: Box<dyn Objective<Masked>> = Box::new(Fallible(|_: &Masked| {
        Err(ObjectiveError::new("no such file"))
    }));
    let error = step(vec![(failing, 3)]).unwrap_err();
    assert!(error.to_string().contains("no such file"), "{error}");
}
