//! What the trainer trains.

use burn::tensor::{Device, Int, Tensor, TensorData};
use osculate::curvature::{Criterion, CurvatureError, Supervised, SupervisedBatch};
use osculate_problems::digits::Batches;
use osculate_train::trainer::{Batch, BatchAt, Judged, Metrics, Task, TaskError};
use rand::SeedableRng;
use rand::rngs::ChaCha8Rng;

use crate::augment::Augmentation;
use crate::config::Config;
use crate::data::{ImageSet, Split, embedded, read_folder};
use crate::error::CifarError;
use crate::label_noise::add_label_noise;
use crate::models::{Architecture, Classifier, Precision};
use crate::normalise::Normalisation;

/// Most images in a batch of the evaluation.
const EVALUATION_BATCH: usize = 500;
/// The metric by which weights are called best.
const ACCURACY: &str = "test_accuracy";

/// A network on a set of images.
#[derive(Debug)]
pub struct Classification {
    set: ImageSet,
    normalisation: Normalisation,
    augmentation: Augmentation,
    architecture: Architecture,
    precision: Precision,
    batch: usize,
    smoothing: f64,
    device: Device,
}

/// Images as the network takes them.
#[derive(Debug, Clone)]
pub struct ImageBatch {
    /// Normalised pixels, of shape `[rows, channels, height, width]`.
    pub images: Tensor<4>,
    /// Classes, of shape `[rows]`.
    pub labels: Tensor<1, Int>,
}

/// Reads the images that a configuration asks for, with its label noise.
///
/// # Errors
/// [`DataError`](crate::data::DataError).
pub fn load_images(config: &Config) -> Result<ImageSet, CifarError> {
    let data = &config.data;
    let mut set = match (&data.folder, data.download) {
        (Some(folder), _) => read_folder(folder, data.format)?,
        (None, Some(download)) => download.read()?,
        (None, None) => embedded::read()?,
    };
    set.train = set.train.thinned(data.train_images.unwrap_or(usize::MAX));
    set.test = set.test.thinned(data.test_images.unwrap_or(usize::MAX));
    if config.label_noise > 0.0 {
        let (classes, seed) = (set.classes.len(), config.trainer.seed);
        add_label_noise(set.train.labels_mut(), classes, config.label_noise, seed);
    }
    Ok(set)
}

impl Classification {
    /// The network and the batches of a configuration, on a device without autodiff.
    ///
    /// # Errors
    /// [`ModelError`](crate::models::ModelError) where the network cannot take the images, or the
    /// device lacks the precision, and [`CifarError::Setting`] for a crop as large as an image.
    pub fn new(config: &Config, set: ImageSet, device: Device) -> Result<Self, CifarError> {
        let task = Self {
            normalisation: Normalisation::of(&set.train),
            augmentation: config.augmentation.resolve(set.shape(), set.mirrors),
            architecture: config.architecture(),
            precision: config.precision,
            batch: config.batch,
            smoothing: config.label_smoothing,
            set,
            device,
        };
        let (shape, crop) = (task.set.shape(), task.augmentation.crop);
        let side = shape.height.min(shape.width);
        let expected = "less than the shorter side of the images";
        CifarError::check(crop < side, "augmentation.crop", crop, expected)?;
        // What is wrong with the network is found out before a folder is made for the run.
        task.network(0)?;
        Ok(task)
    }

    /// The images.
    pub fn set(&self) -> &ImageSet {
        &self.set
    }

    /// The random changes of the training images.
    pub fn augmentation(&self) -> Augmentation {
        self.augmentation
    }

    /// The network with its first weights, on a device with autodiff.
    ///
    /// # Errors
    /// [`ModelError`](crate::models::ModelError), as [`new`](Self::new).
    pub fn network(&self, seed: u64) -> Result<Classifier, CifarError> {
        Ok(self.architecture.init(
            self.set.shape(),
            self.set.classes.len(),
            self.precision,
            seed,
            &self.device.clone().autodiff(),
        )?)
    }

