//! What the frame around a step costs: AdamW through a closure optimizer over burn's own loop, and a `Learner` with the
//! `Osculate` strategy over one with burn's own, on models that leave the frame nowhere to hide.
#![allow(missing_docs, reason = "a benchmark has no public items")]
#![allow(clippy::print_stdout, reason = "a benchmark shows its results")]
#![allow(
    clippy::expect_used,
    reason = "a benchmark stops where it cannot go on"
)]

use std::path::Path;
use std::sync::Arc;

use burn::data::dataloader::batcher::Batcher;
use burn::data::dataloader::{DataLoader, DataLoaderBuilder};
use burn::data::dataset::InMemDataset;
use burn::module::Module;
use burn::nn::loss::CrossEntropyLossConfig;
use burn::optim::{AdamWConfig, ModuleOptimizer};
use burn::tensor::Device;
use burn::train::logger::InMemoryMetricLogger;
use burn::train::{
    ClassificationOutput, ExecutionStrategy, InferenceStep, Learner, SupervisedTraining,
    TrainOutput, TrainStep, TrainingStrategy,
};
use criterion::Criterion;
use mimalloc::MiMalloc;
use osculate_benches::loops::{Pace, burn_loop, closure_loop};
use osculate_benches::ratios::{Case, Ratios};
use osculate_benches::workload::device;
use osculate_optim::Driver;
use osculate_problems::digits::{CLASSES, Digits, DigitsBatch, PIXELS, Split};
use osculate_problems::modules::{Mlp, MlpConfig, seeded};
use osculate_train::learner::Osculate;

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

const PACE: Pace = Pace {
    steps: 200,
    lr: 1e-3,
};
const ROWS: usize = 64;

#[derive(Module, Debug)]
struct Net {
    layers: Mlp,
}

impl Net {
    fn new(hidden: usize) -> Self {
        let layers = MlpConfig::new(vec![PIXELS, hidden, CLASSES]).init(&device());
        Self {
            layers: seeded(layers, 1),
        }
    }

    fn classify(&self, batch: DigitsBatch) -> ClassificationOutput {
        let output = self.layers.forward(batch.images);
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

/// Makes batches out of positions in the digits.
#[derive(Debug, Clone)]
struct Images(&'static Split);

impl Batcher<usize, DigitsBatch> for Images {
    fn batch(&self, positions: Vec<usize>, device: &Device) -> DigitsBatch {
        self.0.batch(&positions, device)
    }
}

/// Batches of digits, over and over.
fn loader(batches: usize) -> Arc<dyn DataLoader<DigitsBatch>> {
    let split = Digits::load().expect("the digits").train();
    let positions = (0..batches * ROWS).map(|at| at % split.len()).collect();
    DataLoaderBuilder::new(Images(split))
        .batch_size(ROWS)
        .build(InMemDataset::new(positions))
}

fn adamw() -> ModuleOptimizer {
    AdamWConfig::new().init()
}

fn batch() -> DigitsBatch {
    let split = Digits::load().expect("the digits").train();
    split.batch(&(0..ROWS).collect::<Vec<_>>(), &device())
}

/// A training of one epoch without metrics; what it costs to begin and to end is in it both ways.
fn training<S: Into<TrainingStrategy<Net>>>(
    directory: &Path,
    hidden: usize,
    strategy: impl Fn() -> S,
) -> impl FnMut() {
    move || {
        let result = SupervisedTraining::new(directory, loader(PACE.steps), loader(1))
            .num_epochs(1)
            .with_metric_logger(InMemoryMetricLogger::new())
            .with_application_logger(None)
            .with_training_strategy(strategy().into())
            .launch(Learner::new(Net::new(hidden), adamw(), PACE.lr));
        assert!(result.error.is_none(), "{:?}", result.error);
    }
}

fn main() {
    let mut bench = Criterion::default().configure_from_args();
    let mut ratios = Ratios::default();
    let batch = batch();
    let loss = |net: &Net| net.classify(batch.clone()).loss;
    let directory = tempfile::tempdir().expect("a folder");
    for (name, hidden, limit) in [("64-4-10", 4, 1.15), ("64-256-10", 256, 1.03)] {
        let net = Net::new(hidden);
        let closure = closure_loop(PACE, Driver::from(adamw()), &net, &loss);
        let closure = Case::new("closure optimizer", closure).at_most(limit);
        let reference = ("burn's own loop", burn_loop(PACE, adamw(), &net, &loss));
        ratios.compare(&mut bench, name, reference, vec![closure]);

        let learner = training(directory.path(), hidden, || {
            Osculate::new(Driver::from(adamw()))
        });
        let learner = Case::new("Osculate in Learner", learner).at_most(limit);
        let reference = training(directory.path(), hidden, || {
            ExecutionStrategy::single(device())
        });
        let reference = ("Learner", reference);
        ratios.compare(&mut bench, name, reference, vec![learner]);
    }
    bench.final_summary();
    println!(
        "\n{} steps of AdamW on batches of {ROWS}\n{}",
        PACE.steps,
        ratios.table("burn alone")
    );
}
