//! Settings of a run, and the flags that change them.

use std::path::PathBuf;

use clap::Parser;
use osculate::optim::registry::OptimizerKind;
use osculate_program::exit;
use osculate_train::trainer::{TrainerArgs, TrainerConfig};
use serde::{Deserialize, Serialize};

use crate::augment::Augmentation;
use crate::data::{Download, Format, HOW_TO_GET, ImageShape};
use crate::error::CifarError;
use crate::models::{Architecture, Precision};

/// Trains an image classifier on CIFAR-10, CIFAR-100, Fashion-MNIST or a folder of PNG files with
/// any optimizer of osculate or burn.
#[derive(Debug, Parser)]
#[command(name = "cifar", version, after_help = format!("{HOW_TO_GET}\n\n{}", exit::HELP))]
pub struct Cli {
    /// Folder of the images; the format is found by its files. With --resume it says where they are now.
    #[arg(long, value_name = "FOLDER", conflicts_with = "download")]
    pub data: Option<PathBuf>,

    /// How the images are stored, where a folder holds more than one format.
    #[arg(long, value_enum, requires = "data")]
    pub format: Option<Format>,

    /// Download a data set into the cache folder of burn-dataset, unless it is there. Needs the cargo
    /// feature `download`.
    #[arg(long, value_enum, value_name = "DATASET")]
    pub download: Option<Download>,

    /// Use only so many training images, always the same.
    #[arg(long, value_name = "COUNT")]
    pub train_images: Option<usize>,

    /// Use only so many test images, always the same.
    #[arg(long, value_name = "COUNT")]
    pub test_images: Option<usize>,

    /// The network. Default: resnet20, and resnet8 on the embedded digits.
    #[arg(long, value_enum)]
    pub model: Option<Architecture>,

    /// Element type of convolutions and matrix products; weights stay f32. Default: f32.
    #[arg(long, value_enum)]
    pub precision: Option<Precision>,

    /// Images in a batch. Default: 128.
    #[arg(long, value_name = "IMAGES")]
    pub batch: Option<usize>,

    /// Pixels of padding of the random crop, 0 for none. Default: an eighth of the side.
    #[arg(long, value_name = "PIXELS")]
    pub crop: Option<usize>,

    /// Whether to mirror images at random. Default: yes, but for digits.
    #[arg(long, value_name = "BOOL")]
    pub flip: Option<bool>,

    /// Side of the square that cutout fills with the mean, 0 for none. Default: 0.
    #[arg(long, value_name = "PIXELS")]
    pub cutout: Option<usize>,

    /// Change no image.
    #[arg(long, conflicts_with_all = ["crop", "flip", "cutout"])]
    pub no_augmentation: bool,

    /// Part of each target that is spread over all classes. Default: 0.
    #[arg(long, value_name = "PART")]
    pub label_smoothing: Option<f64>,

    /// Part of the training labels that is replaced by another class; the seed decides which.
    /// Default: 0.
    #[arg(long, value_name = "PART")]
    pub label_noise: Option<f64>,

    /// Device by name, such as flex, wgpu or cuda:0. Default: that of BURN_DEVICE, or burn's.
    #[arg(long)]
    pub device: Option<String>,

    /// The flags of every training program, last because they come with a heading.
    #[command(flatten)]
    pub run: TrainerArgs,
}

/// Where the images come from: without a folder and a download, they are the embedded digits.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataConfig {
    /// Folder of the images.
    pub folder: Option<PathBuf>,
    /// How they are stored; `None` finds out.
    pub format: Option<Format>,
    /// A data set to download.
    pub download: Option<Download>,
    /// Most training images; `None` for all.
    pub train_images: Option<usize>,
    /// Most test images; `None` for all.
    pub test_images: Option<usize>,
}

impl DataConfig {
    /// Whether the images are the embedded digits.
    pub fn is_embedded(&self) -> bool {
        self.folder.is_none() && self.download.is_none()
    }
}

/// Changes of the usual augmentation; `None` leaves a setting as the images have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AugmentationConfig {
    /// Padding of the random crop in pixels.
    pub crop: Option<usize>,
    /// Whether images are mirrored at random.
    pub flip: Option<bool>,
    /// Side of cutout's square in pixels.
    pub cutout: Option<usize>,
}

impl AugmentationConfig {
    /// The augmentation of images of this size, of classes that survive mirroring or do not.
    pub fn resolve(&self, shape: ImageShape, mirrors: bool) -> Augmentation {
        let usual = Augmentation::usual(shape, mirrors);
        Augmentation {
            crop: self.crop.unwrap_or(usual.crop),
            flip: self.flip.unwrap_or(usual.flip),
            cutout: self.cutout.unwrap_or(usual.cutout),
        }
    }
}

