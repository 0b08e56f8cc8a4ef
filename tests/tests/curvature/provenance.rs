//! How the Hessian products of steps were made, and what stands in for them where they cannot be.

use burn::module::Module;
use burn::nn::{Linear, LinearConfig};
use burn::tensor::activation::{relu, tanh};
use burn::tensor::{Device, Int, Tensor, TensorData};
use osculate_curvature::{
    Batched, Criterion, DifferenceReason, HessianConfig, HvpMode, Objective, Supervised,
    SupervisedBatch,
};
use osculate_optim::{
    AdaHessianConfig, ClosureOptimizer, Driver, Hutchinson, SasshaConfig, SophiaConfig,
    StatefulOptimizer, StepReport,
};
use osculate_problems::modules::seeded;
use osculate_tests::model::wave;

#[derive(Module, Debug)]
struct Net {
    hidden: Linear,
    middle: Linear,
    head: Linear,
}

const ROWS: usize = 64;

fn device() -> Device {
    Device::flex().autodiff()
}

fn net() -> Net {
    let device = device();
    let linear = |inputs, outputs| LinearConfig::new(inputs, outputs).init(&device);
    let net = Net {
        hidden: linear(8, 64),
        middle: linear(64, 64),
        head: linear(64, 4),
    };
    seeded(net, 5)
}

impl Net {
    fn bent(&self, x: Tensor<2>) -> Tensor<2> {
        let x = relu(self.middle.forward(relu(self.hidden.forward(x))));
        self.head.forward(x)
    }

    fn smooth(&self, x: Tensor<2>) -> Tensor<2> {
        let x = tanh(self.middle.forward(tanh(self.hidden.forward(x))));
        self.head.forward(x)
    }
}

fn inputs() -> Tensor<2> {
    let data = TensorData::new(wave(ROWS * 8, 0.3), [ROWS, 8]);
    Tensor::from_data(data, &device())
}

fn criterion() -> Criterion {
    let labels: Vec<i64> = (0..ROWS as i64).map(|i| i * 3 % 4).collect();
    let labels = Tensor::<1, Int>::from_data(TensorData::new(labels, [ROWS]), &device());
    Criterion::cross_entropy(labels)
}

fn first(mut optimizer: Driver, objective: &dyn Objective<Net>) -> StepReport {
    optimizer.step(1e-3, net(), objective).unwrap().report
}

#[test]
fn a_step_tells_how_its_products_were_made_and_why() {
    let x = inputs();
    let batch = SupervisedBatch::new(
        x.clone(),
        |net: &Net, x: &Tensor<2>| net.bent(x.clone()),
        criterion(),
    );
    let closure = |net: &Net| net.smooth(x.clone()).square().mean();
    let captured = x.clone();
    let capturing = Batched::new(x.clone(), move |net: &Net, x: &Tensor<2>| {
        net.smooth(x.clone() + captured.clone()).square().mean()
    });
    let differences = HessianConfig {
        mode: HvpMode::FiniteDifference,
        ..HessianConfig::default()
    };
    for methods in [
        || AdaHessianConfig::new().init().unwrap(),
        || SophiaConfig::h().init().unwrap(),
        || SasshaConfig::new().init().unwrap(),
    ] {
        let report = first(methods(), &batch);
        assert!(report.provenance().unwrap().is_exact());
        assert_eq!((report.fallback(), report.curvature_age()), (None, Some(0)));

        let report = first(methods(), &closure);
        let made = report.provenance().unwrap();
        assert_eq!(made.reason(), Some(DifferenceReason::BatchKept));
        // The first difference of a run is judged.
        assert!(made.error().is_some_and(f64::is_finite));
        let why = report.fallback().unwrap();
        assert!(why.contains("pass a `Batched`"), "{why}");

        let report = first(methods(), &capturing);
        let made = report.provenance().unwrap();
        assert_eq!(made.reason(), Some(DifferenceReason::NotDifferentiable));
        let why = report.fallback().unwrap();
        assert!(why.contains("through the inputs"), "{why}");

        let asked = methods().with_curvature(Hutchinson::gaussian().with_hessian(differences));
        let made = first(asked, &batch).provenance().unwrap();
        assert_eq!(made.reason(), Some(DifferenceReason::Asked));
    }
    let report = first(SophiaConfig::g().init().unwrap(), &batch);
    assert_eq!((report.provenance(), report.fallback()), (None, None));
}

/// Differences of the gradients of a network with kinks in `f32` are off by a multiple of the curvature.
#[test]
fn gauss_newton_stands_in_for_differences_on_kinks() {
    let x = inputs();
    let bent = || {
        let x = x.clone();
        Supervised::new(move |net: &Net| net.bent(x.clone()), criterion())
    };
    let smooth = || {
        let x = x.clone();
        Supervised::new(move |net: &Net| net.smooth(x.clone()), criterion())
    };
    let adahessian = || AdaHessianConfig::new().init().unwrap();
    let why = first(adahessian(), &bent()).fallback().map(str::to_string);
    let why = why.unwrap();
    assert!(why.starts_with("Gauss-Newton"), "{why}");
    assert!(why.contains("SupervisedBatch"), "{why}");
    let why = first(adahessian(), &smooth())
        .fallback()
        .map(str::to_string);
    let why = why.unwrap();
    assert!(!why.contains("Gauss-Newton"), "{why}");

    // Who asks for the Hessian gets it.
    let asked = adahessian()
        .with_curvature(Hutchinson::rademacher().with_hessian(HessianConfig::default()));
    let why = first(asked, &bent()).fallback().map(str::to_string);
    assert!(!why.unwrap().contains("Gauss-Newton"));

    // The decision is part of the state: a resumed run is the same bit for bit, and pays for it once.
    let objective = bent();
    let mut through = adahessian();
    let mut model = net();
    let mut costs = Vec::new();
    let mut halfway = None;
    for step in 0..6 {
        let made = through.step(1e-3, model, &objective).unwrap();
        costs.push(made.report.cost().gradient_evaluations());
        model = made.model;
        if step == 2 {
            halfway = Some((through.to_record(), model.clone()));
        }
    }
    assert!(
        costs[0] < 9.0 && costs[1..].iter().all(|cost| *cost < 3.5),
        "{costs:?}"
    );
    let (record, mut resumed) = halfway.unwrap();
    let mut second = adahessian();
    second.load_record(record).unwrap();
    for _ in 3..6 {
        resumed = second.step(1e-3, resumed, &objective).unwrap().model;
    }
    let flat = |net: &Net| net.middle.weight.val().into_data();
    assert_eq!(flat(&resumed), flat(&model));
}

/// A plain loss has no Gauss-Newton matrix: the step that the first product found the best is kept.
#[test]
fn a_plain_loss_with_kinks_keeps_the_best_step() {
    let x = inputs();
    let loss = move |net: &Net| net.bent(x.clone()).square().mean();
    let mut optimizer = AdaHessianConfig::new().init().unwrap();
    let (mut model, mut steps) = (net(), Vec::new());
    for _ in 0..3 {
        let made = optimizer.step(1e-4, model, &loss).unwrap();
        let osculate_curvature::Provenance::FiniteDifference { step, .. } =
            made.report.provenance().unwrap()
        else {
            panic!("a closure cannot be recorded");
        };
        steps.push(step);
        model = made.model;
    }
    assert!(steps[1] == steps[0] && steps[2] == steps[0], "{steps:?}");
}
