//! The flags.

use std::path::{Path, PathBuf};

use burn::module::Module;
use clap::{Args, Parser};
use osculate_program::exit;
use osculate_train::trainer::{Finished, TrainerArgs, TrainerError, listed};

use crate::config::{Config, Size};
use crate::corpus::{Corpus, Part};
use crate::error::WikitextError;
use crate::model::Transformer;
use crate::sample::{Sampling, sample};
use crate::task::LanguageModel;
use crate::tokenizer::{TOKENIZER_FILE, Tokenizer, TokenizerConfig};

/// Trains a transformer language model on WikiText or on the embedded Jargon File.
#[derive(Debug, Parser)]
#[command(version, after_help = exit::HELP)]
pub struct Cli {
    #[command(flatten)]
    run: TrainerArgs,
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    sample: SampleArgs,
}

/// Flags of text and model.
#[derive(Debug, Args)]
#[command(next_help_heading = "Text and model")]
struct ModelArgs {
    /// Folder with wiki.{train,valid,test}.tokens or .raw, or train-*.parquet and so on. Default: the
    /// embedded Jargon File. With --resume it says where the texts are now.
    #[arg(long, value_name = "FOLDER")]
    data: Option<PathBuf>,

    /// Part to train on: `valid` trains on the validation part and evaluates on the test part.
    #[arg(long, value_enum)]
    train_part: Option<Part>,

    /// `bytes`, `bpe` (trained on the text, see --vocab), or the path of a tokenizer.json.
    #[arg(long, value_name = "KIND")]
    tokenizer: Option<String>,

    /// Tokens of `--tokenizer bpe`. Default 8192.
    #[arg(long, value_name = "TOKENS")]
    vocab: Option<usize>,

    /// Size of the model. Default tiny.
    #[arg(long, value_enum)]
    size: Option<Size>,

    /// Features of a token. Default: by size.
    #[arg(long, value_name = "FEATURES")]
    width: Option<usize>,

    /// Blocks of the transformer. Default: by size.
    #[arg(long)]
    layers: Option<usize>,

    /// Heads of attention. Default: by size.
    #[arg(long)]
    heads: Option<usize>,

    /// Tokens in a sequence. Default: by size.
    #[arg(long, value_name = "TOKENS")]
    length: Option<usize>,

    /// Sequences in a batch. Default: by size.
    #[arg(long, value_name = "SEQUENCES")]
    batch: Option<usize>,

    /// Share of activations that are dropped. Default 0.
    #[arg(long, value_name = "SHARE")]
    dropout: Option<f64>,

    /// Evaluate on so many sequences, evenly spread, instead of on all.
    #[arg(long, value_name = "SEQUENCES")]
    evaluate_sequences: Option<usize>,

    /// Device, such as flex, wgpu or cuda:1. Default: burn's, which BURN_DEVICE sets.
    #[arg(long)]
    device: Option<String>,

    /// Recompute activations that are cheap to compute instead of keeping them.
    #[arg(long)]
    gradient_checkpointing: bool,
}

/// Flags of the text that is drawn at the end.
#[derive(Debug, Args)]
#[command(next_help_heading = "Sample at the end")]
struct SampleArgs {
    /// Tokens to draw, 0 for none.
    #[arg(long, value_name = "TOKENS", default_value_t = 300)]
    sample: usize,

    /// Text to continue.
    #[arg(long, default_value = "The ")]
    prompt: String,

    /// Divides the logits; 0 takes the likeliest token.
    #[arg(long, default_value_t = 0.8)]
    temperature: f64,

    /// Draw from so many of the likeliest tokens, 0 for all.
    #[arg(long, value_name = "TOKENS", default_value_t = 40)]
    top_k: usize,

    /// Seed of the draws.
    #[arg(long, default_value_t = 0)]
    sample_seed: u64,
}

/// Tokens of byte-pair encoding where no number is given.
const VOCAB: usize = 8192;

/// What a run of the program gives.
#[derive(Debug)]
pub struct Outcome {
    /// Lines for standard output.
    pub text: String,
    /// Exit code.
    pub code: u8,
}

impl Cli {
    /// Trains, tests and samples.
    ///
    /// # Errors
    /// [`WikitextError`].
    pub fn train(&self) -> Result<Outcome, WikitextError> {
        let mut config = self.config()?;
        config.validate()?;
        self.sample.sampling().validate()?;
        let device = osculate::device::select(config.device.as_deref())?.autodiff();
        let device = if config.gradient_checkpointing {
            device.gradient_checkpointing()
        } else {
            device
        };
        let corpus = match &config.data {
            Some(folder) if self.run.resume && !folder.is_dir() => {
                return Err(WikitextError::Setting {
                    name: "data",
                    value: folder.display().to_string(),
                    expected: "the folder of the texts; where they have moved, name it with --data",
                });
            }
            Some(folder) => Corpus::from_folder(folder, config.train_part)?,
            None => Corpus::embedded()?,
        };
        for note in &corpus.notes {
            tracing::warn!("{note}");
        }
        let tokenizer = self.tokenizer(&mut config, &corpus)?;
        let task = LanguageModel::new(&config, &corpus, tokenizer, &device)?;
        tracing::info!(
            "{}: {} tokens to train on, {} in the vocabulary",
            corpus.origin,
            task.train_tokens(),
            task.tokenizer().vocab()
        );
        let trainer = self.run.trainer(&task, &config.trainer, &config)?;
        let finished = trainer.with_free(Config::FREE).run()?;
        let text = self.report(&task, &finished)?;
        Ok(Outcome {
            text,
            code: finished.summary.ending.exit_code(),
        })
    }

