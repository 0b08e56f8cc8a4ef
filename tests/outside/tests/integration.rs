//! The optimizers of this crate in burn's `Learner`, the trainer and the benchmark.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on fails"
)]

use std::cell::Cell;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use burn::data::dataloader::batcher::Batcher;
use burn::data::dataloader::{DataLoader, DataLoaderBuilder};
use burn::data::dataset::InMemDataset;
use burn::module::{Module, ModuleVisitor, Param};
use burn::nn::loss::CrossEntropyLossConfig;
use burn::nn::{Linear, LinearConfig};
use burn::optim::AdamWConfig;
use burn::tensor::activation::gelu;
use burn::tensor::{Device, Tensor, TensorData};
use burn::train::logger::InMemoryMetricLogger;
use burn::train::metric::LossMetric;
use burn::train::{
    ClassificationOutput, InferenceStep, Learner, LearningResult, SupervisedTraining, TrainOutput,
    TrainStep,
};
use osculate_bench::entrant::Entrant;
use osculate_bench::trial::{Outcome, TrialSpec, Watch};
use osculate_bench::workload::Workloads;
use osculate_curvature::{Criterion, Supervised};
use osculate_optim::registry::OptimizerSpec;
use osculate_optim::{ClosureOptimizer, Driver, StatefulOptimizer};
use osculate_outside::{
    AfterRise, ClippedNewtonConfig, LayerNorms, Normalised, PastExtragradient, TailMean, register,
};
use osculate_problems::digits::{Batches, CLASSES, Digits, DigitsBatch, PIXELS};
use osculate_train::learner::Osculate;
use osculate_train::trainer::{
    Batch, BatchAt, Ending, Interrupt, Judged, Length, Metrics, Task, TaskError, Trainer,
    TrainerConfig,
};

const LR: f64 = 0.01;
const EPOCHS: usize = 2;
const ROWS: usize = 24;

/// The CPU backends have one random generator for the whole program: one test at a time uses it.
fn alone() -> MutexGuard<'static, ()> {
    static GENERATOR: Mutex<()> = Mutex::new(());
    GENERATOR.lock().unwrap_or_else(PoisonError::into_inner)
}

fn device() -> Device {
    Device::flex().autodiff()
}

/// A small perceptron.
#[derive(Module, Debug)]
struct Net {
    hidden: Linear,
    head: Linear,
}

impl Net {
    fn new() -> Self {
        let device = device();
        device.seed(7);
        Self {
            hidden: LinearConfig::new(PIXELS, 12).init(&device),
            head: LinearConfig::new(12, CLASSES).init(&device),
        }
    }

    fn forward(&self, images: Tensor<2>) -> Tensor<2> {
        self.head.forward(gelu(self.hidden.forward(images)))
    }

    fn classify(&self, batch: DigitsBatch) -> ClassificationOutput {
        let output = self.forward(batch.images);
        let loss = CrossEntropyLossConfig::new()
            .init(&output.device())
            .forward(output.clone(), batch.labels.clone());
        ClassificationOutput::new(loss, output, batch.labels)
    }
}

impl TrainStep for Net {
    type Input = DigitsBatch;
    type Output = ClassificationOutput;

    fn step(&self, batch: DigitsBatch) -> TrainOutput<ClassificationOutput> {
        let output = self.classify(batch);
        TrainOutput::new(self, output.loss.backward(), output)
    }
}

impl InferenceStep for Net {
    type Input = DigitsBatch;
    type Output = ClassificationOutput;

    fn step(&self, batch: DigitsBatch) -> ClassificationOutput {
        self.classify(batch)
    }
}

#[derive(Clone, Debug)]
struct Positions;

impl Batcher<usize, DigitsBatch> for Positions {
    fn batch(&self, positions: Vec<usize>, device: &Device) -> DigitsBatch {
        Digits::load().unwrap().train().batch(&positions, device)
    }
}

