//! A task for the tests: a net with batch normalisation on the digits.

use std::cell::Cell;

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{Device, Tensor, TensorData};
use osculate_curvature::{Criterion, Supervised};
use osculate_problems::digits::{Batches, Digits};
use osculate_problems::modules::{ConvNet, ConvNetConfig, seeded};
use osculate_train::trainer::{Batch, BatchAt, Interrupt, Judged, Metrics, Task, TaskError};

/// What goes wrong in a run, and when: the number of batches made before.
#[derive(Default)]
pub struct Events {
    pub interrupt: Option<(u64, Interrupt)>,
    pub fail: Option<u64>,
    /// The evaluation that fails, from 0.
    pub fail_evaluation: Option<u64>,
    pub poison: Option<u64>,
    /// The batch that says that it has no sample.
    pub empty: Option<u64>,
}

pub struct DigitsTask {
    pub device: Device,
    pub events: Events,
    pub made: Cell<u64>,
    pub evaluated: Cell<u64>,
    pub batches: usize,
    pub fingerprint: Option<String>,
}

/// Images of the training part that are used.
pub const IMAGES: usize = 60;
const BATCH: usize = 12;
/// Batches in a pass.
pub const BATCHES: usize = IMAGES / BATCH;

impl DigitsTask {
    pub fn new(events: Events) -> Self {
        Self {
            device: Device::flex().autodiff(),
            events,
            made: Cell::new(0),
            evaluated: Cell::new(0),
            batches: BATCHES,
            fingerprint: None,
        }
    }
}

impl Task for DigitsTask {
    type Model = ConvNet;

    fn model(&self, seed: u64) -> Result<ConvNet, TaskError> {
        let net = ConvNetConfig::new().with_channels(2).init(&self.device);
        Ok(seeded(net, seed))
    }

    fn fingerprint(&self) -> Option<String> {
        self.fingerprint.clone()
    }

    fn batches_per_epoch(&self) -> usize {
        self.batches
    }

    fn batch(&self, at: BatchAt) -> Result<Batch<ConvNet>, TaskError> {
        let made = self.made.replace(self.made.get() + 1);
        if let Some((when, interrupt)) = &self.events.interrupt
            && made == *when
        {
            interrupt.trigger();
        }
        if self.events.fail == Some(made) {
            return Err("the disk is gone".into());
        }
        let digits = Digits::load()?;
        let positions = Batches::new(IMAGES, BATCH, at.seed, at.epoch)
            .nth(at.index)
            .ok_or("no such batch")?;
        let batch = digits.train().batch(&positions, &self.device);
        let images = if self.events.poison == Some(made) {
            batch.grid() * f32::NAN
        } else {
            batch.grid()
        };
        let objective = Supervised::new(
            move |net: &ConvNet| net.forward(images.clone()),
            Criterion::cross_entropy(batch.labels),
        );
        let empty = self.events.empty == Some(made);
        Ok(Batch::new(
            objective,
            if empty { 0 } else { positions.len() },
        ))
    }

    fn evaluate(&self, model: &ConvNet) -> Result<Metrics, TaskError> {
        let evaluated = self.evaluated.replace(self.evaluated.get() + 1);
        if self.events.fail_evaluation == Some(evaluated) {
            return Err("the test images are gone".into());
        }
        let positions: Vec<usize> = (0..40).collect();
        let digits = Digits::load()?;
        let batch = digits
            .test()
            .batch(&positions, &self.device.clone().inner());
        let logits = model.forward(batch.grid());
        let loss = Criterion::cross_entropy(batch.labels).loss(logits)?;
        Ok(vec![(
            "loss".to_string(),
            f64::from(loss.into_scalar::<f32>()),
        )])
    }

    fn judged(&self) -> Judged {
        Judged::lowest("loss")
    }
}

/// All numbers of a model, running statistics included.
pub fn numbers<M: Module>(model: &M) -> Vec<TensorData> {
    struct Numbers(Vec<TensorData>);
    impl ModuleVisitor for Numbers {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            self.0.push(param.val().to_data());
        }
    }
    let mut numbers = Numbers(Vec::new());
    model.visit(&mut numbers);
    numbers.0
}
