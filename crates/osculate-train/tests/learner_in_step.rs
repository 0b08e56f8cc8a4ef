//! An optimizer inside the model's training step, in burn's own loops on one device and on several.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Arc, Barrier, Mutex};
use std::thread;

use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::momentum::MomentumConfig;
use burn::optim::{AdamWConfig, GradientsParams, ModuleOptimizer, SgdConfig};
use burn::tensor::distributed::{DistributedConfig, ReduceOperation};
use burn::tensor::{Device, Tensor};
use burn::train::logger::InMemoryMetricLogger;
use burn::train::{
    ClassificationOutput, ExecutionStrategy, Learner, LearnerModel, ModuleSharder,
    MultiDeviceOptim, SupervisedTraining, TrainOutput, TrainStep,
};
use common::{
    Loader, Net, alone, assert_identical, device, largest_difference, ordered_loader, train_loader,
    valid_loader,
};
use osculate_optim::{
    ClosureOptimizer, FirstOrder, SamConfig, ShampooConfig, Sophia, SophiaConfig,
};
use osculate_problems::digits::DigitsBatch;
use osculate_train::learner::{InStep, Osculate};

const EPOCHS: usize = 3;
const LR: f64 = 1e-3;
/// Rows of a batch on one of two devices.
const HALF: usize = 10;
const STEPS: usize = 4;

fn sam() -> osculate_optim::Sam {
    SamConfig::new()
        .with_rho(0.1)
        .init(SgdConfig::new().init())
        .unwrap()
}

fn sophia() -> Sophia {
    SophiaConfig::h().with_period(2).init().unwrap()
}

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

/// The images of two devices: each takes its half of the data set, batch by batch.
fn halves() -> Loader {
    ordered_loader((0..2 * HALF * STEPS).collect(), HALF)
}

/// The same images for one device, whose batches are those of both together.
fn together() -> Loader {
    let second = HALF * STEPS;
    let rows = (0..STEPS).flat_map(|step| {
        let batch = step * HALF..(step + 1) * HALF;
        batch.clone().chain(batch.map(move |row| row + second))
    });
    ordered_loader(rows.collect(), 2 * HALF)
}

fn two_devices(optim: MultiDeviceOptim) -> ExecutionStrategy {
    ExecutionStrategy::multi(vec![device(), device()], optim)
}

fn close<M: Module>(a: &M, b: &M, before: &M) {
    let (difference, moved) = (largest_difference(a, b), largest_difference(a, before));
    assert!(moved > 1e-3, "moved by {moved}");
    assert!(difference < 1e-5, "differ by {difference}");
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

/// burn 0.22.1 has no collective operations for CPUs: its distributed strategy cannot start there,
/// and parameters cannot be marked for it.
#[test]
fn burns_distributed_strategy_does_not_start_on_cpus() {
    fn refused<T>(what: &str, attempt: impl FnOnce() -> T) {
        let message = match catch_unwind(AssertUnwindSafe(attempt)) {
            Ok(_) => panic!("{what} works on CPUs now: train with it here"),
            Err(panic) => *panic.downcast::<String>().unwrap(),
        };
        assert!(
            message.contains("Distributed operations are not supported"),
            "{message}"
        );
    }
    let config = DistributedConfig {
        all_reduce_op: ReduceOperation::Sum,
    };
    refused("the distributed strategy", || {
        ExecutionStrategy::ddp(vec![device(), device()], config)
    });
    let _alone = alone();
    let model = Net::plain(&device());
    refused("a mark", || model.map(&mut ModuleSharder));
}

/// Gradients of several workers, added up as burn's collective operations do within a backward pass.
struct Collective {
    barrier: Barrier,
    gradients: Mutex<Vec<Vec<Tensor<1>>>>,
    /// Backward passes of each worker.
    passes: Mutex<Vec<usize>>,
}

impl Collective {
    fn of(workers: usize) -> Shared {
        Shared(Arc::new(Self {
            barrier: Barrier::new(workers),
            gradients: Mutex::new(vec![Vec::new(); workers]),
            passes: Mutex::new(vec![0; workers]),
        }))
    }

    fn reduce(&self, rank: usize, own: Vec<Tensor<1>>) -> Vec<Tensor<1>> {
        self.passes.lock().unwrap()[rank] += 1;
        self.gradients.lock().unwrap()[rank] = own;
        self.barrier.wait();
        let gradients = self.gradients.lock().unwrap().clone();
        self.barrier.wait();
        let add = |a: Vec<Tensor<1>>, b: Vec<Tensor<1>>| {
            a.into_iter().zip(b).map(|(a, b)| a + b).collect()
        };
        gradients.into_iter().reduce(add).unwrap()
    }
}

/// A net whose backward passes are reduced over the workers.
#[derive(Module, Debug)]
struct Reduced {
    net: Net,
    #[module(skip)]
    rank: usize,
    #[module(skip)]
    collective: Shared,
}

#[derive(Clone)]
struct Shared(Arc<Collective>);

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Shared")
    }
}

