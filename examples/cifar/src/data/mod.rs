//! Reading images, one reader a file.

pub mod cifar_binary;
mod download;
pub mod embedded;
mod error;
pub mod idx;
mod image_set;
pub mod png_folder;

pub use download::Download;
pub use error::DataError;
pub use image_set::{ImageSet, ImageShape, Split};

use std::path::Path;

use cifar_binary::{CIFAR_10, CIFAR_100};
use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// Where images can be had, for error messages and help.
pub const HOW_TO_GET: &str = "\
How to get them:
  CIFAR-10       https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz (unpack it, give the folder)
  CIFAR-100      https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz (the same)
  either         --download cifar-10 or --download cifar-100 (PNG files, into the cache folder;
                 build with --features download)
  Fashion-MNIST  apt-get install dataset-fashion-mnist, then --data /usr/share/datasets/fashion-mnist
Without --data the program trains on embedded digits.";

/// How images are stored in a folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// The binary version of CIFAR-10.
    #[value(name = "cifar-10")]
    #[serde(rename = "cifar-10")]
    Cifar10,
    /// The binary version of CIFAR-100, fine classes.
    #[value(name = "cifar-100")]
    #[serde(rename = "cifar-100")]
    Cifar100,
    /// The files of MNIST and Fashion-MNIST.
    Idx,
    /// PNG files in a folder for each class.
    PngFolder,
}

impl Format {
    /// Every format.
    pub const ALL: [Format; 4] = [
        Format::Cifar10,
        Format::Cifar100,
        Format::Idx,
        Format::PngFolder,
    ];

    /// Name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Format::Cifar10 => CIFAR_10.name,
            Format::Cifar100 => CIFAR_100.name,
            Format::Idx => idx::NAME,
            Format::PngFolder => png_folder::NAME,
        }
    }

    /// The files that it needs, for people.
    pub fn needs(self) -> &'static str {
        match self {
            Format::Cifar10 => CIFAR_10.needs,
            Format::Cifar100 => CIFAR_100.needs,
            Format::Idx => idx::NEEDS,
            Format::PngFolder => png_folder::NEEDS,
        }
    }

    /// Whether the folder holds files of this format.
    pub fn is_in(self, folder: &Path) -> bool {
        match self {
            Format::Cifar10 => CIFAR_10.is_in(folder),
            Format::Cifar100 => CIFAR_100.is_in(folder),
            Format::Idx => idx::is_in(folder),
            Format::PngFolder => png_folder::is_in(folder),
        }
    }

    /// Finds the format by the files of a folder.
    ///
    /// # Errors
    /// [`DataError::NothingFound`] and [`DataError::Ambiguous`], and [`DataError::Unreadable`] where
    /// there is no such folder.
    pub fn detect(folder: &Path) -> Result<Format, DataError> {
        std::fs::read_dir(folder).map_err(DataError::unreadable(folder))?;
        let found: Vec<Format> = Self::ALL
            .into_iter()
            .filter(|format| format.is_in(folder))
            .collect();
        match found.as_slice() {
            [format] => Ok(*format),
            [] => Err(DataError::NothingFound {
                folder: folder.to_path_buf(),
                looked_for: Self::ALL
                    .map(|format| format!("  {:<11}{}", format.name(), format.needs()))
                    .join("\n"),
            }),
            several => Err(DataError::Ambiguous {
                folder: folder.to_path_buf(),
                formats: several.iter().map(|f| f.name().to_string()).collect(),
            }),
        }
    }

    /// Reads a folder in this format.
    ///
    /// # Errors
    /// [`DataError`]: see the readers of the formats.
    pub fn read(self, folder: &Path) -> Result<ImageSet, DataError> {
        match self {
            Format::Cifar10 => CIFAR_10.read(folder),
            Format::Cifar100 => CIFAR_100.read(folder),
            Format::Idx => idx::read(folder),
            Format::PngFolder => png_folder::read(folder),
        }
    }
}

/// Reads a folder in the format given, or in the one that its files show.
///
/// # Errors
/// [`DataError`]: see [`Format::detect`] and [`Format::read`].
pub fn read_folder(folder: &Path, format: Option<Format>) -> Result<ImageSet, DataError> {
    let format = match format {
        Some(format) => format,
        None => Format::detect(folder)?,
    };
    format.read(folder)
}
