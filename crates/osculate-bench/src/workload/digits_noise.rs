use std::sync::OnceLock;

use burn::tensor::{Device, Tensor};
use osculate::prelude::Objective;
use osculate_problems::digits::{CLASSES, PIXELS, Split};
use osculate_problems::modules::{Activation, Mlp, MlpConfig, seeded};

use super::digits::{SOURCE, batch, curvature_batch, images, measured_accuracy};
use super::stage::Stage;
use super::{About, Metric, Workload, WorkloadError};

/// Part of the training images with a wrong label.
const WRONG: f64 = 0.4;
/// Width of the hidden layers: enough to learn all labels by heart.
const WIDTH: usize = 256;

/// A wide perceptron on handwritten digits of which four in ten are labelled wrongly.
#[derive(Debug, Default)]
pub struct DigitsNoise {
    stage: Stage,
    noisy: OnceLock<Split>,
}

fn forward(model: &Mlp, images: &Tensor<2>) -> Tensor<2> {
    model.forward(images.clone())
}

impl DigitsNoise {
    fn train(&self) -> Result<&Split, WorkloadError> {
        let [train, _] = images(self.stage)?;
        Ok(self.noisy.get_or_init(|| train.with_wrong_labels(WRONG, 0)))
    }
}

impl Workload for DigitsNoise {
    type Model = Mlp;

    fn about(&self) -> About {
        About::new(
            "digits-noise",
            "Digits with 40 % wrong labels, MLP 64-256-256-10",
            Metric::accuracy("test accuracy"),
            1150,
        )
        .because(
            "a network that learns wrong labels by heart tests badly: flat solutions should not",
        )
        .on(format!(
            "{SOURCE}; four in ten training labels are replaced by another digit, measured labels are right"
        ))
    }

    fn model(&self, seed: u64, device: &Device) -> Result<Mlp, WorkloadError> {
        let config =
            MlpConfig::new(vec![PIXELS, WIDTH, WIDTH, CLASSES]).with_activation(Activation::Relu);
        Ok(seeded(config.init(device), seed))
    }

    fn batch(
        &self,
        seed: u64,
        step: usize,
        device: &Device,
    ) -> Result<Box<dyn Objective<Mlp>>, WorkloadError> {
        Ok(batch(self.train()?, forward, seed, step, device))
    }

    fn measure(&self, model: &Mlp, device: &Device) -> Result<f64, WorkloadError> {
        let [_, measured] = images(self.stage)?;
        Ok(measured_accuracy(measured, model, forward, device))
    }

    fn for_tuning(&self) -> Option<Box<dyn Workload<Model = Mlp>>> {
        Some(Box::new(Self {
            stage: Stage::Tuning,
            noisy: OnceLock::new(),
        }))
    }

    fn curvature_batch(
        &self,
        device: &Device,
    ) -> Result<Option<Box<dyn Objective<Mlp>>>, WorkloadError> {
        Ok(Some(curvature_batch(self.train()?, forward, device)))
    }
}
