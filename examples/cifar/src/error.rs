use std::fmt::Display;
use std::path::PathBuf;

use osculate::device::DeviceError;
use osculate_program::exit;
use osculate_train::trainer::TrainerError;
use thiserror::Error;

use crate::data::DataError;
use crate::models::ModelError;

/// Why a run could not start, go on or end.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CifarError {
    /// The images could not be read.
    #[error(transparent)]
    Data(#[from] DataError),

    /// The network could not be made.
    #[error(transparent)]
    Model(#[from] ModelError),

    /// The device is not there.
    #[error(transparent)]
    Device(#[from] DeviceError),

    /// The training failed.
    #[error(transparent)]
    Trainer(#[from] TrainerError),

    /// A setting is out of its range.
    #[error("{name} = {value} is invalid, expected {expected}")]
    Setting {
        /// Name of the setting, as in `config.json`.
        name: &'static str,
        /// The value given.
        value: String,
        /// What would be valid.
        expected: &'static str,
    },

    /// The path of a folder makes no sense.
    #[error("{} is no path of a folder: {source}", path.display())]
    Folder {
        /// The path given.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

impl CifarError {
    /// The exit code of the program, as [`osculate_program::exit`] has them.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Trainer(error) => error.exit_code(),
            _ => exit::USAGE,
        }
    }

    /// Checks a setting, and names it with its value where it is out of range.
    pub(crate) fn check(
        valid: bool,
        name: &'static str,
        value: impl Display,
        expected: &'static str,
    ) -> Result<(), Self> {
        if valid {
            Ok(())
        } else {
            Err(Self::Setting {
                name,
                value: value.to_string(),
                expected,
            })
        }
    }
}
