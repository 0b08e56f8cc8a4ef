use burn::tensor::{Device, IndexingUpdateOp, Int, Tensor};

use super::Distilled;
use crate::error::CurvatureError;

/// Settings of [`Saf`]; the defaults are the authors'.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SafConfig {
    /// Weight of the term. Default 0.3.
    pub weight: f64,
    /// Temperature of the softmax. Default 5.
    pub temperature: f64,
    /// Epochs between an output and its comparison. Default 3.
    pub lag: u64,
    /// The term takes part after this epoch, counted from 0. Default 5.
    pub start: u64,
}

impl Default for SafConfig {
    fn default() -> Self {
        Self {
            weight: 0.3,
            temperature: 5.0,
            lag: 3,
            start: 5,
        }
    }
}

/// Sharpness-aware training for free: the answer to each sample is held to that of a few epochs before.
///
/// A loss that falls steeply along the way of training leaves a sharp solution; the Kullback-Leibler divergence
/// from earlier answers (see [`Distilled`]) slows such a fall. The memory holds `lag + 1` epochs of outputs:
/// `(lag + 1) samples classes` numbers on the device. There is no gradient beyond the loss's own.
///
/// Each epoch is to show every sample exactly once: one that is left out, as the rest of a last batch, is
/// compared with older outputs, and with the uniform distribution where there are none. A memory that misses an epoch, as at the start or after a run
/// was resumed without it, leaves the term out for that long.
///
/// Paper: Du et al., *Sharpness-Aware Training for Free*, <https://arxiv.org/abs/2205.14083>.
///
/// ```
/// use burn::nn::{Linear, LinearConfig};
/// use burn::tensor::{Device, Int, Tensor};
/// use osculate_curvature::{Criterion, Objective, Saf, SafConfig, Supervised};
///
/// let device = Device::flex().autodiff();
/// let model: Linear = LinearConfig::new(2, 3).init(&device);
/// let config = SafConfig { lag: 1, start: 0, ..SafConfig::default() };
/// let mut saf = Saf::new(config, [4, 3], &device)?;
/// for epoch in 0..3 {
///     for batch in [[0, 1], [2, 3]] {
///         let samples = Tensor::<1, Int>::from_data(batch, &device);
///         let x = Tensor::<2>::ones([2, 2], &device);
///         let y = Tensor::<1, Int>::from_data([0, 2], &device);
///         let loss = Supervised::new(
///             move |model: &Linear| model.forward(x.clone()),
///             Criterion::cross_entropy(y),
///         );
///         let objective = saf.objective(epoch, &samples, loss)?;
///         // In training: `optimizer.step(lr, model, &objective)?`.
///         objective.loss(&model)?;
///         saf.keep(epoch, &samples, &objective)?;
///     }
/// }
/// assert!(saf.remembers(2));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Saf {
    config: SafConfig,
    /// Outputs of an epoch, and which it was.
    slots: Vec<(Option<u64>, Tensor<2>)>,
}

impl Saf {
    /// An empty memory for so many samples and classes.
    ///
    /// # Errors
    /// [`CurvatureError::InvalidSetting`] for a lag of 0 epochs, and as [`Distilled::new`].
    pub fn new(
        config: SafConfig,
        [samples, classes]: [usize; 2],
        device: &Device,
    ) -> Result<Self, CurvatureError> {
        CurvatureError::check(config.lag > 0, "lag", config.lag, "at least 1 epoch")?;
        let empty = Tensor::<2>::zeros([samples, classes], &device.clone().inner());
        Ok(Self {
            config,
            slots: vec![(None, empty); config.lag as usize + 1],
        })
    }

    fn place(&self, epoch: u64) -> usize {
        (epoch % self.slots.len() as u64) as usize
    }

    /// Whether the outputs that an epoch is compared with are there.
    pub fn remembers(&self, epoch: u64) -> bool {
        self.earlier(epoch).is_some()
    }

    fn earlier(&self, epoch: u64) -> Option<&Tensor<2>> {
        let earlier = epoch.checked_sub(self.config.lag)?;
        let (held, outputs) = &self.slots[self.place(earlier)];
        (*held == Some(earlier)).then_some(outputs)
    }

    /// The objective of a batch: `samples` are the numbers of its rows, below those of the memory.
    ///
    /// # Errors
    /// As [`Distilled::new`].
    pub fn objective<O>(
        &self,
        epoch: u64,
        samples: &Tensor<1, Int>,
        inner: O,
    ) -> Result<Distilled<O>, CurvatureError> {
        let earlier = self.earlier(epoch).filter(|_| epoch > self.config.start);
        let earlier = earlier.map(|outputs| {
            let samples = samples.clone().to_device(&outputs.device());
            outputs.clone().select(0, samples)
        });
        let SafConfig {
            weight,
            temperature,
            ..
        } = self.config;
        Distilled::with_reference(inner, earlier, weight, temperature)
    }

