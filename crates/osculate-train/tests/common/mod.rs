//! A small classifier of the digits, its data loaders, and quiet trainings.
#![allow(dead_code, reason = "each suite uses a part")]

pub mod two_devices;

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use burn::data::dataloader::batcher::Batcher;
use burn::data::dataloader::{DataLoader, DataLoaderBuilder};
use burn::data::dataset::{Dataset, InMemDataset};
use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::nn::loss::CrossEntropyLossConfig;
use burn::nn::{BatchNorm, BatchNormConfig, Dropout, DropoutConfig, Linear, LinearConfig};
use burn::optim::AdamWConfig;
use burn::tensor::activation::gelu;
use burn::tensor::{DType, Device, Tensor, TensorData};
use burn::train::logger::InMemoryMetricLogger;
use burn::train::metric::LossMetric;
use burn::train::{
    ClassificationOutput, InferenceStep, Learner, SupervisedTraining, TrainOutput, TrainStep,
};
use osculate_curvature::{Criterion, Objective, SupervisedBatch};
use osculate_problems::digits::{CLASSES, Digits, DigitsBatch, PIXELS};
use osculate_train::learner::SupervisedModel;

/// The CPU backends have one random generator for the whole program: one test at a time uses it.
pub fn alone() -> MutexGuard<'static, ()> {
    static GENERATOR: Mutex<()> = Mutex::new(());
    GENERATOR.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Where everything is trained.
pub fn device() -> Device {
    Device::flex().autodiff()
}

/// Images of the training split that are used.
pub const IMAGES: usize = 120;
/// Rows of a batch.
pub const ROWS: usize = 24;

/// A perceptron, with batch normalisation and dropout where they are asked for.
#[derive(Module, Debug)]
pub struct Net {
    hidden: Linear,
    norm: Option<BatchNorm>,
    dropout: Dropout,
    head: Linear,
    /// Whether the loss is the sum over the rows instead of the mean.
    #[module(skip)]
    summed: bool,
}

impl Net {
    /// Without anything that behaves differently in training.
    pub fn plain(device: &Device) -> Self {
        device.seed(7);
        Self {
            hidden: LinearConfig::new(PIXELS, 12).init(device),
            norm: None,
            dropout: DropoutConfig::new(0.0).init(),
            head: LinearConfig::new(12, CLASSES).init(device),
            summed: false,
        }
    }

    /// Without anything that behaves differently in training, and with a loss that adds up over
    /// batches.
    pub fn summed(device: &Device) -> Self {
        Self {
            summed: true,
            ..Self::plain(device)
        }
    }

