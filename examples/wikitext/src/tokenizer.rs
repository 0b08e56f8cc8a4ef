//! Texts as numbers.

use std::path::{Path, PathBuf};

use osculate_program::{caught, write_whole};
use serde::{Deserialize, Serialize};
use tokenizers::Tokenizer as Library;
use tokenizers::models::TrainerWrapper;
use tokenizers::models::bpe::{BPE, BpeTrainerBuilder};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;

use crate::error::WikitextError;

/// Which tokenizer a run uses.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TokenizerConfig {
    /// Every byte is a token: 256 of them.
    #[default]
    Bytes,
    /// Byte-pair encoding of bytes, trained on the training part.
    Bpe {
        /// Tokens in the vocabulary, 256 bytes included.
        vocab: usize,
    },
    /// A `tokenizer.json`.
    File {
        /// The file.
        path: PathBuf,
    },
}

/// A tokenizer.
#[derive(Debug, Clone)]
pub struct Tokenizer {
    kind: Kind,
}

#[derive(Debug, Clone)]
enum Kind {
    Bytes,
    Library {
        tokenizer: Box<Library>,
        name: String,
    },
}

/// Name of a tokenizer's file in the output folder.
pub const TOKENIZER_FILE: &str = "tokenizer.json";
/// Tokens of the byte-level tokenizer.
const BYTES: usize = 256;
/// Lines that are encoded together.
const LINES: usize = 8192;

impl Tokenizer {
    /// The byte-level tokenizer.
    pub fn bytes() -> Self {
        Self { kind: Kind::Bytes }
    }

    /// Trains byte-pair encoding on a text, as GPT-2's: words with the space before them, no token
    /// for what is unknown.
    ///
    /// # Errors
    /// [`WikitextError::Setting`] for a vocabulary that cannot hold the bytes, and
    /// [`WikitextError::Tokenizer`].
    pub fn train_bpe(text: &str, vocab: usize) -> Result<Self, WikitextError> {
        if vocab < BYTES {
            return Err(WikitextError::Setting {
                name: "vocab",
                value: vocab.to_string(),
                expected: "at least 256, one for each byte",
            });
        }
        let name = format!("byte-pair encoding of {vocab} tokens");
        let mut tokenizer = Library::new(BPE::default());
        tokenizer
            .with_pre_tokenizer(Some(ByteLevel::new(false, true, true)))
            .with_decoder(Some(ByteLevel::default()));
        let mut trainer = TrainerWrapper::from(
            BpeTrainerBuilder::new()
                .show_progress(false)
                .vocab_size(vocab)
                .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
                .build(),
        );
        let trained = tokenizer.train(&mut trainer, text.split_inclusive('\n'));
        if let Err(error) = trained {
            return Err(failed(&name, error));
        }
        Ok(Self {
            kind: Kind::Library {
                tokenizer: Box::new(tokenizer),
                name,
            },
        })
    }

    /// Reads a `tokenizer.json`.
    ///
    /// # Errors
    /// [`WikitextError::Tokenizer`].
    pub fn from_file(path: &Path) -> Result<Self, WikitextError> {
        let name = path.display().to_string();
        // The library panics on some files that are JSON and none of its own.
        let mut tokenizer = caught(|| Library::from_file(path))
            .map_err(|message| WikitextError::Tokenizer {
                name: name.clone(),
                message,
            })?
            .map_err(|error| failed(&name, error))?;
        // A file made for a model of limited length would cut every line, or fill it up.
        tokenizer
            .with_truncation(None)
            .map_err(|error| failed(&name, error))?
            .with_padding(None);
        Ok(Self {
            kind: Kind::Library {
                tokenizer: Box::new(tokenizer),
                name,
            },
        })
    }

    /// Writes a `tokenizer.json` to a folder, whole or not at all; nothing for the byte-level
    /// tokenizer.
    ///
    /// # Errors
    /// [`WikitextError::Tokenizer`] and [`WikitextError::Io`].
    pub fn save(&self, folder: &Path) -> Result<(), WikitextError> {
        let Kind::Library { tokenizer, name } = &self.kind else {
            return Ok(());
        };
        let json = tokenizer
            .to_string(false)
            .map_err(|error| failed(name, error))?;
        let path = folder.join(TOKENIZER_FILE);
        write_whole(&path, json.as_bytes()).map_err(WikitextError::io(&path))
    }

    /// Size of the vocabulary and a checksum: two tokenizers with one fingerprint are the same.
    pub fn fingerprint(&self) -> String {
        let mut crc = crc32fast::Hasher::new();
        // The order of a vocabulary in the file is not that of its making.
        let mut tokens: Vec<(String, u32)> = match &self.kind {
            Kind::Bytes => Vec::new(),
            Kind::Library { tokenizer, .. } => tokenizer.get_vocab(true).into_iter().collect(),
        };
        tokens.sort_unstable();
        for (token, id) in tokens {
            crc.update(token.as_bytes());
            crc.update(&id.to_le_bytes());
        }
        format!("{} tokens, checksum {:08x}", self.vocab(), crc.finalize())
    }

