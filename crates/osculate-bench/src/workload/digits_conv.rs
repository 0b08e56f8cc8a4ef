use burn::tensor::{Device, Tensor};
use osculate::prelude::Objective;
use osculate_problems::digits::SIDE;
use osculate_problems::modules::{ConvNet, ConvNetConfig, seeded};

use super::digits::{SOURCE, batch, curvature_batch, images, measured_accuracy};
use super::stage::Stage;
use super::{About, Metric, Workload, WorkloadError};

/// Two convolutions of 8 and 16 channels with batch normalisation on handwritten digits.
#[derive(Debug, Clone, Copy, Default)]
pub struct DigitsConv {
    stage: Stage,
}

fn forward(model: &ConvNet, images: &Tensor<2>) -> Tensor<2> {
    let rows = images.dims()[0];
    model.forward(images.clone().reshape([rows, 1, SIDE, SIDE]))
}

impl Workload for DigitsConv {
    type Model = ConvNet;

    fn about(&self) -> About {
        About::new(
            "digits-conv",
            "Digits, conv net 8-16 with batch norm",
            Metric::accuracy("test accuracy"),
            276,
        )
        .because(
            "convolutions and batch normalisation, whose statistics extra passes must not spoil",
        )
        .on(SOURCE)
    }

    fn model(&self, seed: u64, device: &Device) -> Result<ConvNet, WorkloadError> {
        Ok(seeded(ConvNetConfig::new().init(device), seed))
    }

    fn batch(
        &self,
        seed: u64,
        step: usize,
        device: &Device,
    ) -> Result<Box<dyn Objective<ConvNet>>, WorkloadError> {
        let [train, _] = images(self.stage)?;
        Ok(batch(train, forward, seed, step, device))
    }

    fn measure(&self, model: &ConvNet, device: &Device) -> Result<f64, WorkloadError> {
        let [_, measured] = images(self.stage)?;
        Ok(measured_accuracy(measured, model, forward, device))
    }

    fn for_tuning(&self) -> Option<Box<dyn Workload<Model = ConvNet>>> {
        Some(Box::new(Self {
            stage: Stage::Tuning,
        }))
    }

    fn curvature_batch(
        &self,
        device: &Device,
    ) -> Result<Option<Box<dyn Objective<ConvNet>>>, WorkloadError> {
        let [train, _] = images(self.stage)?;
        Ok(Some(curvature_batch(train, forward, device)))
    }
}
