//! Ends of epochs: batches that no step was made on, in burn's loop and in both of ours.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use crate::common::{Loader, Net, alone, assert_identical, device, ordered_loader, valid_loader};
use burn::data::dataloader::{DataLoader, DataLoaderIterator, Progress};
use burn::data::dataset::DatasetError;
use burn::module::{Module, ModuleMapper, Param};
use burn::optim::momentum::MomentumConfig;
use burn::optim::{AdamWConfig, ModuleOptimizer, SgdConfig};
use burn::tensor::{Device, Tensor};
use burn::train::logger::FileMetricLogger;
use burn::train::metric::LossMetric;
use burn::train::{
    ClassificationOutput, ExecutionStrategy, InferenceStep, Learner, LearnerModel, LearningResult,
    SupervisedTraining, TrainOutput, TrainStep, TrainingStrategy,
};
use osculate_curvature::{Criterion, Objective, SupervisedBatch};
use osculate_optim::{ClosureOptimizer, Driver, Sam, SophiaConfig};
use osculate_problems::digits::DigitsBatch;
use osculate_train::learner::{InStep, LearnerError, Monitor, Osculate, Quantity, SupervisedModel};

const EPOCHS: usize = 3;
const LR: f64 = 0.01;
/// Batches of an epoch, which `ACCUMULATED` does not divide.
const BATCHES: usize = 7;
const ACCUMULATED: usize = 3;
const ROWS: usize = 8;

/// A loader that does not know how much there is to come, as one that reads a stream.
#[derive(Clone)]
struct Stream(Loader);

struct Endless<'a>(Box<dyn DataLoaderIterator<DigitsBatch> + 'a>);

impl Iterator for Endless<'_> {
    type Item = Result<DigitsBatch, DatasetError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next()
    }
}

impl DataLoaderIterator<DigitsBatch> for Endless<'_> {
    fn progress(&self) -> Progress {
        let inner = self.0.progress();
        Progress::new(inner.items_processed, usize::MAX, None)
    }
}

impl DataLoader<DigitsBatch> for Stream {
    fn iter<'a>(&'a self) -> Box<dyn DataLoaderIterator<DigitsBatch> + 'a> {
        Box::new(Endless(self.0.iter()))
    }

    fn num_items(&self) -> usize {
        self.0.num_items()
    }

    fn to_device(&self, device: &Device) -> Loader {
        Arc::new(Self(self.0.to_device(device)))
    }

    fn slice(&self, start: usize, end: usize) -> Loader {
        Arc::new(Self(self.0.slice(start, end)))
    }
}

fn batches() -> Loader {
    ordered_loader((0..BATCHES * ROWS).collect(), ROWS)
}

fn stream() -> Loader {
    Arc::new(Stream(batches()))
}

fn launch<M>(
    directory: &Path,
    loader: Loader,
    strategy: TrainingStrategy<M>,
    monitor: Option<&Monitor>,
    model: M,
    optimizer: ModuleOptimizer,
) -> LearningResult<M>
where
    M: LearnerModel + TrainStep<Input = DigitsBatch, Output = ClassificationOutput>,
    M: InferenceStep<Input = DigitsBatch, Output = ClassificationOutput>,
{
    let mut training = SupervisedTraining::new(directory, loader, valid_loader())
        .num_epochs(EPOCHS)
        .grads_accumulation(ACCUMULATED)
        .metric_train_numeric(LossMetric::new())
        .with_metric_logger(FileMetricLogger::new(directory))
        .with_application_logger(None)
        .with_training_strategy(strategy);
    for quantity in [Quantity::GradientNorm, Quantity::GradientEvaluations] {
        if let Some(monitor) = monitor {
            training = training.metric_train_numeric(monitor.metric(quantity));
        }
    }
    training.launch(Learner::new(model, optimizer, LR))
}

fn single<M: LearnerModel>() -> TrainingStrategy<M> {
    ExecutionStrategy::single(device()).into()
}

fn adamw() -> ModuleOptimizer {
    AdamWConfig::new().init()
}

fn sam() -> Driver {
    let base = SgdConfig::new().with_momentum(Some(MomentumConfig::new()));
    Sam::new(0.1).over(base.init()).unwrap()
}