    /// Tokens in the vocabulary.
    pub fn vocab(&self) -> usize {
        match &self.kind {
            Kind::Bytes => BYTES,
            // Numbers may have gaps: what counts is the largest.
            Kind::Library { tokenizer, .. } => {
                let ids = tokenizer.get_vocab(true);
                ids.values().max().map_or(0, |id| *id as usize + 1)
            }
        }
    }

    /// The tokens of a text, without special tokens around it.
    ///
    /// # Errors
    /// [`WikitextError::Tokenizer`].
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, WikitextError> {
        let (tokenizer, name) = match &self.kind {
            Kind::Bytes => return Ok(text.bytes().map(u32::from).collect()),
            Kind::Library { tokenizer, name } => (tokenizer, name),
        };
        let lines: Vec<&str> = text.split_inclusive('\n').collect();
        let mut ids = Vec::new();
        for lines in lines.chunks(LINES) {
            let encoded = tokenizer
                .encode_batch_fast(lines.to_vec(), false)
                .map_err(|error| failed(name, error))?;
            for line in encoded {
                ids.extend_from_slice(line.get_ids());
            }
        }
        Ok(ids)
    }

    /// The text of tokens; bytes that make no character become `�`.
    ///
    /// # Errors
    /// [`WikitextError::Tokenizer`].
    pub fn decode(&self, ids: &[u32]) -> Result<String, WikitextError> {
        match &self.kind {
            Kind::Bytes => {
                let bytes: Vec<u8> = ids.iter().map(|id| *id as u8).collect();
                Ok(String::from_utf8_lossy(&bytes).into_owned())
            }
            Kind::Library { tokenizer, name } => tokenizer
                .decode(ids, false)
                .map_err(|error| failed(name, error)),
        }
    }
}

fn failed(name: &str, error: tokenizers::Error) -> WikitextError {
    WikitextError::Tokenizer {
        name: name.to_string(),
        message: error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = " = Ärger = \n\nthe hack, the hacker, the hacking: €5 \u{1F980}\nthe end\n";

    #[test]
    fn every_tokenizer_gives_the_text_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(TOKENIZER_FILE);
        let text = TEXT.repeat(20);
        let bpe = Tokenizer::train_bpe(&text, 300).unwrap();
        bpe.save(folder.path()).unwrap();
        let file = Tokenizer::from_file(&path).unwrap();
        assert_eq!(file.fingerprint(), bpe.fingerprint());
        let smaller = Tokenizer::train_bpe(&text, 280).unwrap();
        assert_ne!(smaller.fingerprint(), bpe.fingerprint());
        assert_eq!(file.encode(TEXT).unwrap(), bpe.encode(TEXT).unwrap());
        for tokenizer in [Tokenizer::bytes(), bpe.clone(), file] {
            let ids = tokenizer.encode(TEXT).unwrap();
            assert!(ids.iter().all(|id| (*id as usize) < tokenizer.vocab()));
            assert_eq!(tokenizer.decode(&ids).unwrap(), TEXT);
        }
        assert!(bpe.vocab() > 256 && bpe.vocab() <= 300);
        assert!(bpe.encode(TEXT).unwrap().len() < TEXT.len() / 2);
        // What was not in the training text falls back to bytes.
        assert_eq!(bpe.decode(&bpe.encode("日本").unwrap()).unwrap(), "日本");
    }

    #[test]
    fn a_file_for_short_texts_cuts_nothing_and_fills_nothing_up() {
        use tokenizers::{PaddingParams, PaddingStrategy, TruncationParams};

        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(TOKENIZER_FILE);
        let bpe = Tokenizer::train_bpe(&TEXT.repeat(20), 300).unwrap();
        let Kind::Library { tokenizer, .. } = &bpe.kind else {
            panic!("it is a library's tokenizer");
        };
        let mut short = tokenizer.as_ref().clone();
        let truncation = TruncationParams {
            max_length: 4,
            ..TruncationParams::default()
        };
        short.with_truncation(Some(truncation)).unwrap();
        short.with_padding(Some(PaddingParams {
            strategy: PaddingStrategy::Fixed(4),
            ..PaddingParams::default()
        }));
        short.save(&path, false).unwrap();
        let file = Tokenizer::from_file(&path).unwrap();
        assert_eq!(file.encode(TEXT).unwrap(), bpe.encode(TEXT).unwrap());
    }

    #[test]
    fn what_is_wrong_is_said() {
        assert!(matches!(
            Tokenizer::train_bpe(TEXT, 10),
            Err(WikitextError::Setting { .. })
        ));
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokenizer.json");
        assert!(Tokenizer::from_file(&path).is_err());
        std::fs::write(&path, "{\"model\": ").unwrap();
        let error = Tokenizer::from_file(&path).unwrap_err().to_string();
        assert!(error.contains("tokenizer.json"), "{error}");
    }
}