type Loader = Arc<dyn DataLoader<DigitsBatch>>;

fn loader(positions: std::ops::Range<usize>) -> Loader {
    DataLoaderBuilder::new(Positions)
        .batch_size(ROWS)
        .build(InMemDataset::new(positions.collect()))
}

/// All numbers of a model.
fn numbers<M: Module>(model: &M) -> Vec<TensorData> {
    struct Numbers(Vec<TensorData>);
    impl ModuleVisitor for Numbers {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            self.0.push(param.val().to_data());
        }
    }
    let mut numbers = Numbers(Vec::new());
    model.visit(&mut numbers);
    numbers.0
}

fn launch(optimizer: Driver) -> LearningResult<Net> {
    let directory = tempfile::tempdir().unwrap();
    SupervisedTraining::new(directory.path(), loader(0..96), loader(96..120))
        .num_epochs(EPOCHS)
        .metric_train_numeric(LossMetric::new())
        .metric_valid_numeric(LossMetric::new())
        .with_metric_logger(InMemoryMetricLogger::new())
        .with_application_logger(None)
        .with_training_strategy(Osculate::new(optimizer).into())
        .launch(Learner::new(Net::new(), AdamWConfig::new().init(), LR))
}

fn in_learner(optimizer: Driver) -> Net {
    let result = launch(optimizer);
    assert!(result.error.is_none(), "{:?}", result.error);
    result.model
}

/// What a user would write instead of a `Learner`.
fn by_hand(mut optimizer: Driver) -> Net {
    let (mut model, loader) = (Net::new(), loader(0..96).to_device(&device()));
    for _ in 0..EPOCHS {
        for batch in loader.iter() {
            let batch = batch.unwrap();
            let loss = |net: &Net| net.classify(batch.clone()).loss;
            model = optimizer.step(LR, model, &loss).unwrap().model;
        }
    }
    optimizer.evaluation_model(&model).unwrap().valid()
}

/// Every role, and the average for validation and in the end without being told.
#[test]
fn in_burns_learner() {
    let _alone = alone();
    let newton = || ClippedNewtonConfig::new().init().unwrap();
    let composed = newton()
        .with_gradient(PastExtragradient { distance: 0.02 })
        .with_averaging(TailMean { start: 2 });
    let cases = [
        newton(),
        Driver::of_blocks(LayerNorms { beta: 0.9 }),
        Driver::of_vectors(Normalised),
        composed,
    ];
    for optimizer in cases {
        let name = optimizer.name().to_string();
        let trained = in_learner(optimizer.clone());
        assert_eq!(numbers(&trained), numbers(&by_hand(optimizer)), "{name}");
        assert_ne!(numbers(&trained), numbers(&Net::new()), "{name}");
    }
    // The strategy knows gradients alone: a policy that looks at the loss is told so.
    let result = launch(newton().with_step_size(AfterRise { strength: 9.0 }));
    let error = format!("{:?}", result.error);
    assert!(
        error.contains("after-rise") && error.contains("loss"),
        "{error}"
    );
    assert_eq!(numbers(&result.model), numbers(&Net::new()));
}

/// The digits for the trainer, interrupted where it is asked for.
struct DigitsTask {
    interrupt: Option<(u64, Interrupt)>,
    made: Cell<u64>,
}

const IMAGES: usize = 60;
const SIZE: usize = 12;

impl Task for DigitsTask {
    type Model = Net;

    fn model(&self, _: u64) -> Result<Net, TaskError> {
        Ok(Net::new())
    }

    fn batches_per_epoch(&self) -> usize {
        IMAGES / SIZE
    }

