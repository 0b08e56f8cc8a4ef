//! Why a text cannot be trained on.

use std::path::Path;

use osculate_problems::jargon::JargonError;
use osculate_program::exit;
use osculate_train::trainer::TrainerError;
use thiserror::Error;

use crate::corpus::Part;

/// Why the program cannot go on.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum WikitextError {
    /// A part of the corpus is not there.
    #[error(
        "{folder} has no {part} part; looked for {}. {found} \
         WikiText-2 and WikiText-103 are published as wiki.train.tokens, wiki.valid.tokens and \
         wiki.test.tokens (or .raw), and as parquet files (train-00000-of-00001.parquet, \
         validation-..., test-...) in the Hugging Face dataset Salesforce/wikitext: put them into the \
         folder. `--train-part valid` trains on the validation part and evaluates on the test part",
        looked_for.join(", ")
    )]
    MissingPart {
        /// The folder.
        folder: String,
        /// The part.
        part: Part,
        /// Names of files that would do.
        looked_for: Vec<String>,
        /// What the folder holds instead, as a sentence.
        found: String,
    },

    /// One of the numbered files of a part is not there.
    #[error(
        "{folder} has {present} of the {expected} parquet files of the {part} part; {missing} is missing"
    )]
    MissingShard {
        /// The folder.
        folder: String,
        /// The part.
        part: Part,
        /// How many are there.
        present: usize,
        /// How many there should be.
        expected: usize,
        /// The first that is missing.
        missing: String,
    },

    /// A file could not be read.
    #[error("cannot read {path}: {source}")]
    Io {
        /// The file.
        path: String,
        /// Why.
        source: std::io::Error,
    },

    /// The embedded text could not be read.
    #[error(transparent)]
    Embedded(#[from] JargonError),

    /// A file holds no text.
    #[error("{path} is empty, expected the text of a part")]
    Empty {
        /// The file.
        path: String,
    },

    /// A text is not UTF-8.
    #[error(
        "{path} is not UTF-8 text: byte {at} of {bytes} begins no character; the file is damaged or of another format"
    )]
    NotUtf8 {
        /// The file.
        path: String,
        /// Offset of the first wrong byte.
        at: usize,
        /// Size of the file.
        bytes: usize,
    },

    /// The parquet files of a part belong to several sets.
    #[error("{folder} holds parquet files of the {part} part from several sets: {}", files.join(", "))]
    MixedShards {
        /// The folder.
        folder: String,
        /// The part.
        part: Part,
        /// The files.
        files: Vec<String>,
    },

    /// A parquet file cannot be decoded.
    #[error("{path} is not a readable parquet file: {message}")]
    Parquet {
        /// The file.
        path: String,
        /// Why.
        message: String,
    },

    /// A parquet file has no column of texts.
    #[error("{path} has no column `text` of strings; its columns are {}", columns.join(", "))]
    NoTextColumn {
        /// The file.
        path: String,
        /// Its columns, with their types.
        columns: Vec<String>,
    },

    /// A part is too short for a sequence.
    #[error(
        "the {part} part has {tokens} tokens, expected at least {needed} for sequences of {length}"
    )]
    TooShort {
        /// The part.
        part: Part,
        /// How many tokens it has.
        tokens: usize,
        /// How many are needed.
        needed: usize,
        /// Tokens in a sequence.
        length: usize,
    },

    /// A tokenizer could not be made, read or used.
    #[error("the tokenizer {name}: {message}")]
    Tokenizer {
        /// The file, or how the tokenizer is made.
        name: String,
        /// Why.
        message: String,
    },

    /// A setting makes no sense.
    #[error("{name} = {value} is invalid, expected {expected}")]
    Setting {
        /// Name of the setting.
        name: &'static str,
        /// The value.
        value: String,
        /// What would be valid.
        expected: &'static str,
    },

    /// The tokenizer is not the one that the run was started with.
    #[error(
        "the tokenizer is not the one that the run in {out} was started with: {now}, then {then}"
    )]
    OtherTokenizer {
        /// The output folder.
        out: String,
        /// Fingerprint of the tokenizer.
        now: String,
        /// Fingerprint of the run's tokenizer.
        then: String,
    },

    /// The device cannot be had.
    #[error(transparent)]
    Device(#[from] osculate::device::DeviceError),

    /// The run failed.
    #[error(transparent)]
    Trainer(#[from] TrainerError),
}

impl WikitextError {
    /// The exit code of the program, as [`osculate_program::exit`] has them.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Trainer(error) => error.exit_code(),
            _ => exit::USAGE,
        }
    }

    pub(crate) fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Self + use<> {
        let path = path.display().to_string();
        move |source| Self::Io { path, source }
    }
}