/// The values of a metric in an epoch's log, with the items that each stands for.
fn logged(directory: &Path, name: &str, epoch: usize) -> Vec<(f64, usize)> {
    let path = directory.join(format!("train/epoch-{epoch}/{name}.log"));
    let text = fs::read_to_string(path).unwrap();
    let lines = text.lines().filter(|line| !line.ends_with("final"));
    lines
        .map(|line| {
            let (value, items) = line.split_once(',').unwrap_or((line, "1"));
            (value.parse().unwrap(), items.parse().unwrap())
        })
        .collect()
}

fn mean(values: &[(f64, usize)]) -> f64 {
    let items: usize = values.iter().map(|(_, items)| items).sum();
    let sum: f64 = values
        .iter()
        .map(|(value, items)| value * *items as f64)
        .sum();
    sum / items as f64
}

/// What is left of an epoch makes no step where the loader does not say that it is complete, and one
/// where it does.
#[test]
fn burns_loop_and_both_of_ours_end_an_epoch_alike() {
    let _alone = alone();
    for loader in [stream as fn() -> Loader, batches] {
        let folder = tempfile::tempdir().unwrap();
        let run = |name: &str, strategy: TrainingStrategy<Net>| {
            let directory = folder.path().join(name);
            let model = Net::noisy_without_dropout(&device());
            let result = launch(&directory, loader(), strategy, None, model, adamw());
            assert!(result.error.is_none(), "{:?}", result.error);
            for epoch in 1..=EPOCHS {
                assert_eq!(logged(&directory, "Loss", epoch).len(), BATCHES, "{name}");
            }
            result.model
        };
        let burns = run("burn", single());
        let ours = run("strategy", Osculate::new(Driver::from(adamw())).into());
        assert_identical(&burns, &ours);

        let model = Net::noisy_without_dropout(&device());
        let model = InStep::new(model, Driver::from(adamw()));
        let directory = folder.path().join("inside");
        let result = launch(&directory, loader(), single(), None, model, adamw());
        assert_identical(&burns, result.model.model());
    }
}

/// Second passes are made on the batches of the step and on no other, and every batch of a step counts in
/// the means of the metrics, one that no step was made on does not.
#[test]
fn no_batch_goes_stale_and_metrics_agree() {
    let _alone = alone();
    for loader in [stream as fn() -> Loader, batches] {
        let folder = tempfile::tempdir().unwrap();
        let (outside, inside) = (folder.path().join("outside"), folder.path().join("inside"));
        let strategy = Osculate::new(sam());
        let monitor = strategy.monitor();
        let model = Net::plain(&device());
        let under = launch(
            &outside,
            loader(),
            strategy.into(),
            Some(&monitor),
            model,
            adamw(),
        );
        let model = InStep::new(Net::plain(&device()), sam());
        let monitor = model.monitor();
        let within = launch(&inside, loader(), single(), Some(&monitor), model, adamw());
        assert_identical(&under.model, within.model.model());
        for epoch in 1..=EPOCHS {
            let norms = [&outside, &inside].map(|directory| {
                let values = logged(directory, "Gradient_Norm", epoch);
                let items: usize = values.iter().map(|(_, items)| items).sum();
                let whole = BATCHES / ACCUMULATED * ACCUMULATED;
                assert!([whole, BATCHES].contains(&items), "{values:?}");
                (mean(&values), items)
            });
            assert!((norms[0].0 - norms[1].0).abs() < 1e-9, "{norms:?}");
            assert_eq!(norms[0].1, norms[1].1);
            let costs = logged(&inside, "Gradient_Evaluations", epoch);
            assert!(costs.iter().all(|(cost, _)| *cost == 2.0), "{costs:?}");
        }
    }
}

#[test]
fn weights_without_the_optimizers_state_are_not_gone_on_with() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let train = |epochs: usize, from: Option<usize>, carried: bool| {
        let mut training = SupervisedTraining::new(folder.path(), batches(), valid_loader())
            .num_epochs(epochs)
            .with_metric_logger(FileMetricLogger::new(folder.path()))
            .with_application_logger(None)
            .with_default_checkpointers();
        if let Some(epoch) = from {
            training = training.checkpoint(epoch);
        }
        let model = InStep::new(Net::plain(&device()), sam());
        let model = model.with_interrupter(training.interrupter());
        let optimizer = if carried { model.carrier() } else { adamw() };
        training.launch(Learner::new(model, optimizer, LR))
    };
    assert!(train(1, None, false).error.is_none());
    for carried in [true, false] {
        let error = train(2, Some(1), carried).error.unwrap().to_string();
        assert!(error.contains("carrier"), "{error}");
    }
}

