//! What a program hands to the trainer.

use std::path::Path;

use burn::module::Module;
use burn::tensor::Device;
use osculate_curvature::Objective;

/// An error of the program's own code. `?` turns any error, and `.into()` any message, into one.
pub type TaskError = Box<dyn std::error::Error + Send + Sync + 'static>;

/// Which batch of a run: everything that a batch may depend on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct BatchAt {
    /// Seed of the run.
    pub seed: u64,
    /// Pass over the data, from 0. Methods that draw further batches within a step (Entropy-SGD) ask for passes
    /// from 2^32 on, which no step has: clamp what grows with the pass.
    pub epoch: u64,
    /// Place within the pass, from 0 to [`Task::batches_per_epoch`] - 1.
    pub index: usize,
}

impl BatchAt {
    /// A seed for what is drawn for this batch alone (augmentation, for instance): a mix of run
    /// seed, epoch and place.
    pub fn seed(self) -> u64 {
        mix(self.epoch_seed() ^ mix(self.index as u64 + 1))
    }

    /// Seeds the devices for this batch: what a task draws there does not depend on what was drawn before.
    pub(crate) fn seed_devices(self, devices: &[Device]) {
        for device in devices {
            device.seed(self.seed());
        }
    }

    /// Another batch for a step, by number: one of a pass that no step has.
    pub(crate) fn drawn(seed: u64, step: u64, number: u64, batches: usize) -> Self {
        let epoch = (1 << 32) + step;
        let index = number as usize;
        let chosen = Self { seed, epoch, index }.seed() % batches.max(1) as u64;
        let index = chosen as usize;
        Self { seed, epoch, index }
    }

    /// A seed for what is drawn for this pass (the order of the samples): a mix of run seed and
    /// epoch.
    pub fn epoch_seed(self) -> u64 {
        mix(mix(self.seed).wrapping_add(self.epoch + 1))
    }
}

/// The finaliser of splitmix64.
fn mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// One batch as the optimizers see it.
pub struct Batch<M> {
    /// The loss of the batch, a mean over its samples. A
    /// [`Supervised`](osculate_curvature::Supervised) serves every optimizer.
    pub objective: Box<dyn Objective<M>>,
    /// Samples in the batch, which weigh it against others where gradients are accumulated. For
    /// language models these are tokens.
    pub samples: usize,
}

impl<M> Batch<M> {
    /// A batch of `samples` samples.
    pub fn new(objective: impl Objective<M> + 'static, samples: usize) -> Self {
        Self {
            objective: Box::new(objective),
            samples,
        }
    }
}

/// Named results of an evaluation, in the order in which they are shown.
pub type Metrics = Vec<(String, f64)>;

/// Metrics on one line: `accuracy 0.9712  loss 0.0931`.
pub fn listed(metrics: &Metrics) -> String {
    let shown: Vec<String> = metrics
        .iter()
        .map(|(name, value)| {
            // A perplexity of an untrained model may have any number of digits.
            if value.abs() < 1e6 {
                format!("{name} {value:.4}")
            } else {
                format!("{name} {value:.3e}")
            }
        })
        .collect();
    shown.join("  ")
}

/// The metric by which weights are called best.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Judged {
    /// Name of the metric, one of those that [`Task::evaluate`] gives.
    pub metric: &'static str,
    /// Whether more is better.
    pub higher_is_better: bool,
}

impl Judged {
    /// The highest value is best, as of an accuracy.
    pub fn highest(metric: &'static str) -> Self {
        Self {
            metric,
            higher_is_better: true,
        }
    }

    /// The lowest value is best, as of a loss.
    pub fn lowest(metric: &'static str) -> Self {
        Self {
            metric,
            higher_is_better: false,
        }
    }

    /// Whether `new` is better than `old`. A value that is not a number is better than none.
    pub fn improves(self, new: f64, old: f64) -> bool {
        if self.higher_is_better {
            new > old
        } else {
            new < old
        }
    }
}

