//! The language model as a task of the trainer.

use std::cell::RefCell;
use std::path::Path;

use burn::tensor::{Device, Int, Tensor, TensorData};
use osculate::curvature::{Criterion, SupervisedBatch};
use osculate_train::trainer::{Batch, BatchAt, Judged, Metrics, Task, TaskError};

use crate::chunks::Chunks;
use crate::config::Config;
use crate::corpus::{Corpus, Part};
use crate::error::WikitextError;
use crate::model::{Transformer, TransformerConfig};
use crate::tokenizer::Tokenizer;

/// The metric by which weights are called best.
pub const BITS_PER_BYTE: &str = "bits_per_byte";

/// A part that is evaluated on.
#[derive(Debug, Clone)]
struct Held {
    chunks: Chunks,
    /// Bytes of the text that the targets stand for.
    bytes: usize,
    /// Words and line ends of the text, which word-level perplexities count.
    words: usize,
}

/// A text to learn and a text to be measured on.
pub struct LanguageModel {
    device: Device,
    model: TransformerConfig,
    tokenizer: Tokenizer,
    train: Chunks,
    valid: Held,
    test: Option<Held>,
    batch: usize,
    evaluate_sequences: Option<usize>,
    fingerprint: String,
    /// The order of the sequences in the pass under way, by its seed.
    order: RefCell<Option<(u64, Vec<usize>)>>,
}

impl LanguageModel {
    /// Cuts the texts of a corpus into sequences.
    ///
    /// # Errors
    /// [`WikitextError`] for a text that is too short, and for settings out of their range.
    pub fn new(
        config: &Config,
        corpus: &Corpus,
        tokenizer: Tokenizer,
        device: &Device,
    ) -> Result<Self, WikitextError> {
        config.validate()?;
        let length = config.length;
        let train = Chunks::new(tokenizer.encode(&corpus.train)?, length, Part::Train)?;
        let valid = Held::new(&corpus.valid, &tokenizer, length, Part::Valid)?;
        let test = match &corpus.test {
            Some(text) => Some(Held::new(text, &tokenizer, length, Part::Test)?),
            None => None,
        };
        Ok(Self {
            device: device.clone(),
            model: config.model(tokenizer.vocab()),
            tokenizer,
            train,
            valid,
            test,
            batch: config.batch,
            evaluate_sequences: config.evaluate_sequences,
            fingerprint: corpus.fingerprint(),
            order: RefCell::new(None),
        })
    }

    /// The tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// Tokens in a sequence.
    pub fn length(&self) -> usize {
        self.train.length()
    }

    /// Tokens of the training part.
    pub fn train_tokens(&self) -> usize {
        self.train.tokens().len()
    }

    /// Measures a model on the whole test part; `None` where there is none.
    ///
    /// # Errors
    /// As [`Task::evaluate`].
    pub fn test(&self, model: &Transformer) -> Result<Option<Metrics>, TaskError> {
        let measure = |held| self.measure(model, held, None);
        self.test.as_ref().map(measure).transpose()
    }

    /// The loss over a held-out part, as the usual metrics.
    fn measure(
        &self,
        model: &Transformer,
        held: &Held,
        limit: Option<usize>,
    ) -> Result<Metrics, TaskError> {
        let device = self.device.clone().inner();
        let count = held.chunks.len();
        let taken = limit.unwrap_or(count).min(count);
        let picked: Vec<usize> = (0..taken).map(|i| i * count / taken).collect();
        let (mut sum, mut targets) = (0.0, 0);
        let mut add = |inputs: &[u32], next: &[u32], length: usize| -> Result<(), TaskError> {
            let (inputs, next) = tensors(inputs, next, length, &device);
            let rows = next.dims()[0];
            let losses = Criterion::cross_entropy(next).per_sample(model.forward(inputs))?;
            sum += losses.sum().into_data().iter::<f64>().sum::<f64>();
            targets += rows;
            Ok(())
        };
        for indices in picked.chunks(self.batch) {
            let (inputs, next) = gathered(&held.chunks, indices);
            add(&inputs, &next, held.chunks.length())?;
        }
        let (inputs, next) = held.chunks.rest();
        if taken == count && !inputs.is_empty() {
            add(inputs, next, inputs.len())?;
        }
        // A part of the text has its share of the bytes and the words.
        let share = targets as f64 / (held.chunks.tokens().len() - 1) as f64;
        let bits = sum / std::f64::consts::LN_2;
        Ok(vec![
            (
                BITS_PER_BYTE.to_string(),
                bits / (share * held.bytes as f64),
            ),
            ("perplexity".to_string(), (sum / targets as f64).exp()),
            (
                "word_perplexity".to_string(),
                (sum / (share * held.words as f64)).exp(),
            ),
        ])
    }

    fn order<R>(&self, seed: u64, read: impl FnOnce(&[usize]) -> R) -> R {
        let mut order = self.order.borrow_mut();
        if !matches!(&*order, Some((of, _)) if *of == seed) {
            *order = Some((seed, self.train.shuffled(seed)));
        }
        read(order.as_ref().map_or(&[], |(_, order)| order))
    }
}

