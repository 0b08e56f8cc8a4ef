//! What the passes of a step leave behind: the running statistics of one clean pass, and after a
//! failure the model and the state as they were.

use std::cell::Cell;

use burn::module::{Module, Param, ParamId};
use burn::tensor::{DType, Device, Tensor, TensorData};
use osculate_curvature::{
    Criterion, CurvatureError, CurvatureOperator, Drawing, Fisher, FisherKind, GaussNewton,
    GradientOracle, Hessian, HutchinsonConfig, Objective, ObjectiveError, ParamVec, Supervised,
    SupervisedObjective, hutchinson_diagonal,
};
use osculate_optim::{ClosureOptimizer, StepErrorCause, StepPolicy};
use osculate_problems::modules::{ConvNet, ConvNetConfig, cast, seeded};
use osculate_tests::model::{Batch, Fault, Ranked, labels, wave};
use osculate_tests::subject::Subject;
use osculate_tests::{for_each_optimizer, on_every_backend};

const ROWS: usize = 12;
const STEPS: usize = 4;

fn images(step: usize, device: &Device, dtype: DType) -> Tensor<4> {
    let data = TensorData::new(wave(ROWS * 64, step as f64), [ROWS, 1, 8, 8]);
    Tensor::from_data(data, (device, dtype))
}

fn conv_net(device: &Device, dtype: DType) -> ConvNet {
    cast(seeded(ConvNetConfig::new().init(device), 5), dtype)
}

fn batch(step: usize, device: &Device, dtype: DType) -> Box<dyn Objective<ConvNet>> {
    let device = device.clone();
    let batch = move |step: usize| -> Box<dyn Objective<ConvNet>> {
        let images = images(step, &device, dtype);
        Box::new(Supervised::new(
            move |model: &ConvNet| model.forward(images.clone()),
            Criterion::cross_entropy(labels(ROWS, 10, &device)),
        ))
    };
    let own = batch(step);
    Box::new(Drawing::new(own, move |number| {
        Ok(batch(step + 100 * (number as usize + 1)))
    }))
}

/// The running statistics after the forward passes of the given batches, and nothing else.
fn clean_statistics(model: &ConvNet, steps: usize, device: &Device, dtype: DType) -> Statistics {
    // Evaluation mode and back gives the copy statistics of its own.
    let model = model.valid().train();
    for step in 0..steps {
        let _ = model.forward(images(step, device, dtype));
    }
    statistics(&model)
}

type Statistics = (Vec<f64>, Vec<f64>);

fn statistics(model: &ConvNet) -> Statistics {
    model
        .running_statistics()
        .expect("the network has batch normalisation")
}

/// With a learning rate of zero the weights stay, so that the statistics of the passes are those of
/// the same forward passes without an optimizer.
fn statistics_move_once(make: fn(StepPolicy) -> Subject<ConvNet>, device: &Device, dtype: DType) {
    let mut model = conv_net(device, dtype);
    let untouched = statistics(&model);
    let want = clean_statistics(&model, STEPS, device, dtype);
    assert_ne!(want, untouched);
    let mut optimizer = make(StepPolicy::new());
    for step in 0..STEPS {
        let objective = batch(step, device, dtype);
        model = optimizer
            .step(0.0, model, objective.as_ref())
            .expect("a step")
            .model;
    }
    assert_eq!(statistics(&model), want, "{}", optimizer.name());
}

/// A batch whose evaluation number `fails_at` fails, by a panic or by an error.
struct Failing {
    batch: Batch,
    calls: Cell<usize>,
    fails_at: usize,
    by_panic: bool,
}

impl Failing {
    fn new(batch: &Batch, fails_at: usize, by_panic: bool) -> Self {
        Self {
            batch: batch.clone(),
            calls: Cell::new(0),
            fails_at,
            by_panic,
        }
    }

    fn call(&self) -> Result<(), ObjectiveError> {
        self.calls.set(self.calls.get() + 1);
        if self.calls.get() == self.fails_at {
            assert!(!self.by_panic, "the loader is gone");
            return Err(ObjectiveError::new("the loader is gone"));
        }
        Ok(())
    }
}

impl Objective<Ranked> for Failing {
    fn loss(&self, model: &Ranked) -> Result<Tensor<1>, ObjectiveError> {
        self.call()?;
        self.batch.loss(model)
    }

    fn supervised(&self) -> Option<&dyn SupervisedObjective<Ranked>> {
        self.batch.supervised().map(|_| self as _)
    }

    fn draw(&self, number: u64) -> Option<Result<Box<dyn Objective<Ranked>>, ObjectiveError>> {
        self.batch.draw(number)
    }
}

impl SupervisedObjective<Ranked> for Failing {
    fn outputs(&self, model: &Ranked) -> Tensor<2> {
        self.call().expect("outputs can fail by a panic only");
        self.batch.outputs(model)
    }

    fn criterion(&self) -> &Criterion {
        self.batch.criterion()
    }
}