/// Reads or replaces all gradients, in the order of the parameters.
struct Gradients<'a> {
    gradients: &'a mut GradientsParams,
    read: Vec<Tensor<1>>,
    write: Option<std::vec::IntoIter<Tensor<1>>>,
}

impl ModuleVisitor for Gradients<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let gradient = self.gradients.get::<D>(param.id).unwrap();
        match &mut self.write {
            None => self.read.push(gradient.flatten(0, D - 1)),
            Some(write) => {
                let reduced = write.next().unwrap().reshape(gradient.shape());
                self.gradients.register::<D>(param.id, reduced);
            }
        }
    }
}

impl TrainStep for Reduced {
    type Input = DigitsBatch;
    type Output = ClassificationOutput;

    fn step(&self, batch: DigitsBatch) -> TrainOutput<ClassificationOutput> {
        let mut made = TrainStep::step(&self.net, batch);
        let mut visitor = Gradients {
            gradients: &mut made.grads,
            read: Vec::new(),
            write: None,
        };
        self.visit(&mut visitor);
        let reduced = self.collective.0.reduce(self.rank, visitor.read);
        let mut visitor = Gradients {
            gradients: &mut made.grads,
            read: Vec::new(),
            write: Some(reduced.into_iter()),
        };
        self.visit(&mut visitor);
        made
    }
}

/// A worker of burn's distributed loop: its own copy of everything, and every gradient reduced.
fn worker<O: ClosureOptimizer<Reduced> + Clone + Send + 'static>(
    mut model: InStep<Reduced, O>,
    batches: Vec<DigitsBatch>,
) -> Net {
    let mut unused = sgd();
    for _ in 0..EPOCHS {
        for batch in &batches {
            let made = TrainStep::step(&model, batch.clone());
            model = model.optimize(&mut unused, LR.into(), made.grads);
        }
    }
    model.into_model().net.valid()
}

fn batches(loader: &Loader) -> Vec<DigitsBatch> {
    let loader = loader.to_device(&device());
    loader.iter().map(Result::unwrap).collect()
}

/// Trains with one worker for each list of batches, and says how many passes each made.
fn distributed<O: ClosureOptimizer<Reduced> + Clone + Send + 'static>(
    optimizer: &O,
    parts: Vec<Vec<DigitsBatch>>,
) -> (Vec<Net>, Vec<usize>) {
    let net = Net::summed(&device());
    let collective = Collective::of(parts.len());
    let workers: Vec<_> = parts
        .into_iter()
        .enumerate()
        .map(|(rank, batches)| {
            let reduced = Reduced {
                net: net.clone(),
                rank,
                collective: collective.clone(),
            };
            // As burn does it: the learner is cloned for each worker, and then forked.
            let model = InStep::new(reduced, optimizer.clone()).fork(&device());
            thread::spawn(move || worker(model, batches))
        })
        .collect();
    let nets = workers.into_iter().map(|w| w.join().unwrap()).collect();
    let passes = collective.0.passes.lock().unwrap().clone();
    (nets, passes)
}

#[test]
fn distributed_workers_make_the_steps_of_one_device() {
    let _alone = alone();
    fn check<O: ClosureOptimizer<Reduced> + Clone + Send + 'static>(optimizer: O) {
        let all = batches(&halves());
        let (first, second) = all.split_at(STEPS);
        let (two, passes) = distributed(&optimizer, vec![first.to_vec(), second.to_vec()]);
        assert_identical(&two[0], &two[1]);
        assert!(passes[0] > EPOCHS * STEPS && passes[0] == passes[1]);
        let (one, _) = distributed(&optimizer, vec![batches(&together())]);
        close(&one[0], &two[0], &Net::summed(&device()));
    }
    check(sam());
    check(sophia());
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