impl Held {
    fn new(
        text: &str,
        tokenizer: &Tokenizer,
        length: usize,
        part: Part,
    ) -> Result<Self, WikitextError> {
        let chunks = Chunks::new(tokenizer.encode(text)?, length, part)?;
        if tokenizer.decode(chunks.tokens())? != text {
            tracing::warn!(
                "the tokenizer changes the {part} part: bits per byte leave out what it drops"
            );
        }
        // The first token is no target.
        let first = tokenizer.decode(&chunks.tokens()[..1])?;
        let words = text.split_whitespace().count() + text.matches('\n').count();
        Ok(Self {
            chunks,
            bytes: text.len().saturating_sub(first.len()).max(1),
            words: words.max(1),
        })
    }
}

/// Sequences one after the other, with their targets.
fn gathered(chunks: &Chunks, indices: &[usize]) -> (Vec<u32>, Vec<u32>) {
    let (mut inputs, mut next) = (Vec::new(), Vec::new());
    for index in indices {
        let (tokens, after) = chunks.get(*index);
        inputs.extend_from_slice(tokens);
        next.extend_from_slice(after);
    }
    (inputs, next)
}

/// Inputs of shape `[sequences, length]` and targets of shape `[sequences * length]`.
fn tensors(
    inputs: &[u32],
    next: &[u32],
    length: usize,
    device: &Device,
) -> (Tensor<2, Int>, Tensor<1, Int>) {
    let as_ints = |tokens: &[u32]| -> Vec<i64> { tokens.iter().copied().map(i64::from).collect() };
    let inputs = TensorData::new(as_ints(inputs), [inputs.len() / length, length]);
    let next = TensorData::new(as_ints(next), [next.len()]);
    (
        Tensor::from_data(inputs, device),
        Tensor::from_data(next, device),
    )
}

impl Task for LanguageModel {
    type Model = Transformer;

    fn model(&self, seed: u64) -> Result<Transformer, TaskError> {
        self.device.seed(seed);
        Ok(Transformer::new(&self.model, &self.device))
    }

    /// A run that starts anew keeps its tokenizer beside its checkpoints: training one again need
    /// not give the same.
    fn started(&self, out: &Path) -> Result<(), TaskError> {
        Ok(self.tokenizer.save(out)?)
    }

    fn fingerprint(&self) -> Option<String> {
        Some(self.fingerprint.clone())
    }

    fn batches_per_epoch(&self) -> usize {
        self.train.len().div_ceil(self.batch)
    }

    fn batch(&self, at: BatchAt) -> Result<Batch<Transformer>, TaskError> {
        let from = at.index * self.batch;
        let (inputs, next) = self.order(at.epoch_seed(), |order| {
            let to = (from + self.batch).min(order.len());
            gathered(&self.train, &order[from..to])
        });
        let (inputs, next) = tensors(&inputs, &next, self.train.length(), &self.device);
        let samples = next.dims()[0];
        let objective = SupervisedBatch::new(
            inputs,
            |model: &Transformer, inputs: &Tensor<2, Int>| model.forward(inputs.clone()),
            Criterion::cross_entropy(next),
        );
        Ok(Batch::new(objective, samples))
    }

    fn evaluate(&self, model: &Transformer) -> Result<Metrics, TaskError> {
        self.measure(model, &self.valid, self.evaluate_sequences)
    }

    fn judged(&self) -> Judged {
        Judged::lowest(BITS_PER_BYTE)
    }
}

#[cfg(test)]
mod tests {
    use burn::module::Module;

    use super::*;
    use crate::config::Size;

    fn corpus() -> Corpus {
        Corpus {
            train: "the quick brown fox jumps over the lazy dog\n".repeat(40),
            valid: "the lazy fox\n".repeat(20),
            test: None,
            origin: "a test".to_string(),
            notes: Vec::new(),
        }
    }

    fn task(config: &Config) -> LanguageModel {
        let device = Device::flex().autodiff();
        LanguageModel::new(config, &corpus(), Tokenizer::bytes(), &device).unwrap()
    }

    fn config() -> Config {
        let mut config = Config::new(Size::Tiny);
        config.length = 16;
        config.batch = 4;
        config
    }

    #[test]
    fn an_untrained_model_knows_nothing() {
        let task = task(&config());
        let model = task.model(0).unwrap().valid();
        let metrics = task.evaluate(&model).unwrap();
        // A uniform distribution over 256 bytes costs 8 bits a byte.
        assert!((metrics[0].1 - 8.0).abs() < 0.3, "{metrics:?}");
        assert!(
            (metrics[1].1 - metrics[0].1.exp2()).abs() < 1e-6,
            "{metrics:?}"
        );
        assert!(task.test(&model).unwrap().is_none());
    }

    #[test]
    fn a_part_of_the_evaluation_is_near_the_whole() {
        let whole = task(&config());
        let mut config = config();
        config.evaluate_sequences = Some(5);
        let part = task(&config);
        let model = whole.model(0).unwrap().valid();
        let (a, b) = (
            whole.evaluate(&model).unwrap(),
            part.evaluate(&model).unwrap(),
        );
        assert!((a[0].1 - b[0].1).abs() < 0.3, "{a:?} and {b:?}");
        assert_ne!(a[0].1, b[0].1);
    }

    #[test]
    fn a_pass_sees_every_sequence_once() {
        let task = task(&config());
        let batches = task.batches_per_epoch();
        let samples: usize = (0..batches)
            .map(|index| {
                let at = BatchAt {
                    seed: 1,
                    epoch: 2,
                    index,
                };
                task.batch(at).unwrap().samples
            })
            .sum();
        assert_eq!(samples, task.train.len() * 16);
    }
}
