//! An optimizer inside the model's training step, in burn's own loops on one device and on several.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use burn::module::Module;
use burn::optim::momentum::MomentumConfig;
use burn::optim::{AdamWConfig, ModuleOptimizer, SgdConfig};
use burn::tensor::Device;
use burn::train::logger::InMemoryMetricLogger;
use burn::train::{
    ClassificationOutput, ExecutionStrategy, Learner, LearnerModel, MultiDeviceOptim,
    SupervisedTraining, TrainStep,
};
use common::two_devices::{EPOCHS, LR, close, halves, sam, sophia, together};
use common::{Loader, Net, alone, assert_identical, device, train_loader, valid_loader};
use osculate_optim::{ClosureOptimizer, FirstOrder, SamConfig, ShampooConfig};
use osculate_problems::digits::DigitsBatch;
use osculate_train::learner::{InStep, Osculate};

fn train<M>(model: M, optimizer: ModuleOptimizer, loader: Loader, strategy: ExecutionStrategy) -> M
where
    M: LearnerModel + TrainStep<Input = DigitsBatch, Output = ClassificationOutput>,
    M: burn::train::InferenceStep<Input = DigitsBatch, Output = ClassificationOutput>,
{
    let directory = tempfile::tempdir().unwrap();
    let result = SupervisedTraining::new(directory.path(), loader, valid_loader())
        .num_epochs(EPOCHS)
        .with_metric_logger(InMemoryMetricLogger::new())
        .with_application_logger(None)
        .with_training_strategy(strategy.into())
        .launch(Learner::new(model, optimizer, LR));
    assert!(result.error.is_none(), "{:?}", result.error);
    result.model
}

fn sgd() -> ModuleOptimizer {
    SgdConfig::new().init()
}

fn single() -> ExecutionStrategy {
    ExecutionStrategy::single(device())
}

#[test]
fn in_burns_loop_it_equals_the_strategy() {
    let _alone = alone();
    fn check<O: ClosureOptimizer<Net> + Clone + Send + 'static>(optimizer: O) {
        let directory = tempfile::tempdir().unwrap();
        let under_strategy = common::quiet(directory.path(), EPOCHS)
            .with_training_strategy(Osculate::new(optimizer.clone()).into())
            .launch(common::learner(Net::plain(&device()), LR));
        let model = InStep::new(Net::plain(&device()), optimizer);
        let inside = train(model, sgd(), train_loader(), single());
        assert_identical(&under_strategy.model, inside.model());
    }
    check(sam());
    check(sophia());
    check(ShampooConfig::new().stacked().unwrap());
    check(FirstOrder::new(AdamWConfig::new().init()));
}

#[test]
fn all_passes_of_a_step_see_one_mask() {
    let _alone = alone();
    // Without a radius both passes are at the weights: with two masks the steps would differ.
    let base = || AdamWConfig::new().init();
    let still = SamConfig::new().with_rho(0.0).init(base()).unwrap();
    let twice = train(
        InStep::new(Net::noisy(&device()), still),
        sgd(),
        train_loader(),
        single(),
    );
    let once = train(
        InStep::new(Net::noisy(&device()), FirstOrder::new(base())),
        sgd(),
        train_loader(),
        single(),
    );
    assert_identical(twice.model(), once.model());
}

fn two_devices(optim: MultiDeviceOptim) -> ExecutionStrategy {
    ExecutionStrategy::multi(vec![device(), device()], optim)
}

#[test]
fn two_devices_equal_one_on_both_batches_together() {
    let _alone = alone();
    fn check<O>(optimizer: O, net: fn(&Device) -> Net)
    where
        O: ClosureOptimizer<Net> + Clone + Send + 'static,
    {
        let model = || InStep::new(net(&device()), optimizer.clone());
        let one = train(model(), sgd(), together(), single());
        for optim in [
            MultiDeviceOptim::OptimMainDevice,
            MultiDeviceOptim::OptimSharded,
        ] {
            let two = train(model(), sgd(), halves(), two_devices(optim));
            close(&one, &two, &model());
        }
    }
    check(sam(), Net::summed);
    check(sophia(), Net::summed);
    check(ShampooConfig::new().stacked().unwrap(), Net::wide);
}

#[test]
fn shampoo_needs_no_wrapper_on_two_devices() {
    let _alone = alone();
    let shampoo = || ShampooConfig::new().init().unwrap();
    let model = || Net::wide(&device());
    let one = train(model(), shampoo(), together(), single());
    for optim in [
        MultiDeviceOptim::OptimMainDevice,
        MultiDeviceOptim::OptimSharded,
    ] {
        let two = train(model(), shampoo(), halves(), two_devices(optim));
        close(&one, &two, &model());
    }
}

#[test]
fn burns_checkpoints_carry_the_state() {
    let _alone = alone();
    fn check<O: ClosureOptimizer<Net> + Clone + Send + 'static>(optimizer: O) {
        let train = |directory: &Path, epochs: usize, from: Option<usize>, carried: bool| {
            let mut training = SupervisedTraining::new(directory, halves(), valid_loader())
                .num_epochs(epochs)
                .with_metric_logger(InMemoryMetricLogger::new())
                .with_application_logger(None)
                .with_default_checkpointers()
                .with_training_strategy(two_devices(MultiDeviceOptim::OptimMainDevice).into());
            if let Some(epoch) = from {
                training = training.checkpoint(epoch);
            }
            let model = InStep::new(Net::summed(&device()), optimizer.clone());
            let carrier = if carried { model.carrier() } else { sgd() };
            let result = training.launch(Learner::new(model, carrier, LR));
            assert!(result.error.is_none(), "{:?}", result.error);
            result.model
        };
        let (straight, split) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let straight = train(straight.path(), 4, None, true);
        train(split.path(), 2, None, true);
        let resumed = train(split.path(), 4, Some(2), true);
        assert_identical(&straight, &resumed);

        // Another burn optimizer makes no steps either, and carries nothing.
        let other = tempfile::tempdir().unwrap();
        assert_identical(&straight, &train(other.path(), 4, None, false));
    }
    check(sophia());
    let momentum = SgdConfig::new().with_momentum(Some(MomentumConfig::new()));
    check(SamConfig::new().init(momentum.init()).unwrap());
}

#[test]
fn a_failed_step_stops_the_training_or_panics() {
    let _alone = alone();
    let run = |interrupter: bool| {
        let directory = tempfile::tempdir().unwrap();
        let training = SupervisedTraining::new(directory.path(), train_loader(), valid_loader())
            .num_epochs(2)
            .with_metric_logger(InMemoryMetricLogger::new())
            .with_application_logger(None);
        let mut model = InStep::new(Net::plain(&device()), sam());
        if interrupter {
            model = model.with_interrupter(training.interrupter());
        }
        training.launch(Learner::new(model, sgd(), -1.0))
    };
    let result = run(true);
    let error = result.error.unwrap().to_string();
    assert!(error.contains("learning rate is -1"), "{error}");
    assert_identical(result.model.model(), &Net::plain(&device()).valid());
    assert!(catch_unwind(AssertUnwindSafe(|| run(false))).is_err());
}