    fn config(&self) -> Result<Config, WikitextError> {
        let given = &self.model;
        let size = given.size.unwrap_or(Size::Tiny);
        self.run.configure(
            || Config::new(size),
            |config: &mut Config| {
                if let Some(size) = given.size
                    && size != config.size
                {
                    config.resize(size);
                }
                if let Some(folder) = &given.data {
                    config.data = Some(absolute(folder)?);
                }
                config.train_part = given.train_part.unwrap_or(config.train_part);
                config.tokenizer = given.tokenizer(config.tokenizer.clone())?;
                config.width = given.width.unwrap_or(config.width);
                config.layers = given.layers.unwrap_or(config.layers);
                config.heads = given.heads.unwrap_or(config.heads);
                config.length = given.length.unwrap_or(config.length);
                config.batch = given.batch.unwrap_or(config.batch);
                config.dropout = given.dropout.unwrap_or(config.dropout);
                config.evaluate_sequences = given.evaluate_sequences.or(config.evaluate_sequences);
                if let Some(device) = &given.device {
                    config.device = Some(device.clone());
                }
                config.gradient_checkpointing |= given.gradient_checkpointing;
                if !self.run.resume {
                    config.vocabulary = None;
                }
                Ok(self.run.apply(&mut config.trainer)?)
            },
        )
    }

    /// The tokenizer: for a resumed run the one that is kept in its folder.
    fn tokenizer(&self, config: &mut Config, corpus: &Corpus) -> Result<Tokenizer, WikitextError> {
        let kept = self.run.out.join(TOKENIZER_FILE);
        let make = |config: &Config| match &config.tokenizer {
            TokenizerConfig::Bytes => Ok(Tokenizer::bytes()),
            TokenizerConfig::Bpe { vocab } => Tokenizer::train_bpe(&corpus.train, *vocab),
            TokenizerConfig::File { path } => Tokenizer::from_file(path),
        };
        let Some(then) = config.vocabulary.clone() else {
            let tokenizer = make(config)?;
            config.vocabulary = Some(tokenizer.fingerprint());
            return Ok(tokenizer);
        };
        let tokenizer = if config.tokenizer != TokenizerConfig::Bytes && kept.exists() {
            Tokenizer::from_file(&kept)?
        } else {
            make(config)?
        };
        let now = tokenizer.fingerprint();
        if now == then {
            return Ok(tokenizer);
        }
        Err(WikitextError::OtherTokenizer {
            out: self.run.out.display().to_string(),
            now,
            then,
        })
    }

    fn report(
        &self,
        task: &LanguageModel,
        finished: &Finished<Transformer>,
    ) -> Result<String, WikitextError> {
        let mut text = finished.summary.to_string();
        if finished.summary.ending.exit_code() != 0 {
            return Ok(text);
        }
        let model = finished.evaluation_model.valid();
        let tested = task.test(&model).map_err(|source| TrainerError::Task {
            what: "the test",
            source,
        })?;
        if let Some(metrics) = tested {
            text.push_str(&format!("\ntest part, last weights: {}", listed(&metrics)));
        }
        let sampling = self.sample.sampling();
        if sampling.tokens > 0 {
            let (tokenizer, prompt) = (task.tokenizer(), &self.sample.prompt);
            let drawn = sample(&model, tokenizer, prompt, task.length(), &sampling)?;
            text.push_str(&format!("\n\n--- a sample ---\n{drawn}"));
        }
        Ok(text)
    }
}

/// The path from the root: a run may be resumed from another folder.
fn absolute(path: &Path) -> Result<PathBuf, WikitextError> {
    std::path::absolute(path).map_err(WikitextError::io(path))
}

impl SampleArgs {
    fn sampling(&self) -> Sampling {
        Sampling {
            tokens: self.sample,
            temperature: self.temperature,
            top_k: self.top_k,
            seed: self.sample_seed,
        }
    }
}

impl ModelArgs {
    fn tokenizer(&self, before: TokenizerConfig) -> Result<TokenizerConfig, WikitextError> {
        let kind = match self.tokenizer.as_deref() {
            None => before,
            Some("bytes") => TokenizerConfig::Bytes,
            Some("bpe") => match before {
                TokenizerConfig::Bpe { vocab } => TokenizerConfig::Bpe { vocab },
                _ => TokenizerConfig::Bpe { vocab: VOCAB },
            },
            Some(path) => TokenizerConfig::File {
                path: absolute(Path::new(path))?,
            },
        };
        match (kind, self.vocab) {
            (TokenizerConfig::Bpe { .. }, Some(vocab)) => Ok(TokenizerConfig::Bpe { vocab }),
            (kind, None) => Ok(kind),
            (_, Some(vocab)) => Err(WikitextError::Setting {
                name: "vocab",
                value: vocab.to_string(),
                expected: "--tokenizer bpe beside it: other vocabularies have the size they have",
            }),
        }
    }
}
