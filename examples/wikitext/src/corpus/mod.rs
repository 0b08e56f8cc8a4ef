//! The texts.

mod folder;
mod jargon;
mod parquet;

use std::fmt::{Display, Formatter};
use std::path::Path;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::error::WikitextError;

/// A part of a corpus.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Part {
    /// What is trained on.
    Train,
    /// What is evaluated on while training.
    Valid,
    /// What is evaluated on at the end.
    Test,
}

impl Display for Part {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Part::Train => "train",
            Part::Valid => "valid",
            Part::Test => "test",
        })
    }
}

/// The texts of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Corpus {
    /// What is trained on.
    pub train: String,
    /// What is evaluated on.
    pub valid: String,
    /// What is evaluated on once, at the end, where there is a third part.
    pub test: Option<String>,
    /// Where the texts are from, in words.
    pub origin: String,
    /// What a user should know about the files, such as one that may be cut off.
    pub notes: Vec<String>,
}

impl Corpus {
    /// The Jargon File, which is part of the program: 90 % to train, 5 % to validate, 5 % to test.
    ///
    /// # Errors
    /// [`WikitextError::Io`] where the program itself is damaged.
    pub fn embedded() -> Result<Self, WikitextError> {
        jargon::corpus()
    }

    /// WikiText from a folder: `wiki.{train,valid,test}.tokens` or `.raw`, or parquet files as in
    /// `train-00000-of-00001.parquet`.
    ///
    /// With `train_part` [`Part::Train`] the test part may be missing. With [`Part::Valid`] the
    /// validation part is trained on and the test part evaluated on.
    ///
    /// # Errors
    /// [`WikitextError`] for files that are missing, empty or damaged. What may be wrong, such as a text
    /// without a last line break, is in the notes.
    pub fn from_folder(folder: &Path, train_part: Part) -> Result<Self, WikitextError> {
        let origin = folder.display().to_string();
        let mut notes = Vec::new();
        match train_part {
            Part::Train => Ok(Self {
                train: folder::read(folder, Part::Train, &mut notes)?,
                valid: folder::read(folder, Part::Valid, &mut notes)?,
                test: match folder::read(folder, Part::Test, &mut notes) {
                    Ok(test) => Some(test),
                    Err(WikitextError::MissingPart { .. }) => None,
                    Err(error) => return Err(error),
                },
                origin,
                notes,
            }),
            Part::Valid => Ok(Self {
                train: folder::read(folder, Part::Valid, &mut notes)?,
                valid: folder::read(folder, Part::Test, &mut notes)?,
                test: None,
                origin: format!(
                    "{origin}, trained on its validation part, evaluated on its test part"
                ),
                notes,
            }),
            Part::Test => Err(WikitextError::Setting {
                name: "train_part",
                value: train_part.to_string(),
                expected: "train or valid: the test part is for evaluation",
            }),
        }
    }

    /// Length and checksum of all texts: two corpora with one fingerprint are the same.
    pub fn fingerprint(&self) -> String {
        let mut crc = crc32fast::Hasher::new();
        for text in [Some(&self.train), Some(&self.valid), self.test.as_ref()] {
            // A length between the texts keeps a moved boundary apart.
            let text = text.map_or("", String::as_str);
            crc.update(&text.len().to_le_bytes());
            crc.update(text.as_bytes());
        }
        let test = self.test.as_ref().map_or(0, String::len);
        format!(
            "{} + {} + {test} bytes, checksum {:08x}",
            self.train.len(),
            self.valid.len(),
            crc.finalize()
        )
    }
}