/// A method that needs outputs is told what to do, not what cannot be done in a step.
#[test]
fn methods_that_need_outputs_are_sent_to_the_strategy() {
    let _alone = alone();
    let directory = tempfile::tempdir().unwrap();
    let training = SupervisedTraining::new(directory.path(), batches(), valid_loader())
        .with_metric_logger(FileMetricLogger::new(directory.path()))
        .with_application_logger(None);
    let model = InStep::new(Net::plain(&device()), SophiaConfig::g().init().unwrap());
    let model = model.with_interrupter(training.interrupter());
    let result = training.launch(Learner::new(model, adamw(), LR));
    let error = result.error.unwrap().to_string();
    assert!(error.contains("Osculate::supervised"), "{error}");
}

/// Weights that are no numbers.
fn poisoned() -> Net {
    struct Poison;
    impl ModuleMapper for Poison {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            param.map(|tensor| {
                Tensor::from_inner(tensor.inner().mul_scalar(f64::NAN)).require_grad()
            })
        }
    }
    Net::plain(&device()).map(&mut Poison)
}

#[test]
fn a_training_that_moves_nothing_is_no_success() {
    let _alone = alone();
    fn check(optimizer: impl ClosureOptimizer<Net> + 'static) {
        let directory = tempfile::tempdir().unwrap();
        let strategy = Osculate::new(optimizer);
        let monitor = strategy.monitor();
        let result = launch(
            directory.path(),
            batches(),
            strategy.into(),
            None,
            poisoned(),
            adamw(),
        );
        let error = result.error.unwrap().to_string();
        assert!(error.contains("moved a parameter"), "{error}");
        assert!(matches!(
            monitor.error().as_deref(),
            Some(LearnerError::NothingMoved { steps: 9, .. })
        ));
    }
    check(Driver::from(adamw()));
    check(sam());
    check(SophiaConfig::h().init().unwrap());
}

/// A net that says that it is trained on another loss than it is.
#[derive(Module, Debug)]
struct Wrong {
    net: Net,
}

impl TrainStep for Wrong {
    type Input = DigitsBatch;
    type Output = ClassificationOutput;

    fn step(&self, batch: DigitsBatch) -> TrainOutput<ClassificationOutput> {
        let output = self.net.classify(batch);
        TrainOutput::new(self, output.loss.backward(), output)
    }
}

impl InferenceStep for Wrong {
    type Input = DigitsBatch;
    type Output = ClassificationOutput;

    fn step(&self, batch: DigitsBatch) -> ClassificationOutput {
        self.net.classify(batch)
    }
}

impl SupervisedModel for Wrong {
    fn supervised(batch: &DigitsBatch) -> Box<dyn Objective<Self>> {
        Box::new(SupervisedBatch::new(
            batch.images.clone(),
            |net: &Wrong, images: &Tensor<2>| net.net.forward(images.clone()).mul_scalar(0.5),
            Criterion::cross_entropy(batch.labels.clone()),
        ))
    }
}

#[test]
fn a_supervised_form_of_another_loss_is_noticed() {
    let _alone = alone();
    let sophia = || SophiaConfig::g().init().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let strategy = Osculate::supervised(sophia());
    let monitor = strategy.monitor();
    assert_eq!(monitor.supervised_distance(), None);
    let wrong = Wrong {
        net: Net::plain(&device()),
    };
    launch(
        directory.path(),
        batches(),
        strategy.into(),
        None,
        wrong,
        adamw(),
    );
    let distance = monitor.supervised_distance().unwrap();
    assert!(distance > 0.1, "{distance}");

    let strategy = Osculate::supervised(sophia());
    let monitor = strategy.monitor();
    let right = Net::noisy(&device());
    launch(
        directory.path(),
        batches(),
        strategy.into(),
        None,
        right,
        adamw(),
    );
    let distance = monitor.supervised_distance().unwrap();
    assert!(distance < 1e-5, "{distance}");
}
