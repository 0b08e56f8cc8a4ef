//! Settings of a run: what `config.json` holds.

use std::path::PathBuf;

use clap::ValueEnum;
use osculate::optim::registry::OptimizerKind;
use osculate_train::trainer::{Length, TrainerConfig};
use serde::{Deserialize, Serialize};

use crate::corpus::Part;
use crate::error::WikitextError;
use crate::model::TransformerConfig;
use crate::tokenizer::TokenizerConfig;

/// Size of the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
pub enum Size {
    /// 2 layers of width 128, sequences of 128 tokens, 16 of them in a batch: minutes on a CPU.
    #[serde(rename = "tiny")]
    Tiny,
    /// 6 layers of width 256, sequences of 256, 16 in a batch.
    #[serde(rename = "small")]
    Small,
    /// 12 layers of width 768, sequences of 1024, 8 in a batch: GPT-2's smallest, 124 million
    /// weights with its vocabulary. For GPUs.
    #[serde(rename = "125M")]
    #[value(name = "125M")]
    M125,
}

/// Peak learning rate of SOAP: the better of 0.003 and 0.01 after 150 steps of size `tiny`.
pub const LR: f64 = 1e-2;

/// What a size stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Shape {
    width: usize,
    layers: usize,
    heads: usize,
    length: usize,
    batch: usize,
}

impl Size {
    fn shape(self) -> Shape {
        match self {
            Size::Tiny => Shape {
                width: 128,
                layers: 2,
                heads: 4,
                length: 128,
                batch: 16,
            },
            Size::Small => Shape {
                width: 256,
                layers: 6,
                heads: 8,
                length: 256,
                batch: 16,
            },
            Size::M125 => Shape {
                width: 768,
                layers: 12,
                heads: 12,
                length: 1024,
                batch: 8,
            },
        }
    }
}

/// Settings of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The trainer's settings.
    pub trainer: TrainerConfig,
    /// Folder of WikiText's files; `None` for the embedded text.
    pub data: Option<PathBuf>,
    /// Part to train on.
    pub train_part: Part,
    /// The tokenizer.
    pub tokenizer: TokenizerConfig,
    /// Fingerprint of the tokenizer, once it was made.
    pub vocabulary: Option<String>,
    /// Size of the model, from which the next five settings come where they are not given.
    pub size: Size,
    /// Features of a token.
    pub width: usize,
    /// Blocks.
    pub layers: usize,
    /// Heads of attention.
    pub heads: usize,
    /// Tokens in a sequence.
    pub length: usize,
    /// Sequences in a batch.
    pub batch: usize,
    /// Share of activations that are dropped.
    pub dropout: f64,
    /// Device by name; `None` for burn's default.
    pub device: Option<String>,
    /// Whether activations that are cheap to compute are made again in the backward pass.
    pub gradient_checkpointing: bool,
    /// Sequences of the part that is evaluated on, evenly spread; `None` for all of it.
    pub evaluate_sequences: Option<usize>,
}

impl Config {
    /// Settings that a resumed run may change: texts and tokenizer are known by what they are.
    pub const FREE: [&str; 2] = ["data", "tokenizer.file.path"];

    /// Byte-level tokens of the embedded text, ten passes with SOAP at [`LR`].
    pub fn new(size: Size) -> Self {
        let shape = size.shape();
        let mut trainer = TrainerConfig::new(OptimizerKind::SOAP);
        trainer.length = Length::Epochs(10);
        trainer.lr = Some(LR);
        Self {
            trainer,
            data: None,
            train_part: Part::Train,
            tokenizer: TokenizerConfig::default(),
            vocabulary: None,
            size,
            width: shape.width,
            layers: shape.layers,
            heads: shape.heads,
            length: shape.length,
            batch: shape.batch,
            dropout: 0.0,
            device: None,
            gradient_checkpointing: false,
            evaluate_sequences: None,
        }
    }

    /// Takes over all that another size stands for.
    pub fn resize(&mut self, size: Size) {
        let shape = size.shape();
        self.size = size;
        self.width = shape.width;
        self.layers = shape.layers;
        self.heads = shape.heads;
        self.length = shape.length;
        self.batch = shape.batch;
    }

    /// Checks the settings that are not the trainer's.
    ///
    /// # Errors
    /// [`WikitextError::Setting`].
    pub fn validate(&self) -> Result<(), WikitextError> {
        let counts = [
            ("layers", self.layers),
            ("heads", self.heads),
            ("length", self.length),
            ("batch", self.batch),
            ("evaluate_sequences", self.evaluate_sequences.unwrap_or(1)),
        ];
        for (name, count) in counts {
            if count == 0 {
                return Err(WikitextError::Setting {
                    name,
                    value: count.to_string(),
                    expected: "at least 1",
                });
            }
        }
        if self.width == 0 || !self.width.is_multiple_of(2 * self.heads) {
            return Err(WikitextError::Setting {
                name: "width",
                value: self.width.to_string(),
                expected: "a multiple of twice the number of heads",
            });
        }
        if self.train_part != Part::Train && self.data.is_none() {
            return Err(WikitextError::Setting {
                name: "train_part",
                value: self.train_part.to_string(),
                expected: "--data beside it: the embedded text has a training part",
            });
        }
        if !(0.0..1.0).contains(&self.dropout) {
            return Err(WikitextError::Setting {
                name: "dropout",
                value: self.dropout.to_string(),
                expected: "a share from 0 to below 1",
            });
        }
        Ok(())
    }

    /// The shape of the model for a vocabulary.
    pub fn model(&self, vocab: usize) -> TransformerConfig {
        TransformerConfig {
            vocab,
            width: self.width,
            layers: self.layers,
            heads: self.heads,
            dropout: self.dropout,
        }
    }
}
