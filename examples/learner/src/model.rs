//! A perceptron for the digits, written for burn's `Learner` alone, and the six lines that tell
//! osculate its loss.

use burn::module::Module;
use burn::nn::loss::CrossEntropyLossConfig;
use burn::nn::{Linear, LinearConfig};
use burn::tensor::activation::gelu;
use burn::tensor::{Device, Tensor};
use burn::train::{ClassificationOutput, InferenceStep, TrainOutput, TrainStep};
use osculate::prelude::*;
use osculate_problems::digits::{CLASSES, DigitsBatch, PIXELS};

#[derive(Module, Debug)]
pub struct Net {
    hidden: Linear,
    head: Linear,
}

impl Net {
    pub fn new(device: &Device) -> Self {
        Self {
            hidden: LinearConfig::new(PIXELS, 64).init(device),
            head: LinearConfig::new(64, CLASSES).init(device),
        }
    }

    fn forward(&self, images: Tensor<2>) -> Tensor<2> {
        self.head.forward(gelu(self.hidden.forward(images)))
    }

    fn classify(&self, batch: DigitsBatch) -> ClassificationOutput {
        let output = self.forward(batch.images);
        let loss = CrossEntropyLossConfig::new()
            .init(&output.device())
            .forward(output.clone(), batch.labels.clone());
        ClassificationOutput::new(loss, output, batch.labels)
    }
}

impl TrainStep for Net {
    type Input = DigitsBatch;
    type Output = ClassificationOutput;

    fn step(&self, batch: DigitsBatch) -> TrainOutput<ClassificationOutput> {
        let output = self.classify(batch);
        TrainOutput::new(self, output.loss.backward(), output)
    }
}

impl InferenceStep for Net {
    type Input = DigitsBatch;
    type Output = ClassificationOutput;

    fn step(&self, batch: DigitsBatch) -> ClassificationOutput {
        self.classify(batch)
    }
}

/// Sophia-G looks at outputs, and Hessian products are exact with it. `Osculate::new` does without.
impl SupervisedModel for Net {
    fn supervised(batch: &DigitsBatch) -> Box<dyn Objective<Self>> {
        let forward = |net: &Net, images: &Tensor<2>| net.forward(images.clone());
        let criterion = Criterion::cross_entropy(batch.labels.clone());
        Box::new(SupervisedBatch::new(
            batch.images.clone(),
            forward,
            criterion,
        ))
    }
}