    /// The training images of a batch, changed at random as the batch's seed says, on a device with
    /// autodiff. `None` where the epoch has no such batch.
    pub fn training_batch(&self, at: BatchAt) -> Option<ImageBatch> {
        let train = &self.set.train;
        let positions = Batches::new(train.len(), self.batch, at.epoch_seed(), 0).nth(at.index)?;
        let (shape, fill) = (train.shape(), self.normalisation.mean_bytes());
        let mut rng = ChaCha8Rng::seed_from_u64(at.seed());
        let device = self.device.clone().autodiff();
        Some(
            self.gather(train, &positions, &device, |row, image, changed| {
                rng.set_stream(row as u64);
                rng.set_word_pos(0);
                let augmentation = self.augmentation;
                augmentation.apply(shape, &fill, &mut rng, image, changed);
            }),
        )
    }

    /// Images at the given positions, each after `change` has written it to its second argument.
    fn gather(
        &self,
        split: &Split,
        positions: &[usize],
        device: &Device,
        mut change: impl FnMut(usize, &[u8], &mut [u8]),
    ) -> ImageBatch {
        let shape = split.shape();
        let mut pixels = Vec::with_capacity(positions.len() * shape.len());
        let mut labels = Vec::with_capacity(positions.len());
        let mut changed = vec![0; shape.len()];
        for (row, &position) in positions.iter().enumerate() {
            change(row, split.image(position), &mut changed);
            self.normalisation
                .extend(&changed, shape.plane(), &mut pixels);
            labels.push(i32::from(split.labels()[position]));
        }
        let dims = [positions.len(), shape.channels, shape.height, shape.width];
        let rows = [positions.len()];
        ImageBatch {
            images: Tensor::from_data(TensorData::new(pixels, dims), device),
            labels: Tensor::from_data(TensorData::new(labels, rows), device),
        }
    }

    fn criterion(&self, labels: Tensor<1, Int>) -> Result<Criterion, CurvatureError> {
        if self.smoothing > 0.0 {
            Criterion::smoothed_cross_entropy(labels, self.smoothing)
        } else {
            Ok(Criterion::cross_entropy(labels))
        }
    }
}

impl Task for Classification {
    type Model = Classifier;

    fn model(&self, seed: u64) -> Result<Classifier, TaskError> {
        Ok(self.network(seed)?)
    }

    fn fingerprint(&self) -> Option<String> {
        Some(self.set.fingerprint())
    }

    fn has_kinks(&self) -> bool {
        self.architecture != Architecture::Vit
    }

    fn batches_per_epoch(&self) -> usize {
        self.set.train.len().div_ceil(self.batch)
    }

    fn batch(&self, at: BatchAt) -> Result<Batch<Classifier>, TaskError> {
        let batch = self
            .training_batch(at)
            .ok_or_else(|| format!("there is no batch {} in an epoch", at.index))?;
        let samples = batch.labels.dims()[0];
        let (images, criterion) = (batch.images, self.criterion(batch.labels)?);
        if self.architecture == Architecture::Vit {
            let forward = |model: &Classifier, images: &Tensor<4>| model.forward(images.clone());
            let objective = SupervisedBatch::new(images, forward, criterion);
            return Ok(Batch::new(objective, samples));
        }
        // Batch normalisation in training mode cannot be recorded for exact products, so that
        // recording it would be in vain.
        let forward = move |model: &Classifier| model.forward(images.clone());
        Ok(Batch::new(Supervised::new(forward, criterion), samples))
    }

    /// Loss, without smoothing, and accuracy over all test images.
    fn evaluate(&self, model: &Classifier) -> Result<Metrics, TaskError> {
        let test = &self.set.test;
        let positions: Vec<usize> = (0..test.len()).collect();
        let (mut loss, mut correct) = (0.0, 0.0);
        for positions in positions.chunks(EVALUATION_BATCH) {
            let copy = |_, image: &[u8], out: &mut [u8]| out.copy_from_slice(image);
            let batch = self.gather(test, positions, &self.device, copy);
            let logits = model.forward(batch.images);
            let hits = logits.clone().argmax(1).squeeze_dim::<1>(1);
            let hits = hits.equal(batch.labels.clone()).int().sum();
            let losses = Criterion::cross_entropy(batch.labels).per_sample(logits)?;
            loss += losses.sum().into_scalar::<f64>();
            correct += hits.into_scalar::<i64>() as f64;
        }
        let images = test.len() as f64;
        Ok(vec![
            ("test_loss".to_string(), loss / images),
            (ACCURACY.to_string(), correct / images),
        ])
    }

    fn judged(&self) -> Judged {
        Judged::highest(ACCURACY)
    }
}
