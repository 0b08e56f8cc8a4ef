use burn::tensor::{Device, Tensor};
use osculate::prelude::*;
use osculate_problems::digits::PIXELS;
use osculate_problems::modules::{Activation, Mlp, MlpConfig, seeded};

use super::digits::{BATCH, SOURCE, images, positions};
use super::stage::Stage;
use super::{About, Metric, Workload, WorkloadError};

/// A deep autoencoder of handwritten digits.
#[derive(Debug, Clone, Copy, Default)]
pub struct Autoencoder {
    stage: Stage,
}

/// Widths down to the code and up again.
const WIDTHS: [usize; 9] = [PIXELS, 128, 64, 32, 8, 32, 64, 128, PIXELS];

fn forward(model: &Mlp, images: &Tensor<2>) -> Tensor<2> {
    model.forward(images.clone())
}

impl Workload for Autoencoder {
    type Model = Mlp;

    fn about(&self) -> About {
        About::new(
            "autoencoder",
            "Autoencoder of digits, 8 layers with a code of 8, tanh",
            Metric::loss("test squared error"),
            700,
        )
        .because("deep and narrow in the middle: the classic task of second-order methods")
        .on(SOURCE)
    }

    fn model(&self, seed: u64, device: &Device) -> Result<Mlp, WorkloadError> {
        let config = MlpConfig::new(WIDTHS.to_vec()).with_activation(Activation::Tanh);
        Ok(seeded(config.init(device), seed))
    }

    fn batch(
        &self,
        seed: u64,
        step: usize,
        device: &Device,
    ) -> Result<Box<dyn Objective<Mlp>>, WorkloadError> {
        let [train, _] = images(self.stage)?;
        let images = train
            .batch(&positions(train.len(), BATCH, seed, step), device)
            .images;
        let criterion = Criterion::mse(images.clone());
        Ok(Box::new(SupervisedBatch::new(images, forward, criterion)))
    }

    fn measure(&self, model: &Mlp, device: &Device) -> Result<f64, WorkloadError> {
        let [_, measured] = images(self.stage)?;
        let images = measured.all(device).images;
        let error = forward(model, &images) - images;
        Ok(f64::from(error.square().mean().into_scalar::<f32>()))
    }

    fn for_tuning(&self) -> Option<Box<dyn Workload<Model = Mlp>>> {
        Some(Box::new(Self {
            stage: Stage::Tuning,
        }))
    }
}
