//! Sophia-G in a hand-written training loop, on the embedded digits.
//!
//! A loop with AdamW differs in one line, the one that makes the optimizer:
//! `Driver::from(AdamWConfig::new().init())`.
#![allow(clippy::print_stdout, reason = "an example shows its results")]

use burn::module::Module;
use burn::nn::{Linear, LinearConfig};
use burn::tensor::activation::gelu;
use burn::tensor::{Device, Int, Tensor};
use osculate::prelude::*;
use osculate_problems::digits::{Batches, CLASSES, Digits, PIXELS};

#[derive(Module, Debug)]
struct Net {
    hidden: Linear,
    head: Linear,
}

impl Net {
    fn new(device: &Device) -> Self {
        Self {
            hidden: LinearConfig::new(PIXELS, 64).init(device),
            head: LinearConfig::new(64, CLASSES).init(device),
        }
    }

    fn forward(&self, images: Tensor<2>) -> Tensor<2> {
        self.head.forward(gelu(self.hidden.forward(images)))
    }
}

fn main() -> Result<(), MainError> {
    let device = Device::default();
    let training = device.clone().autodiff();
    training.seed(0);
    let digits = Digits::load()?;
    let test = digits.test().all(&device);

    let mut model = Net::new(&training);
    let mut optimizer = SophiaConfig::g().init()?;

    for epoch in 0..10 {
        let mut report = None;
        for positions in Batches::new(digits.train().len(), 64, 0, epoch) {
            let batch = digits.train().batch(&positions, &training);
            let forward = |model: &Net, images: &Tensor<2>| model.forward(images.clone());
            let criterion = Criterion::cross_entropy(batch.labels);
            let objective = SupervisedBatch::new(batch.images, forward, criterion);
            let step = optimizer.step(3e-3, model, &objective)?;
            model = step.model;
            report = Some(step.report);
        }
        let predicted: Tensor<1, Int> = model
            .valid()
            .forward(test.images.clone())
            .argmax(1)
            .squeeze_dim(1);
        let correct = predicted.equal(test.labels.clone()).int().sum();
        let accuracy = correct.into_scalar::<i64>() as f64 / digits.test().len() as f64;
        if let Some(report) = report {
            println!(
                "epoch {:>2}: loss {:.4}, win rate {:.2}, test accuracy {:.1}%",
                epoch + 1,
                report.loss(),
                report.win_rate().unwrap_or_default(),
                100.0 * accuracy
            );
        }
    }
    Ok(())
}
