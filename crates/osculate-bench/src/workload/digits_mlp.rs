use burn::tensor::{Device, Tensor};
use osculate::prelude::Objective;
use osculate_problems::digits::{CLASSES, PIXELS};
use osculate_problems::modules::{Mlp, MlpConfig, seeded};

use super::digits::{SOURCE, batch, curvature_batch, images, measured_accuracy};
use super::stage::Stage;
use super::{About, Metric, Workload, WorkloadError};

/// A perceptron with one hidden layer of 64 and GELU on handwritten digits.
#[derive(Debug, Clone, Copy, Default)]
pub struct DigitsMlp {
    stage: Stage,
}

fn forward(model: &Mlp, images: &Tensor<2>) -> Tensor<2> {
    model.forward(images.clone())
}

impl Workload for DigitsMlp {
    type Model = Mlp;

    fn about(&self) -> About {
        About::new(
            "digits-mlp",
            "Digits, MLP 64-64-10",
            Metric::accuracy("test accuracy"),
            276,
        )
        .because("the smallest real task: shows whether a method works at all")
        .on(SOURCE)
    }

    fn model(&self, seed: u64, device: &Device) -> Result<Mlp, WorkloadError> {
        Ok(seeded(
            MlpConfig::new(vec![PIXELS, 64, CLASSES]).init(device),
            seed,
        ))
    }

    fn batch(
        &self,
        seed: u64,
        step: usize,
        device: &Device,
    ) -> Result<Box<dyn Objective<Mlp>>, WorkloadError> {
        let [train, _] = images(self.stage)?;
        Ok(batch(train, forward, seed, step, device))
    }

    fn measure(&self, model: &Mlp, device: &Device) -> Result<f64, WorkloadError> {
        let [_, measured] = images(self.stage)?;
        Ok(measured_accuracy(measured, model, forward, device))
    }

    fn for_tuning(&self) -> Option<Box<dyn Workload<Model = Mlp>>> {
        Some(Box::new(Self {
            stage: Stage::Tuning,
        }))
    }

    fn curvature_batch(
        &self,
        device: &Device,
    ) -> Result<Option<Box<dyn Objective<Mlp>>>, WorkloadError> {
        let [train, _] = images(self.stage)?;
        Ok(Some(curvature_batch(train, forward, device)))
    }
}
