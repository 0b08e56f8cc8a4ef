//! An optimizer inside the model's training step, in distributed workers.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Barrier, Mutex};
use std::thread;

use crate::common::two_devices::{
    EPOCHS, LR, STEPS, close, halves, regular_shampoo, sam, sophia, together,
};
use crate::common::{Loader, Net, alone, assert_identical, device};
use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::{GradientsParams, SgdConfig};
use burn::tensor::Tensor;
use burn::tensor::distributed::{DistributedConfig, ReduceOperation};
use burn::train::{ClassificationOutput, ExecutionStrategy, ModuleSharder, TrainOutput, TrainStep};
use osculate_optim::ClosureOptimizer;
use osculate_problems::digits::DigitsBatch;
use osculate_train::learner::InStep;

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
    let mut unused = SgdConfig::new().init();
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
    fn check<O>(optimizer: O, more_than_one_pass: bool)
    where
        O: ClosureOptimizer<Reduced> + Clone + Send + 'static,
    {
        let all = batches(&halves());
        let (first, second) = all.split_at(STEPS);
        let (two, passes) = distributed(&optimizer, vec![first.to_vec(), second.to_vec()]);
        assert_identical(&two[0], &two[1]);
        assert_eq!(passes[0] > EPOCHS * STEPS, more_than_one_pass);
        assert_eq!(passes[0], passes[1]);
        let (one, _) = distributed(&optimizer, vec![batches(&together())]);
        close(&one[0], &two[0], &Net::summed(&device()));
    }
    check(sam(), true);
    check(sophia(), true);
    check(regular_shampoo().init().unwrap(), false);
}