/// A model, its data and its measure: what the trainer trains.
///
/// A run is resumed bit for bit because nothing of it hides in a generator's state: the model is a
/// function of the seed, a batch one of seed, epoch and place. Draw on the host (`rand`, seeded with
/// [`BatchAt::seed`] and [`BatchAt::epoch_seed`]) for the same batches on every backend; the generators of
/// the model's devices are seeded for each batch and for each step.
///
/// ```
/// use burn::module::Module;
/// use burn::nn::{Linear, LinearConfig};
/// use burn::tensor::{Device, Tensor};
/// use osculate_train::trainer::{Batch, BatchAt, Judged, Metrics, Task, TaskError};
///
/// /// Fits `y = 2 x`.
/// struct Doubling {
///     device: Device,
/// }
///
/// impl Task for Doubling {
///     type Model = Linear;
///
///     fn model(&self, seed: u64) -> Result<Linear, TaskError> {
///         self.device.seed(seed);
///         Ok(LinearConfig::new(1, 1).init(&self.device))
///     }
///
///     fn batches_per_epoch(&self) -> usize {
///         8
///     }
///
///     fn batch(&self, at: BatchAt) -> Result<Batch<Linear>, TaskError> {
///         let x = (at.seed() % 1000) as f32 / 1000.0;
///         let x = Tensor::<2>::from_data([[x], [1.0 - x]], &self.device);
///         let loss = move |model: &Linear| {
///             let error = model.forward(x.clone()) - x.clone() * 2.0;
///             error.square().mean()
///         };
///         Ok(Batch::new(loss, 2))
///     }
///
///     fn evaluate(&self, model: &Linear) -> Result<Metrics, TaskError> {
///         let x = Tensor::<2>::from_data([[0.5]], &self.device.clone().inner());
///         let y = model.forward(x).into_scalar::<f32>();
///         Ok(vec![("error".to_string(), f64::from(y - 1.0).abs())])
///     }
///
///     fn judged(&self) -> Judged {
///         Judged::lowest("error")
///     }
/// }
/// ```
pub trait Task {
    /// What is trained.
    type Model: Module + 'static;

    /// The model with its initial weights, on a device with autodiff. Must depend on nothing but the
    /// seed.
    ///
    /// # Errors
    /// Whatever keeps it from being made.
    fn model(&self, seed: u64) -> Result<Self::Model, TaskError>;

    /// Called once when a run starts anew, after the output folder was made: the place to write what
    /// a resumed run needs besides its configuration, such as a trained tokenizer. Default: nothing.
    ///
    /// # Errors
    /// Whatever keeps it from being written.
    fn started(&self, _out: &Path) -> Result<(), TaskError> {
        Ok(())
    }

    /// What tells the data from others, such as sizes and a checksum. It is kept in checkpoints, and a run
    /// is refused to go on with data of another fingerprint, while the same data may lie elsewhere.
    /// Default: `None`, the number of batches alone.
    fn fingerprint(&self) -> Option<String> {
        None
    }

    /// Batches in one pass over the data, at least 1.
    fn batches_per_epoch(&self) -> usize;

    /// A batch. Must depend on nothing but `at`.
    ///
    /// # Errors
    /// Whatever keeps it from being made. The run ends, after a checkpoint.
    fn batch(&self, at: BatchAt) -> Result<Batch<Self::Model>, TaskError>;

    /// Measures the model, which comes in evaluation mode and without autodiff: its tensors are on
    /// `device.inner()`. Its weights are averaged where the optimizer averages.
    ///
    /// # Errors
    /// Whatever keeps it from being measured. The run ends, after a checkpoint.
    fn evaluate(&self, model: &Self::Model) -> Result<Metrics, TaskError>;

    /// The metric by which weights are called best.
    fn judged(&self) -> Judged;

    /// Whether the network has kinks: ReLU, max pooling. What is measured as sharpness is then the Gauss-Newton
    /// matrix, unless the settings say otherwise, because the Hessian by finite differences is that of a smoothed
    /// loss.
    fn has_kinks(&self) -> bool {
        false
    }

    /// The batch on which sharpness is measured, the same all through a run. Default: the first
    /// batch of the first pass.
    ///
    /// # Errors
    /// As [`batch`](Self::batch).
    fn sharpness_batch(&self, seed: u64) -> Result<Batch<Self::Model>, TaskError> {
        self.batch(BatchAt {
            seed,
            epoch: 0,
            index: 0,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_differ_by_everything_that_they_depend_on() {
        let mut seeds = std::collections::HashSet::new();
        for seed in 0..5 {
            for epoch in 0..5 {
                for index in 0..5 {
                    let at = BatchAt { seed, epoch, index };
                    assert!(seeds.insert(at.seed()));
                    assert_eq!(at.epoch_seed(), BatchAt { index: 0, ..at }.epoch_seed());
                }
            }
        }
    }

    #[test]
    fn the_judge_knows_which_way_is_up() {
        assert!(Judged::highest("accuracy").improves(0.9, 0.8));
        assert!(!Judged::lowest("loss").improves(0.9, 0.8));
        assert!(!Judged::lowest("loss").improves(f64::NAN, 0.8));
    }
}