/// Settings of a run: the content of `config.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Optimizer, schedule, length, seed and the rest of what every run has.
    pub trainer: TrainerConfig,
    /// Where the images come from.
    pub data: DataConfig,
    /// The network; `None` for ResNet-20, and ResNet-8 on the embedded digits.
    pub model: Option<Architecture>,
    /// Element type of convolutions and matrix products.
    pub precision: Precision,
    /// Images in a batch.
    pub batch: usize,
    /// Random changes of the training images.
    pub augmentation: AugmentationConfig,
    /// Part of each target that is spread over all classes.
    pub label_smoothing: f64,
    /// Part of the training labels that is wrong on purpose.
    pub label_noise: f64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            trainer: TrainerConfig::new(OptimizerKind::ADAMW),
            data: DataConfig::default(),
            model: None,
            precision: Precision::F32,
            batch: 128,
            augmentation: AugmentationConfig::default(),
            label_smoothing: 0.0,
            label_noise: 0.0,
        }
    }
}

impl Config {
    /// Settings that a resumed run may change: the images are known by what they are.
    pub const FREE: [&str; 3] = ["data.folder", "data.format", "data.download"];

    /// The network.
    pub fn architecture(&self) -> Architecture {
        self.model.unwrap_or(if self.data.is_embedded() {
            Architecture::ResNet8
        } else {
            Architecture::ResNet20
        })
    }

    /// Checks what is not the trainer's.
    ///
    /// # Errors
    /// [`CifarError::Setting`].
    pub fn validate(&self) -> Result<(), CifarError> {
        let counts = [
            ("batch", Some(self.batch)),
            ("train_images", self.data.train_images),
            ("test_images", self.data.test_images),
        ];
        for (name, count) in counts {
            CifarError::check(count != Some(0), name, 0, "at least 1")?;
        }
        let (smoothing, noise) = (self.label_smoothing, self.label_noise);
        CifarError::check(
            (0.0..1.0).contains(&smoothing),
            "label_smoothing",
            smoothing,
            "at least 0 and less than 1",
        )?;
        CifarError::check(
            (0.0..=1.0).contains(&noise),
            "label_noise",
            noise,
            "from 0 to 1",
        )
    }
}

impl Cli {
    /// The settings that the flags, and the file that they may name, ask for.
    ///
    /// # Errors
    /// [`CifarError`] for a file that cannot be read and for settings out of range.
    pub fn config(&self) -> Result<Config, CifarError> {
        let config = self.run.configure(Config::default, |config| {
            self.apply(config)?;
            Ok::<(), CifarError>(self.run.apply(&mut config.trainer)?)
        })?;
        config.validate()?;
        if let (true, Some(folder)) = (self.run.resume, &config.data.folder) {
            let expected = "the folder of the images; where they have moved, name it with --data";
            CifarError::check(folder.is_dir(), "data.folder", folder.display(), expected)?;
        }
        Ok(config)
    }

    fn apply(&self, config: &mut Config) -> Result<(), CifarError> {
        let data = &mut config.data;
        if let Some(folder) = &self.data {
            // The run may be resumed from another folder.
            let folder = std::path::absolute(folder).map_err(|source| CifarError::Folder {
                path: folder.clone(),
                source,
            })?;
            (data.folder, data.format, data.download) = (Some(folder), self.format, None);
        }
        if let Some(download) = self.download {
            (data.folder, data.format, data.download) = (None, None, Some(download));
        }
        data.train_images = self.train_images.or(data.train_images);
        data.test_images = self.test_images.or(data.test_images);
        config.model = self.model.or(config.model);
        config.precision = self.precision.unwrap_or(config.precision);
        config.batch = self.batch.unwrap_or(config.batch);
        let changes = &mut config.augmentation;
        if self.no_augmentation {
            let none = Augmentation::NONE;
            changes.crop = Some(none.crop);
            changes.flip = Some(none.flip);
            changes.cutout = Some(none.cutout);
        }
        changes.crop = self.crop.or(changes.crop);
        changes.flip = self.flip.or(changes.flip);
        changes.cutout = self.cutout.or(changes.cutout);
        config.label_smoothing = self.label_smoothing.unwrap_or(config.label_smoothing);
        config.label_noise = self.label_noise.unwrap_or(config.label_noise);
        Ok(())
    }
}
