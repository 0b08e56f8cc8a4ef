//! An optimizer inside the model's training step, in burn's own loops on one device and on several.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use crate::common::two_devices::{
    EPOCHS, LR, close, halves, regular_shampoo, sam, sophia, swapped, together,
};
use crate::common::{
    Loader, Net, alone, assert_identical, device, largest_difference, ordered_loader, train_loader,
    valid_loader,
};
use burn::lr_scheduler::module_lr_scheduler::ModuleLrSchedulerConfig;
use burn::module::{Module, ParamGroup};
use burn::optim::momentum::MomentumConfig;
use burn::optim::{AdamWConfig, ModuleOptimizer, SgdConfig};
use burn::tensor::Device;
use burn::train::logger::InMemoryMetricLogger;
use burn::train::{
    ClassificationOutput, ExecutionStrategy, Learner, LearnerModel, MultiDeviceOptim,
    SupervisedTraining, TrainStep,
};
use osculate_optim::{ClosureOptimizer, Driver, Ema, Sam, ScheduleFree, ShampooConfig};
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
        let under_strategy = crate::common::quiet(directory.path(), EPOCHS)
            .with_training_strategy(Osculate::new(optimizer.clone()).into())
            .launch(crate::common::learner(Net::plain(&device()), LR));
        let model = InStep::new(Net::plain(&device()), optimizer);
        let inside = train(model, sgd(), train_loader(), single());
        assert_identical(&under_strategy.model, inside.model());
        assert_identical(inside.model(), inside.valid().model());
    }
    check(sam());
    check(sophia());
    check(ShampooConfig::new().init().unwrap());
    check(Driver::from(AdamWConfig::new().init()));
    // Both end with the averaged weights.
    check(Ema::new(0.9).over(AdamWConfig::new().init()).unwrap());
    check(ScheduleFree::new().over(SgdConfig::new().init()).unwrap());
}

#[test]
fn learning_rates_by_group_are_those_of_the_schedule() {
    let _alone = alone();
    fn train<M>(model: M, optimizer: ModuleOptimizer, factor: f64) -> M
    where
        M: LearnerModel + TrainStep<Input = DigitsBatch, Output = ClassificationOutput>,
        M: burn::train::InferenceStep<Input = DigitsBatch, Output = ClassificationOutput>,
    {
        let directory = tempfile::tempdir().unwrap();
        let schedule = ModuleLrSchedulerConfig::new(LR.into())
            .with_group(ParamGroup::from_path("head.bias"), factor)
            .init()
            .unwrap();
        let result = SupervisedTraining::new(directory.path(), train_loader(), valid_loader())
            .num_epochs(EPOCHS)
            .with_metric_logger(InMemoryMetricLogger::new())
            .with_application_logger(None)
            .with_training_strategy(single().into())
            .launch(Learner::new(model, optimizer, schedule));
        assert!(result.error.is_none(), "{:?}", result.error);
        result.model
    }
    let adamw = || AdamWConfig::new().init();
    let inside = || InStep::new(Net::plain(&device()), Driver::from(adamw()));
    let grouped = train(inside(), sgd(), 0.1);
    assert_identical(grouped.model(), &train(Net::plain(&device()), adamw(), 0.1));
    let alike = train(inside(), sgd(), 1.0);
    assert!(largest_difference(grouped.model(), alike.model()) > 1e-3);
}

#[test]
fn all_passes_of_a_step_see_one_mask() {
    let _alone = alone();
    // Without a radius both passes are at the weights: with two masks the steps would differ.
    let base = || AdamWConfig::new().init();
    let still = Sam::new(0.0).over(base()).unwrap();
    let twice = train(
        InStep::new(Net::noisy(&device()), still),
        sgd(),
        train_loader(),
        single(),
    );
    let once = train(
        InStep::new(Net::noisy(&device()), Driver::from(base())),
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
    check(ShampooConfig::new().init().unwrap(), Net::wide);
    check(regular_shampoo().init().unwrap(), Net::summed);
}

/// In `f32` Shampoo's defaults end 4e-5 from the single device, of 1.7e-2 that the weights move. That is
/// rounding, enlarged by the roots of singular factors (a pixel that is always blank, a batch of few
/// rows), to whose diagonal 1e-12 is added where rounding is 1e-7 of the largest eigenvalue:
///
/// | | `f32` | `f64` |
/// |---|---|---|
/// | defaults | 4e-5 | 2e-8 |
/// | grafted to SGD | 3e-5 | 8e-8 |
/// | no root yet, Adam's steps | 1.5e-8 | 3e-17 |
/// | 1e-6 of the largest eigenvalue added | 2e-5 | 3e-14 |
/// | 1e-5 of it | 3e-6 | 4e-15 |
/// | 1e-4 of it | 3e-7 | 4e-16 |
/// | 1e-3 of it | 3e-8 | 6e-17 |
/// | defaults, one device, rows swapped | 2e-5 | 8e-8 |
///
/// The last is as far, without a second device.
#[test]
fn singular_factors_enlarge_the_rounding_of_one_device_as_well() {
    let _alone = alone();
    let model = || {
        let optimizer = ShampooConfig::new().init().unwrap();
        InStep::new(Net::summed(&device()), optimizer)
    };
    let one = train(model(), sgd(), together(), single());
    let other_order = train(model(), sgd(), swapped(), single());
    let devices = two_devices(MultiDeviceOptim::OptimMainDevice);
    let two = train(model(), sgd(), halves(), devices);
    let by_order = largest_difference(&one, &other_order);
    let by_devices = largest_difference(&one, &two);
    assert!(
        by_devices < 10.0 * by_order,
        "{by_devices} by devices, {by_order} by the order of the rows"
    );
}

#[test]
fn shampoo_needs_no_wrapper_on_two_devices() {
    let _alone = alone();
    let shampoo = || {
        let net = Net::wide(&device());
        ShampooConfig::new().module_optimizer(&net).unwrap()
    };
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
    check(Sam::new(0.05).over(momentum.init()).unwrap());
}

#[test]
fn a_batch_that_was_not_used_leaves_later_steps_alone() {
    let _alone = alone();
    let batch = |row: usize| {
        let loader = ordered_loader((row..row + 8).collect(), 8).to_device(&device());
        loader.iter().next().unwrap().unwrap()
    };
    let train = |unused: bool| {
        let mut model = InStep::new(Net::plain(&device()), sam());
        let mut other = sgd();
        for row in [0, 8, 16] {
            let before = model.clone();
            let made = TrainStep::step(&model, batch(row));
            model = model.optimize(&mut other, LR.into(), made.grads);
            if unused {
                // A copy from before the step, whose batch no step follows.
                TrainStep::step(&before, batch(50));
            }
        }
        model.into_model()
    };
    assert_identical(&train(false), &train(true));
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