/// The failed step is as if it had not been tried, in whichever pass it failed.
fn failures_change_nothing(
    make: fn(StepPolicy) -> Subject,
    supervised: bool,
    device: &Device,
    dtype: DType,
) {
    let policy = StepPolicy::new().with_seed(3);
    let mut optimizer = make(policy.clone());
    let mut reference = make(policy);
    let mut model = Ranked::new(device, dtype);
    let mut expected = model.clone();
    for step in 0..STEPS {
        let batch = Batch::new(&model, step, supervised, Fault::None);
        for (fails_at, by_panic) in [(1, true), (1, false), (2, true), (3, false), (3, true)] {
            if supervised && !by_panic {
                continue;
            }
            let (weights, record) = (model.values(), optimizer.to_record());
            let objective = Failing::new(&batch, fails_at, by_panic);
            match optimizer.step(0.01, model.clone(), &objective) {
                Err(error) => {
                    let told = error.to_string();
                    assert!(told.contains("the loader is gone"), "{told}");
                    let cause = matches!(
                        (&error.cause, by_panic),
                        (
                            StepErrorCause::Curvature(CurvatureError::ObjectivePanicked { .. }),
                            true
                        ) | (
                            StepErrorCause::Curvature(CurvatureError::Objective(_)),
                            false
                        )
                    );
                    assert!(cause, "{:?}", error.cause);
                    assert_eq!(error.model.values(), weights);
                    assert_eq!(optimizer.to_record(), record);
                }
                Ok(_) => {
                    // This step has fewer passes: take it back.
                    assert!(fails_at > 1, "every step has a first pass");
                    optimizer.load_record(record).expect("its own record");
                }
            }
        }
        model = optimizer.step(0.01, model, &batch).expect("a step").model;
        expected = reference
            .step(0.01, expected, &batch)
            .expect("a step")
            .model;
        assert_eq!(model.values(), expected.values(), "step {step}");
    }
}

macro_rules! suite {
    ($name:ident, $make:path, $supervised:literal) => {
        mod $name {
            use super::*;

            mod running_statistics {
                use super::*;
                on_every_backend!(|device: &Device, dtype: DType| {
                    statistics_move_once($make, device, dtype)
                });
            }

            mod failures {
                use super::*;
                on_every_backend!(|device: &Device, dtype: DType| {
                    failures_change_nothing($make, $supervised, device, dtype)
                });
            }
        }
    };
}

for_each_optimizer!(suite);

mod products {
    use super::*;

    fn statistics_stay(device: &Device, dtype: DType) {
        let model = conv_net(device, dtype);
        let before = statistics(&model);
        let want = clean_statistics(&model, 1, device, dtype);
        let objective = batch(0, device, dtype);
        let oracle = GradientOracle::new(&model, objective.as_ref());
        let v = ParamVec::gaussian(&oracle.layout().expect("a gradient"), 1);
        let hessian = Hessian::new(&oracle).expect("a gradient");
        let ggn = GaussNewton::new(&oracle).expect("supervised");
        let fisher = Fisher::new(&oracle, FisherKind::Empirical).expect("supervised");
        let operators: [&dyn CurvatureOperator; 3] = [&hessian, &ggn, &fisher];
        for operator in operators {
            operator.apply(&v).expect("a product");
        }
        let config = HutchinsonConfig {
            probes: 2,
            ..HutchinsonConfig::default()
        };
        hutchinson_diagonal(&hessian, &config).expect("a diagonal");
        assert_eq!(statistics(&model), before, "the live model");
        let after = oracle.into_model().expect("the clean pass was made");
        assert_eq!(statistics(&after), want, "the model after its clean pass");
    }

    mod running_statistics {
        use super::*;
        on_every_backend!(statistics_stay);
    }

    fn a_copy_that_the_objective_holds_is_a_constant(device: &Device, dtype: DType) {
        let model = Ranked::new(device, dtype);
        let held = model.clone();
        let product = |model: &Ranked| (model.rank2.val() * held.rank2.val()).sum();
        let oracle = GradientOracle::new(&model, &product);
        let gradient = oracle.clean().expect("a gradient").gradient.clone();
        let want = ParamVec::of_module(&held, gradient.layout());
        assert_eq!(gradient.to_values(), want.to_values());
    }

    mod teachers {
        use super::*;
        on_every_backend!(a_copy_that_the_objective_holds_is_a_constant);
    }

    /// A module with a tensor that no visitor sees.
    #[derive(Module, Debug)]
    struct Anchored {
        weight: Param<Tensor<1>>,
        anchor: Tensor<1>,
    }

    fn a_field_on_a_tape_is_a_constant(device: &Device, dtype: DType) {
        let weight = Tensor::<1>::from_data([1.0, -2.0], (device, dtype)).require_grad();
        let anchor = weight.clone().mul_scalar(0.5);
        let weight = Param::initialized(ParamId::new(), weight);
        let model = Anchored { weight, anchor };
        let apart = |model: &Anchored| {
            let distance = model.weight.val() - model.anchor.clone();
            distance.square().sum()
        };
        let oracle = GradientOracle::new(&model, &apart);
        let gradient = oracle.clean().expect("a gradient").gradient.clone();
        assert_eq!(gradient.to_values(), [1.0, -2.0]);
        for _ in 0..2 {
            let moved = oracle.evaluate_at(&gradient, 1.0).expect("another pass");
            assert_eq!(moved.gradient.to_values(), [3.0, -6.0]);
        }
    }

    mod fields {
        use super::*;
        on_every_backend!(a_field_on_a_tape_is_a_constant);
    }

    #[test]
    fn a_panic_leaves_the_oracle_usable() {
        let device = Device::flex().autodiff();
        let model = Ranked::new(&device, DType::F64);
        let batch = Batch::new(&model, 0, false, Fault::None);
        let objective = Failing::new(&batch, 2, true);
        let values = model.values();
        let oracle = GradientOracle::new(&model, &objective);
        let hessian = Hessian::new(&oracle).expect("the first pass");
        let v = ParamVec::gaussian(&hessian.layout(), 4);
        let error = hessian.apply(&v).expect_err("the second pass panics");
        assert!(matches!(error, CurvatureError::ObjectivePanicked { .. }));
        assert_eq!(model.values(), values);
        // The third and fourth pass are sound.
        let got = hessian.apply(&v).expect("a product").value;
        let sound = GradientOracle::new(&model, &batch);
        let want = Hessian::new(&sound).expect("a gradient").apply(&v);
        let want = want.expect("a product").value;
        assert_eq!(got.to_values(), want.to_values());
    }
}
