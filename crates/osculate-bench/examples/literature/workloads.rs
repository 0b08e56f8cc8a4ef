//! Workloads of these studies alone.

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use osculate::prelude::{Criterion, Objective, SupervisedBatch};
use osculate_bench::workload::{About, Metric, Schedule, Workload, WorkloadError};
use osculate_problems::digits::{Batches, CLASSES, Digits, DigitsBatch, PIXELS};
use osculate_problems::modular_addition::{ModularAddition, SumBatch};
use osculate_problems::modules::{Activation, Mlp, MlpConfig, seeded};

/// A workload under another schedule of rates.
pub struct Rescheduled<M> {
    pub inner: Box<dyn Workload<Model = M>>,
    pub schedule: Schedule,
}

impl<M: Module + 'static> Workload for Rescheduled<M> {
    type Model = M;

    fn about(&self) -> About {
        self.inner.about().with_schedule(self.schedule)
    }

    fn model(&self, seed: u64, device: &Device) -> Result<M, WorkloadError> {
        self.inner.model(seed, device)
    }

    fn batch(
        &self,
        seed: u64,
        step: usize,
        device: &Device,
    ) -> Result<Box<dyn Objective<M>>, WorkloadError> {
        self.inner.batch(seed, step, device)
    }

    fn measure(&self, model: &M, device: &Device) -> Result<f64, WorkloadError> {
        self.inner.measure(model, device)
    }

    fn for_tuning(&self) -> Option<Box<dyn Workload<Model = M>>> {
        let schedule = self.schedule;
        let searched = self.inner.for_tuning()?;
        Some(Box::new(Self {
            inner: searched,
            schedule,
        }))
    }
}

fn forward(model: &Mlp, inputs: &Tensor<2>) -> Tensor<2> {
    model.forward(inputs.clone())
}

/// Sums modulo a number, half of them to train on, all in one batch.
pub struct Sums {
    task: ModularAddition,
    stable_max: bool,
}

/// The modulus.
const MODULUS: usize = 41;

impl Sums {
    pub fn new(stable_max: bool) -> Result<Self, WorkloadError> {
        let task = ModularAddition::new(MODULUS, 0.5, 0).map_err(WorkloadError::new)?;
        Ok(Self { task, stable_max })
    }
}

impl Workload for Sums {
    type Model = Mlp;

    fn about(&self) -> About {
        let title = "Sums modulo 41, MLP 82-128-128-41";
        About::new(
            "modular-addition",
            title,
            Metric::accuracy("test accuracy"),
            0,
        )
        .with_schedule(Schedule::Constant)
    }

    fn model(&self, seed: u64, device: &Device) -> Result<Mlp, WorkloadError> {
        let config = MlpConfig::new(vec![2 * MODULUS, 128, 128, MODULUS]);
        Ok(seeded(
            config.with_activation(Activation::Relu).init(device),
            seed,
        ))
    }

    fn batch(
        &self,
        _seed: u64,
        _step: usize,
        device: &Device,
    ) -> Result<Box<dyn Objective<Mlp>>, WorkloadError> {
        let SumBatch { pairs, sums } = self.task.train(device);
        let criterion = match self.stable_max {
            true => Criterion::stable_max(sums),
            false => Criterion::cross_entropy(sums),
        };
        Ok(Box::new(SupervisedBatch::new(pairs, forward, criterion)))
    }

    fn measure(&self, model: &Mlp, device: &Device) -> Result<f64, WorkloadError> {
        let SumBatch { pairs, sums } = self.task.test(device);
        let found = model.forward(pairs).argmax(1).squeeze_dim(1);
        let right = found.equal(sums).float().mean();
        Ok(f64::from(right.into_scalar::<f32>()))
    }
}

/// Digits in batches of a given size, measured by the loss over all of them.
pub struct SizedBatches {
    digits: &'static Digits,
    pub size: usize,
}

impl SizedBatches {
    pub fn new(size: usize) -> Result<Self, WorkloadError> {
        let digits = Digits::load().map_err(WorkloadError::new)?;
        Ok(Self { digits, size })
    }
}

impl Workload for SizedBatches {
    type Model = Mlp;

    fn about(&self) -> About {
        let name = format!("digits-{}", self.size);
        let title = format!("Digits in batches of {}, MLP 64-64-10", self.size);
        About::new(name, title, Metric::loss("training loss"), 0).with_schedule(Schedule::Constant)
    }

    fn model(&self, seed: u64, device: &Device) -> Result<Mlp, WorkloadError> {
        let config = MlpConfig::new(vec![PIXELS, 64, CLASSES]);
        Ok(seeded(config.init(device), seed))
    }

    fn batch(
        &self,
        seed: u64,
        step: usize,
        device: &Device,
    ) -> Result<Box<dyn Objective<Mlp>>, WorkloadError> {
        let train = self.digits.train();
        let a_pass = train.len().div_ceil(self.size);
        let mut batches = Batches::new(train.len(), self.size, seed, (step / a_pass) as u64);
        let positions = batches.nth(step % a_pass).unwrap_or_default();
        let DigitsBatch { images, labels, .. } = train.batch(&positions, device);
        let criterion = Criterion::cross_entropy(labels);
        Ok(Box::new(SupervisedBatch::new(images, forward, criterion)))
    }

    fn measure(&self, model: &Mlp, device: &Device) -> Result<f64, WorkloadError> {
        let DigitsBatch { images, labels, .. } = self.digits.train().all(device);
        let loss = Criterion::cross_entropy(labels).loss(model.forward(images));
        let loss = loss.map_err(WorkloadError::new)?;
        Ok(f64::from(loss.into_scalar::<f32>()))
    }
}
