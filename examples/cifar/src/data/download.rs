//! burn-dataset's downloader of CIFAR-10 and CIFAR-100.

#[cfg(feature = "download")]
use std::path::Path;
use std::path::PathBuf;

#[cfg(feature = "download")]
use burn_dataset::Dataset;
#[cfg(feature = "download")]
use burn_dataset::vision::{CifarDataset, CifarType};
use clap::ValueEnum;
#[cfg(feature = "download")]
use osculate_program::caught;
use serde::{Deserialize, Serialize};

use super::error::DataError;
use super::image_set::ImageSet;
use super::png_folder;

const TRAIN_IMAGES: usize = 50_000;
const TEST_IMAGES: usize = 10_000;

/// A data set that can be downloaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
pub enum Download {
    /// CIFAR-10, 10 classes.
    #[value(name = "cifar-10")]
    #[serde(rename = "cifar-10")]
    Cifar10,
    /// CIFAR-100, 100 classes.
    #[value(name = "cifar-100")]
    #[serde(rename = "cifar-100")]
    Cifar100,
}

impl Download {
    fn name(self) -> &'static str {
        match self {
            Download::Cifar10 => "CIFAR-10",
            Download::Cifar100 => "CIFAR-100",
        }
    }

    #[cfg(feature = "download")]
    fn cifar_type(self) -> CifarType {
        match self {
            Download::Cifar10 => CifarType::Cifar10,
            Download::Cifar100 => CifarType::Cifar100,
        }
    }

    /// Downloads the data set (about 160 MB) into the user's cache folder, unless it is there, and
    /// reads it.
    ///
    /// # Errors
    /// [`DataError::Download`] where the network or the cache folder fails or the program was built
    /// without the feature `download`, [`DataError::Incomplete`]
    /// where an earlier download was interrupted, and as [`png_folder::read`].
    pub fn read(self) -> Result<ImageSet, DataError> {
        let folder = self.folder()?;
        let mut set = png_folder::read(&folder)?;
        let (train, test) = (set.train.len(), set.test.len());
        if (train, test) != (TRAIN_IMAGES, TEST_IMAGES) {
            return Err(DataError::Incomplete {
                folder,
                train,
                test,
            });
        }
        set.source = format!("{} from {}", self.name(), folder.display());
        Ok(set)
    }

    /// The folder with `train` and `test`.
    #[cfg(not(feature = "download"))]
    fn folder(self) -> Result<PathBuf, DataError> {
        Err(DataError::Download {
            dataset: self.name(),
            message: "this program was built without its HTTP client; \
                      `cargo run --release -p cifar --features download -- ..` has it"
                .to_string(),
        })
    }

    /// The folder with `train` and `test`.
    #[cfg(feature = "download")]
    fn folder(self) -> Result<PathBuf, DataError> {
        let failed = |message: String| DataError::Download {
            dataset: self.name(),
            message,
        };
        // burn-dataset panics where the network, the archive or the cache folder fails, and tells
        // its folder through the path of an image only.
        let path = caught(|| {
            let train = CifarDataset::new(self.cifar_type()).train();
            let first = train.get(0).ok();
            first.map(|item| PathBuf::from(item.image_path))
        })
        .map_err(failed)?;
        path.as_deref()
            .and_then(|image| image.ancestors().find(|folder| folder.ends_with("train")))
            .and_then(Path::parent)
            .map(Path::to_path_buf)
            .ok_or_else(|| failed("the downloaded folder holds no image".to_string()))
    }
}
