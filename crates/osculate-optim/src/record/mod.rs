//! Saved state: keyed by parameter path, element types kept.

mod keep_dtype;
mod settled;
mod store;

pub use keep_dtype::{KeepDtype, Kept, KeptState};
pub use settled::settled;
pub(crate) use store::StateStore;

use std::collections::BTreeMap;
use std::path::Path;

use burn::tensor::{Bytes, DType, TensorData};
use burn_pack::{Reader, Scalar, Writer};
use thiserror::Error;

/// Why a state could not be saved, read or used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RecordError {
    /// The record belongs to another optimizer.
    #[error("the record is of {found:?}, expected {expected:?}")]
    WrongOptimizer {
        /// Name of the optimizer that loads.
        expected: String,
        /// Name in the record.
        found: String,
    },

    /// The record lacks an entry, or holds one of the wrong kind.
    #[error("the record has no valid entry {name:?}")]
    Missing {
        /// Name of the entry.
        name: String,
    },

    /// The record holds a state field that the optimizer does not have.
    #[error("the record has an unknown entry {name:?}; the optimizer has {}", declared.join(", "))]
    Unknown {
        /// Name of the entry.
        name: String,
        /// Fields of the optimizer.
        declared: Vec<String>,
    },

    /// A state tensor does not fit the parameter of its path.
    #[error("state {field:?} of {path} has {found}, expected {expected}")]
    Mismatch {
        /// Path of the parameter.
        path: String,
        /// Name of the state tensor.
        field: String,
        /// What the parameter needs.
        expected: String,
        /// What the record holds.
        found: String,
    },

    /// The base optimizer would change the state while loading it: burn 0.22.1 reloads state of
    /// any type as the device's default type.
    #[error(
        "state {name:?} of type {saved:?} would be reloaded as {reloaded:?}; \
         wrap the base optimizer in `KeepDtype`, or make {saved:?} the device's default type"
    )]
    DtypeLost {
        /// Name of the state tensor.
        name: String,
        /// Element type in the record.
        saved: DType,
        /// Element type after loading.
        reloaded: DType,
    },

    /// The base optimizer dropped part of the state, or read it back differently.
    #[error("the base optimizer does not take over the state {name:?}")]
    NotTakenOver {
        /// Name of the state tensor or scalar.
        name: String,
    },

    /// A file could not be written or read.
    #[error("{action} {path}: {message}")]
    File {
        /// What was attempted.
        action: &'static str,
        /// The file.
        path: String,
        /// Why it failed.
        message: String,
    },

    /// Bytes are not a record.
    #[error("not an optimizer record: {message}")]
    Format {
        /// What is wrong.
        message: String,
    },
}

/// The saved state of one optimizer.
///
/// Equal records have equal state, wherever the noise of their runs starts from.
#[derive(Debug, Clone)]
pub struct StateRecord {
    optimizer: String,
    pub(crate) tensors: BTreeMap<String, TensorData>,
    pub(crate) scalars: BTreeMap<String, Scalar>,
    /// Shape and element type of the parameters that have state, by path.
    pub(crate) parameters: BTreeMap<String, String>,
}

/// What a run has drawn for its noise, which may be any number.
pub(crate) const NOISE: &str = "noise";
/// The most that anything else in a run is counted to: what is counted on must not overflow.
const MOST: u64 = 1 << 53;

impl PartialEq for StateRecord {
    fn eq(&self, other: &Self) -> bool {
        let counted = |record: &Self| {
            let mut scalars = record.scalars.clone();
            scalars.remove(NOISE);
            scalars
        };
        self.optimizer == other.optimizer
            && self.parameters == other.parameters
            && self.tensors == other.tensors
            && counted(self) == counted(other)
    }
}

const OPTIMIZER_KEY: &str = "osculate.optimizer";
/// Before the path of a parameter in the metadata.
const PARAMETER_KEY: &str = "osculate.parameter.";

impl StateRecord {
    pub(crate) fn new(optimizer: &str) -> Self {
        Self {
            optimizer: optimizer.to_string(),
            tensors: BTreeMap::new(),
            scalars: BTreeMap::new(),
            parameters: BTreeMap::new(),
        }
    }

    /// Name of the optimizer that the state belongs to.
    pub fn optimizer(&self) -> &str {
        &self.optimizer
    }

    /// Names of the state tensors, `path#field`.
    pub fn tensor_names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// A state tensor by its name.
    pub fn tensor(&self, name: &str) -> Option<&TensorData> {
        self.tensors.get(name)
    }

    /// Bytes of all state tensors.
    pub fn num_bytes(&self) -> usize {
        self.tensors
            .values()
            .map(|data| data.as_bytes().len())
            .sum()
    }

    pub(crate) fn expect(&self, optimizer: &str) -> Result<(), RecordError> {
        if self.optimizer == optimizer {
            Ok(())
        } else {
            Err(RecordError::WrongOptimizer {
                expected: optimizer.to_string(),
                found: self.optimizer.clone(),
            })
        }
    }

    pub(crate) fn set_count(&mut self, name: &str, value: u64) {
        self.scalars.insert(name.to_string(), Scalar::UInt(value));
    }

    pub(crate) fn count(&self, name: &str) -> Result<u64, RecordError> {
        match self.scalars.get(name) {
            Some(Scalar::UInt(value)) => Ok(*value),
            _ => Err(RecordError::Missing {
                name: name.to_string(),
            }),
        }
    }

