//! What can go wrong, in words for the person at the terminal.

use std::path::PathBuf;

use osculate::curvature::CurvatureError;
use osculate::device::DeviceError;
use osculate::optim::ConfigError;
use osculate_problems::digits::DigitsError;
use thiserror::Error;

/// Why a command stopped.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum BenchError {
    /// An option makes no sense.
    #[error("{0}")]
    Usage(String),

    /// The output folder cannot be written to.
    #[error("cannot write to the output folder {}: {source}", path.display())]
    Output {
        /// The folder or file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },

    /// A figure could not be drawn.
    #[error("cannot draw {}: {message}", path.display())]
    Figure {
        /// The file.
        path: PathBuf,
        /// Why.
        message: String,
    },

    /// The device cannot be had.
    #[error(transparent)]
    Device(#[from] DeviceError),

    /// An optimizer's settings are invalid.
    #[error(transparent)]
    Config(#[from] ConfigError),

    /// The data cannot be read.
    #[error(transparent)]
    Data(#[from] DigitsError),

    /// A curvature product failed.
    #[error(transparent)]
    Curvature(#[from] CurvatureError),

    /// A step was not made.
    #[error("{optimizer}: {message}")]
    Step {
        /// Name of the optimizer.
        optimizer: String,
        /// Why.
        message: String,
    },

    /// The results could not be encoded.
    #[error("cannot encode the results: {0}")]
    Json(#[from] serde_json::Error),
}

impl BenchError {
    /// The exit code: 2 for what the person at the terminal asked for, 1 for everything else.
    pub fn exit_code(&self) -> u8 {
        match self {
            BenchError::Usage(_) | BenchError::Device(_) | BenchError::Output { .. } => 2,
            _ => 1,
        }
    }
}
