//! What can go wrong, in words for the person at the terminal.

use std::path::{Path, PathBuf};

use osculate::curvature::CurvatureError;
use osculate::device::DeviceError;
use osculate::optim::ConfigError;
use osculate::optim::registry::SpecError;
use osculate_problems::digits::DigitsError;
use osculate_program::exit;
use thiserror::Error;

use crate::workload::WorkloadError;

/// Why a command stopped.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum BenchError {
    /// An option makes no sense.
    #[error("{0}")]
    Usage(String),

    /// A file or folder cannot be read or written.
    #[error("cannot {doing} {}: {source}", path.display())]
    File {
        /// What was tried: read, write, lock.
        doing: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },

    /// A file does not hold what it should.
    #[error("{}: {message}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },

    /// A figure could not be drawn.
    #[error("cannot draw {figure}: {message}")]
    Figure {
        /// What it shows.
        figure: String,
        /// Why.
        message: String,
    },

    /// The device cannot be had.
    #[error(transparent)]
    Device(#[from] DeviceError),

    /// An optimizer's settings are invalid.
    #[error(transparent)]
    Recipe(#[from] SpecError),

    /// An optimizer's settings are invalid.
    #[error(transparent)]
    Config(#[from] ConfigError),

    /// The data cannot be read.
    #[error(transparent)]
    Data(#[from] DigitsError),

    /// A workload cannot give its data, network or measure.
    #[error("workload {name}: {source}")]
    Workload {
        /// Name of the workload.
        name: String,
        /// Why.
        source: WorkloadError,
    },

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

    /// Worker processes ended without doing their part.
    #[error("{count} worker processes failed; the last lines of {}: {message}", log.display())]
    Workers {
        /// How many.
        count: usize,
        /// The log of the first that failed.
        log: PathBuf,
        /// Its last lines.
        message: String,
    },

    /// A signal stopped it.
    #[error("interrupted")]
    Interrupted,

    /// Another process writes to the folder.
    #[error(
        "another process is at work in {}; wait for it, or choose another folder with --out",
        path.display()
    )]
    Locked {
        /// The folder.
        path: PathBuf,
    },

    /// The signals that end a process cannot be caught.
    #[error("cannot catch signals: {0}")]
    Signals(std::io::Error),

    /// The results could not be encoded.
    #[error("cannot encode the results: {0}")]
    Json(#[from] serde_json::Error),
}

impl BenchError {
    /// Turns an error of the system into one that names the file.
    pub fn file(doing: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| BenchError::File {
            doing,
            path,
            source,
        }
    }

    /// The exit code, as [`osculate_program::exit`] has them.
    pub fn exit_code(&self) -> u8 {
        match self {
            // Results that cannot be kept are no mistake of who asked for them.
            BenchError::File { doing, .. } if ["write", "rename"].contains(doing) => exit::FAILURE,
            BenchError::Usage(_)
            | BenchError::Device(_)
            | BenchError::File { .. }
            | BenchError::Content { .. }
            | BenchError::Locked { .. }
            | BenchError::Recipe(_) => exit::USAGE,
            BenchError::Interrupted => exit::INTERRUPTED,
            _ => exit::FAILURE,
        }
    }
}