    /// The same in `f64`, for methods that divide by what is nearly singular: the order in which two
    /// devices' gradients are added changes their last digits, which inverse roots enlarge.
    pub fn wide(device: &Device) -> Self {
        struct Widen;
        impl ModuleMapper for Widen {
            fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
                param.map(|tensor| {
                    Tensor::from_inner(tensor.inner().cast(DType::F64)).require_grad()
                })
            }
        }
        Self::summed(device).map(&mut Widen)
    }

    /// With batch normalisation and dropout.
    pub fn noisy(device: &Device) -> Self {
        Self {
            norm: Some(BatchNormConfig::new(12).init(device)),
            dropout: DropoutConfig::new(0.3).init(),
            ..Self::plain(device)
        }
    }

    /// With batch normalisation alone, whose statistics every pass moves.
    pub fn noisy_without_dropout(device: &Device) -> Self {
        Self {
            dropout: DropoutConfig::new(0.0).init(),
            ..Self::noisy(device)
        }
    }

    pub fn forward(&self, images: Tensor<2>) -> Tensor<2> {
        let images = images.cast(self.hidden.weight.dtype());
        let hidden = self.hidden.forward(images);
        let hidden = match &self.norm {
            Some(norm) => norm.forward(hidden.unsqueeze_dim::<3>(2)).squeeze_dim(2),
            None => hidden,
        };
        self.head.forward(self.dropout.forward(gelu(hidden)))
    }

    /// What is added to the outputs.
    pub fn offset(&self) -> Tensor<2> {
        let bias = self.head.bias.as_ref().unwrap();
        bias.val().unsqueeze()
    }

    pub fn classify(&self, batch: DigitsBatch) -> ClassificationOutput {
        let output = self.forward(batch.images);
        let loss = CrossEntropyLossConfig::new()
            .init(&output.device())
            .forward(output.clone(), batch.labels.clone());
        let loss = match self.summed {
            true => loss.mul_scalar(output.dims()[0] as f64),
            false => loss,
        };
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

impl SupervisedModel for Net {
    fn supervised(batch: &DigitsBatch) -> Box<dyn Objective<Self>> {
        Box::new(SupervisedBatch::new(
            batch.images.clone(),
            |net: &Net, images: &Tensor<2>| net.forward(images.clone()),
            Criterion::cross_entropy(batch.labels.clone()),
        ))
    }
}

#[derive(Clone, Debug)]
struct Positions;

impl Batcher<usize, DigitsBatch> for Positions {
    fn batch(&self, positions: Vec<usize>, device: &Device) -> DigitsBatch {
        Digits::load().unwrap().train().batch(&positions, device)
    }
}

pub type Loader = Arc<dyn DataLoader<DigitsBatch>>;

/// The first images, shuffled anew in every epoch.
pub fn train_loader() -> Loader {
    DataLoaderBuilder::new(Positions)
        .batch_size(ROWS)
        .shuffle(3)
        .build(InMemDataset::new((0..IMAGES).collect()))
}

/// Images in the order of a data set of positions.
pub fn loader(positions: impl Dataset<usize> + 'static, rows: usize) -> Loader {
    DataLoaderBuilder::new(Positions)
        .batch_size(rows)
        .build(positions)
}

/// Images in the given order.
pub fn ordered_loader(positions: Vec<usize>, rows: usize) -> Loader {
    loader(InMemDataset::new(positions), rows)
}

pub fn valid_loader() -> Loader {
    ordered_loader((IMAGES..IMAGES + 40).collect(), 40)
}

/// A training that writes nothing but checkpoints.
pub fn quiet(directory: &Path, epochs: usize) -> SupervisedTraining<Net> {
    SupervisedTraining::new(directory, train_loader(), valid_loader())
        .num_epochs(epochs)
        .metric_train_numeric(LossMetric::new())
        .metric_valid_numeric(LossMetric::new())
        .with_metric_logger(InMemoryMetricLogger::new())
        .with_application_logger(None)
}

/// A learner, whose burn optimizer makes no steps under a strategy of osculate.
pub fn learner(model: Net, lr: f64) -> Learner<Net> {
    Learner::new(model, AdamWConfig::new().init(), lr)
}

/// All parameters and running statistics, by path.
pub fn weights<M: Module>(model: &M) -> Vec<(String, TensorData)> {
    struct Weights(Vec<String>, Vec<(String, TensorData)>);
    impl ModuleVisitor for Weights {
        fn enter_module(&mut self, name: &str, _: &str) {
            self.0.push(name.to_string());
        }
        fn exit_module(&mut self, _: &str, _: &str) {
            self.0.pop();
        }
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            self.1.push((self.0.join("."), param.val().into_data()));
        }
    }
    let mut weights = Weights(Vec::new(), Vec::new());
    model.visit(&mut weights);
    weights.1
}

/// Whether two models are equal bit for bit.
pub fn assert_identical<M: Module>(a: &M, b: &M) {
    let (a, b) = (weights(a), weights(b));
    assert_eq!(a.len(), b.len());
    assert!(!a.is_empty());
    for ((path, a), (other, b)) in a.iter().zip(&b) {
        assert_eq!(path, other);
        assert_eq!(a.dtype(), b.dtype(), "{path}");
        assert!(a.as_bytes() == b.as_bytes(), "{path} differs");
    }
}

/// Largest difference of any number of two models.
pub fn largest_difference<M: Module>(a: &M, b: &M) -> f64 {
    let (a, b) = (weights(a), weights(b));
    assert_eq!(a.len(), b.len());
    let differences = a.iter().zip(&b).flat_map(|((_, a), (_, b))| {
        a.iter::<f64>()
            .zip(b.iter::<f64>())
            .map(|(a, b)| (a - b).abs())
            .collect::<Vec<_>>()
    });
    differences.fold(0.0, f64::max)
}