    /// All counters.
    pub(crate) fn counts(&self) -> impl Iterator<Item = (&str, u64)> {
        self.scalars.iter().filter_map(|(name, value)| match value {
            Scalar::UInt(value) => Some((name.as_str(), *value)),
            _ => None,
        })
    }

    pub(crate) fn set_optional(&mut self, name: &str, value: Option<f64>) {
        if let Some(value) = value {
            self.scalars.insert(name.to_string(), Scalar::Float(value));
        }
    }

    /// The numbers whose names begin with a role.
    pub(crate) fn numbers(&self, role: &str) -> BTreeMap<String, f64> {
        let scalars = self.scalars.iter();
        let own = scalars.filter_map(|(name, value)| {
            let name = name.strip_prefix(role)?.strip_prefix('.')?;
            match value {
                Scalar::Float(value) => Some((name.to_string(), *value)),
                _ => None,
            }
        });
        own.collect()
    }

    pub(crate) fn optional(&self, name: &str) -> Option<f64> {
        match self.scalars.get(name) {
            Some(Scalar::Float(value)) => Some(*value),
            _ => None,
        }
    }

    /// The record as bytes in burn's pack format.
    ///
    /// # Errors
    /// [`RecordError::Format`].
    pub fn to_bytes(&self) -> Result<Vec<u8>, RecordError> {
        let bytes = self.writer().into_bytes().map_err(format_error)?;
        Ok(bytes.to_vec())
    }

    /// The record from bytes.
    ///
    /// # Errors
    /// [`RecordError::Format`].
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Self, RecordError> {
        let reader = Reader::from_bytes(Bytes::from_bytes_vec(bytes)).map_err(format_error)?;
        Self::from_reader(reader)
    }

    /// Writes the record to a file. The file is written under a temporary name and renamed, so
    /// that an interrupted write leaves an older file whole.
    ///
    /// # Errors
    /// [`RecordError::File`].
    pub fn save(&self, path: &Path) -> Result<(), RecordError> {
        self.writer()
            .auto_extension(false)
            .write_to_file(path)
            .map_err(|error| RecordError::File {
                action: "cannot write",
                path: path.display().to_string(),
                message: error.to_string(),
            })
    }

    /// Reads a record from a file.
    ///
    /// # Errors
    /// [`RecordError::File`], also where the file is not a record.
    pub fn load(path: &Path) -> Result<Self, RecordError> {
        let unreadable = |message: String| RecordError::File {
            action: "cannot read",
            path: path.display().to_string(),
            message,
        };
        let reader =
            Reader::from_file_exact(path).map_err(|error| unreadable(error.to_string()))?;
        Self::from_reader(reader).map_err(|error| unreadable(error.to_string()))
    }

    fn writer(&self) -> Writer {
        let tensors = self
            .tensors
            .iter()
            .map(|(name, data)| {
                let (bytes, shape, dtype) = data.clone().into_parts();
                burn_pack::Tensor::new(name.clone(), dtype, shape, None, bytes)
            })
            .collect();
        let mut writer = Writer::new(tensors).with_metadata(OPTIMIZER_KEY, &self.optimizer);
        for (name, value) in &self.scalars {
            writer = writer.with_scalar(name, *value);
        }
        for (path, parameter) in &self.parameters {
            writer = writer.with_metadata(&format!("{PARAMETER_KEY}{path}"), parameter);
        }
        writer
    }

    fn from_reader(reader: Reader) -> Result<Self, RecordError> {
        let optimizer = reader
            .metadata()
            .get(OPTIMIZER_KEY)
            .cloned()
            .ok_or_else(|| RecordError::Missing {
                name: OPTIMIZER_KEY.to_string(),
            })?;
        let parameters = reader.metadata().iter().filter_map(|(name, parameter)| {
            let path = name.strip_prefix(PARAMETER_KEY)?;
            Some((path.to_string(), parameter.clone()))
        });
        let parameters = parameters.collect();
        let scalars = reader.scalars().clone();
        let beyond = |(name, value): &(&String, &Scalar)| {
            *name != NOISE && matches!(value, Scalar::UInt(value) if *value > MOST)
        };
        if let Some((name, value)) = scalars.iter().find(beyond) {
            return Err(RecordError::Format {
                message: format!("{name} is {value:?}, expected a count of at most {MOST}"),
            });
        }
        let tensors = reader
            .into_tensors()
            .map_err(format_error)?
            .into_iter()
            .map(|tensor| {
                let (name, dtype, shape, _, bytes) = tensor.into_parts().map_err(format_error)?;
                Ok((name, TensorData::from_bytes(bytes, shape, dtype)))
            })
            .collect::<Result<_, RecordError>>()?;
        Ok(Self {
            optimizer,
            tensors,
            scalars,
            parameters,
        })
    }
}

impl RecordError {
    /// The state of a parameter that the model does not have.
    pub(crate) fn no_parameter(path: &str, field: &str) -> Self {
        RecordError::Mismatch {
            path: path.to_string(),
            field: field.to_string(),
            expected: "a parameter of this path in the model".to_string(),
            found: "none".to_string(),
        }
    }
}

pub(crate) fn format_error(error: burn_pack::Error) -> RecordError {
    RecordError::Format {
        message: error.to_string(),
    }
}