    fn batch(&self, at: BatchAt) -> Result<Batch<Net>, TaskError> {
        let made = self.made.replace(self.made.get() + 1);
        if let Some((when, interrupt)) = &self.interrupt
            && made == *when
        {
            interrupt.trigger();
        }
        let positions = Batches::new(IMAGES, SIZE, at.seed, at.epoch)
            .nth(at.index)
            .ok_or("no such batch")?;
        let batch = Digits::load()?.train().batch(&positions, &device());
        let images = batch.images;
        let objective = Supervised::new(
            move |net: &Net| net.forward(images.clone()),
            Criterion::cross_entropy(batch.labels),
        );
        Ok(Batch::new(objective, positions.len()))
    }

    fn evaluate(&self, model: &Net) -> Result<Metrics, TaskError> {
        let positions: Vec<usize> = (0..40).collect();
        let batch = Digits::load()?.test().batch(&positions, &device().inner());
        let loss = Criterion::cross_entropy(batch.labels).loss(model.forward(batch.images))?;
        Ok(vec![(
            "loss".to_string(),
            f64::from(loss.into_scalar::<f32>()),
        )])
    }

    fn judged(&self) -> Judged {
        Judged::lowest("loss")
    }
}

fn task(interrupt: Option<(u64, Interrupt)>) -> DigitsTask {
    DigitsTask {
        interrupt,
        made: Cell::new(0),
    }
}

/// A run by name that is interrupted and resumed is the run that was not, bit for bit.
#[test]
fn in_the_trainer() {
    let _alone = alone();
    register().unwrap();
    let spec: OptimizerSpec = "ema(sam(clipped-newton))".parse().unwrap();
    let mut config = TrainerConfig::new(spec);
    config.length = Length::Steps(14);
    config.checkpoint_every = 5;
    let folder = tempfile::tempdir().unwrap();
    let run = |task: &DigitsTask, name: &str, resume: bool, interrupt: Interrupt| {
        Trainer::new(task, config.clone(), folder.path().join(name))
            .with_progress(false)
            .with_resume(resume)
            .with_interrupt(interrupt)
            .run()
            .unwrap()
    };
    let whole = run(&task(None), "whole", false, Interrupt::new());
    assert_eq!(whole.summary.ending, Ending::Finished);
    let interrupt = Interrupt::new();
    let interrupted = task(Some((7, interrupt.clone())));
    let first = run(&interrupted, "parted", false, interrupt);
    assert_eq!(first.summary.ending, Ending::Interrupted);
    let second = run(&task(None), "parted", true, Interrupt::new());
    assert_eq!(second.summary.step, 14);
    assert_eq!(numbers(&second.model), numbers(&whole.model));
    assert_eq!(second.summary.best, whole.summary.best);
}

/// The benchmark takes it by name, alone and under another, with its settings.
#[test]
fn in_the_benchmark() {
    let _alone = alone();
    register().unwrap();
    let workloads = Workloads::built_in();
    for (name, settings) in [
        ("clipped-newton", None),
        ("mine=clipped-newton", Some("period=5")),
        ("schedule-free(clipped-newton)", None),
    ] {
        let entrant: Entrant = name.parse().unwrap();
        let entrant = entrant.with_settings(settings).unwrap();
        let lr = entrant.documented_rate();
        let mut spec = TrialSpec::new("digits-mlp", entrant, lr, 30).with_curvature(false);
        spec.measurements = 2;
        let workload = workloads.get("digits-mlp").unwrap();
        let trial = workload
            .train(&spec, &Device::flex(), &Watch::default())
            .unwrap();
        assert_eq!(trial.outcome, Outcome::Finished, "{name}");
        assert_eq!(trial.defect(), None, "{name}");
        let metrics = trial.points.iter().filter_map(|point| point.metric);
        let metrics: Vec<f64> = metrics.collect();
        assert!(
            metrics[metrics.len() - 1] > metrics[0],
            "{name}: {metrics:?}"
        );
    }
    let entrant: Entrant = "clipped-newton".parse().unwrap();
    let wrong = entrant.with_settings(["perid=5"]).unwrap_err();
    assert!(wrong.to_string().contains("period"), "{wrong}");
}