    /// Keeps the outputs that the model had at the start of a step on an objective of this memory.
    ///
    /// # Errors
    /// [`CurvatureError::TargetShape`] where they do not fit the memory. An objective that was not evaluated
    /// has none, and nothing is kept.
    pub fn keep<O>(
        &mut self,
        epoch: u64,
        samples: &Tensor<1, Int>,
        objective: &Distilled<O>,
    ) -> Result<(), CurvatureError> {
        let Some(outputs) = objective.outputs() else {
            return Ok(());
        };
        let place = self.place(epoch);
        let (held, slot) = &mut self.slots[place];
        let expected = [samples.dims()[0], slot.dims()[1]];
        if outputs.dims() != expected {
            return Err(CurvatureError::TargetShape {
                outputs: outputs.dims().to_vec(),
                targets: expected.to_vec(),
            });
        }
        let device = slot.device();
        let samples = samples.clone().to_device(&device);
        let outputs = outputs.clone().to_device(&device).cast(slot.dtype());
        let old = slot.clone().select(0, samples.clone());
        // A slot changes by differences, in which what is not finite would stay.
        let outputs = old.clone().mask_where(outputs.clone().is_finite(), outputs);
        let change = outputs - old;
        let add = IndexingUpdateOp::Add;
        *slot = slot.clone().select_assign(0, samples, change, add);
        *held = Some(epoch);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use burn::module::Param;
    use burn::tensor::DType;

    use super::*;
    use crate::GradientOracle;
    use crate::objective::{Criterion, Objective, Supervised};

    #[derive(burn::module::Module, Debug)]
    struct Logits {
        z: Param<Tensor<2>>,
    }

    fn logits(values: [[f64; 3]; 1], device: &Device) -> Logits {
        let z = Tensor::<2>::from_data(values, (device, DType::F64)).require_grad();
        Logits {
            z: Param::initialized(burn::module::ParamId::new(), z),
        }
    }

    fn loss(device: &Device) -> Supervised<impl Fn(&Logits) -> Tensor<2> + use<>> {
        let targets = Tensor::<1, Int>::from_data([1], device);
        Supervised::new(
            |model: &Logits| model.z.val(),
            Criterion::cross_entropy(targets),
        )
    }

    /// Computed independently, for logits (1, 2, -1) and (0.5, 1.5, 0) before, at a weight of 0.3 and a
    /// temperature of 5.
    #[test]
    fn the_term_and_its_gradient() {
        let device = Device::flex().autodiff();
        let model = logits([[1.0, 2.0, -1.0]], &device);
        let before = Tensor::<2>::from_data([[0.5, 1.5, 0.0]], (&device, DType::F64));
        let alone = loss(&device);
        let both = Distilled::new(loss(&device), before, 0.3, 5.0).unwrap();
        let at = |objective: &dyn Objective<Logits>| {
            let oracle = GradientOracle::new(&model, objective);
            let clean = oracle.clean().unwrap();
            let loss: f64 = clean.loss.clone().into_scalar();
            (loss, clean.gradient.to_values())
        };
        let (with, without) = (at(&both), at(&alone));
        assert!((with.0 - without.0 - 0.0663849210370402).abs() < 1e-12);
        let want = [
            0.03891233373238487,
            0.047527631747184024,
            -0.08643996547956906,
        ];
        for ((a, b), want) in with.1.iter().zip(&without.1).zip(want) {
            // burn's backward pass of the softmax keeps nine digits.
            assert!((a - b - want).abs() < 1e-8, "{} instead of {want}", a - b);
        }
    }

    #[test]
    fn the_memory_gives_what_was_a_lag_before() {
        let device = Device::flex().autodiff();
        let config = SafConfig {
            lag: 2,
            start: 0,
            ..SafConfig::default()
        };
        let mut saf = Saf::new(config, [3, 3], &device).unwrap();
        let samples = Tensor::<1, Int>::from_data([2], &device);
        let value = |epoch: u64| epoch as f64 + 1.0;
        for epoch in 0..6 {
            assert_eq!(saf.remembers(epoch), epoch >= 2, "epoch {epoch}");
            let model = logits([[value(epoch), 0.0, -1.0]], &device);
            let objective = saf.objective(epoch, &samples, loss(&device)).unwrap();
            let with: f64 = objective.loss(&model).unwrap().into_scalar();
            let alone: f64 = loss(&device).loss(&model).unwrap().into_scalar();
            assert_eq!(with > alone, epoch >= 2, "epoch {epoch}");
            if epoch >= 2 {
                let earlier = [[value(epoch - 2), 0.0, -1.0]];
                let earlier = Tensor::<2>::from_data(earlier, (&device, DType::F64));
                let want = Distilled::new(loss(&device), earlier, 0.3, 5.0).unwrap();
                let want: f64 = want.loss(&model).unwrap().into_scalar();
                assert!((with - want).abs() < 1e-6, "{with} instead of {want}");
            }
            saf.keep(epoch, &samples, &objective).unwrap();
        }
        assert!(!saf.remembers(9), "an epoch was missed");
    }

    #[test]
    fn what_does_not_fit_is_an_error() {
        let device = Device::flex().autodiff();
        let no_lag = SafConfig {
            lag: 0,
            ..SafConfig::default()
        };
        assert!(Saf::new(no_lag, [3, 3], &device).is_err());
        let reference = Tensor::<2>::zeros([1, 2], (&device, DType::F64));
        let model = logits([[1.0, 2.0, -1.0]], &device);
        let narrow = Distilled::new(loss(&device), reference.clone(), 0.3, 5.0).unwrap();
        let told = Objective::<Logits>::loss(&narrow, &model)
            .unwrap_err()
            .to_string();
        assert!(told.contains("[1, 2]") && told.contains("[1, 3]"), "{told}");
        for (weight, temperature) in [(-1.0, 5.0), (0.3, 0.0)] {
            assert!(Distilled::new((), reference.clone(), weight, temperature).is_err());
        }
        let plain = |model: &Logits| model.z.val().sum();
        let plain = Distilled::new(plain, reference, 0.3, 5.0).unwrap();
        assert!(plain.loss(&model).is_err());
    }
}
