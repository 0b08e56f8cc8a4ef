//! Which of a module's two behaviours is recorded.

use burn::module::Module;

use crate::module;

/// How layers that behave in one way in training and in another in evaluation are recorded.
///
/// burn takes the training branch of a layer where its input is on an autodiff device and the
/// layer's `training` flag is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Mode {
    /// As on a device without autodiff: batch normalisation uses its running statistics, dropout
    /// and noise do nothing.
    #[default]
    Evaluation,
    /// As [`Evaluation`](Mode::Evaluation), except that every [`BatchNorm`](burn::nn::BatchNorm)
    /// whose `training` flag is set normalises by the statistics of its batch. A frozen layer keeps
    /// its running ones.
    BatchStatistics,
    /// As on an autodiff device: every layer takes the branch that burn takes in training. Random
    /// numbers, such as the masks of dropout, are drawn when the program is
    /// [bound](crate::Program::bind), in the order in which the function draws them: after the same
    /// seed, on the same device, they are the numbers that the function itself would have drawn.
    ///
    /// Parameters and inputs that are not on an autodiff device are recorded as such. A function
    /// that moves tensors between devices cannot be recorded in this mode: burn's recorder refuses to
    /// move tensors of an autodiff device. Batch normalisation is recorded as in
    /// [`BatchStatistics`](Mode::BatchStatistics), however often a layer is applied.
    Training,
}

impl Mode {
    /// The modes in which a function of `module` may have been computed in training, likeliest
    /// first and cheapest first among equals. Which it was can only be told by comparing values
    /// and derivatives: the function may leave layers out, or ask for autodiff itself.
    ///
    /// ```
    /// use burn::module::Module;
    /// use burn::nn::{BatchNorm, BatchNormConfig};
    /// use burn::tensor::Device;
    /// use osculate_jvp::Mode;
    ///
    /// let norm: BatchNorm = BatchNormConfig::new(4).init(&Device::flex().autodiff());
    /// assert_eq!(Mode::candidates(&norm)[0], Mode::BatchStatistics);
    /// assert_eq!(Mode::candidates(&norm.freeze())[0], Mode::Evaluation);
    /// ```
    pub fn candidates<M: Module>(module: &M) -> Vec<Mode> {
        let found = module::training(module);
        if !found.autodiff {
            return vec![Mode::Evaluation];
        }
        let quiet = if found.running_means.is_empty() {
            Mode::Evaluation
        } else {
            Mode::BatchStatistics
        };
        if found.others {
            vec![Mode::Training, quiet]
        } else {
            vec![quiet, Mode::Training]
        }
    }
}
