//! Batches of one step, each evaluated where it came from.

use std::cell::RefCell;
use std::panic::resume_unwind;
use std::thread::{self, ThreadId};

use burn::module::Module;
use burn::optim::{GradientsAccumulator, GradientsParams};
use burn::tensor::{Device, Tensor};
use burn::train::{TrainOutput, TrainStep};
use osculate_curvature::{GradientObjective, Objective, ObjectiveError, RandomStream};

use crate::learner::objective::no_loss;

/// A batch, the device that it is on, and the seed of its dropout masks.
#[derive(Clone)]
pub(super) struct Batch<I> {
    pub(super) seed: u64,
    pub(super) device: Device,
    pub(super) input: I,
}

impl<I: Clone + Send + 'static> Batch<I> {
    /// The training step of a model that is on the batch's device.
    pub(super) fn evaluate<M: TrainStep<Input = I>>(&self, model: &M) -> TrainOutput<M::Output> {
        let stream = RandomStream::of(vec![self.device.clone()]);
        stream.seeded(self.seed, || TrainStep::step(model, self.input.clone()))
    }
}

/// The sum of a model's training steps on batches of several devices, whose gradient at the weights is
/// already known.
pub(super) struct Batches<I> {
    /// Batches by the worker that evaluated them first.
    workers: Vec<(ThreadId, Vec<Batch<I>>)>,
    known: RefCell<Option<GradientsParams>>,
}

impl<I> Batches<I> {
    pub(super) fn new(batches: Vec<(ThreadId, Batch<I>)>, known: GradientsParams) -> Self {
        let mut workers: Vec<(ThreadId, Vec<Batch<I>>)> = Vec::new();
        for (thread, batch) in batches {
            match workers.iter_mut().find(|(other, _)| *other == thread) {
                Some((_, batches)) => batches.push(batch),
                None => workers.push((thread, vec![batch])),
            }
        }
        Self {
            workers,
            known: RefCell::new(Some(known)),
        }
    }
}

impl<M> Objective<M> for Batches<M::Input>
where
    M: TrainStep + Module,
    M::Input: Clone,
{
    fn loss(&self, _model: &M) -> Result<Tensor<1>, ObjectiveError> {
        Err(no_loss())
    }

    fn gradient(&self) -> Option<&dyn GradientObjective<M>> {
        Some(self)
    }
}

impl<M> GradientObjective<M> for Batches<M::Input>
where
    M: TrainStep + Module,
    M::Input: Clone,
{
    fn gradients(&self, model: &M) -> Result<GradientsParams, ObjectiveError> {
        // The first evaluation of a step is that at the weights.
        if let Some(known) = self.known.take() {
            return Ok(known);
        }
        match self.workers.as_slice() {
            [] => Err(ObjectiveError::new(
                "no batch was evaluated before the optimizer's step",
            )),
            [(_, batches)] => Ok(sum(model, batches)),
            workers => Ok(in_parallel(model, workers)),
        }
    }
}

fn sum<M>(model: &M, batches: &[Batch<M::Input>]) -> GradientsParams
where
    M: TrainStep + Module,
    M::Input: Clone,
{
    let mut sum = GradientsAccumulator::new();
    for batch in batches {
        sum.accumulate(model, batch.evaluate(model).grads);
    }
    sum.grads()
}

/// One thread for each worker, with a copy of the model on the worker's device.
fn in_parallel<M>(model: &M, workers: &[(ThreadId, Vec<Batch<M::Input>>)]) -> GradientsParams
where
    M: TrainStep + Module,
    M::Input: Clone,
{
    let main = model.devices().into_iter().next().unwrap_or_default();
    thread::scope(|scope| {
        let running: Vec<_> = workers
            .iter()
            .filter_map(|(_, batches)| {
                let device = batches.first()?.device.clone();
                let (model, batches) = (model.clone(), batches.to_vec());
                Some(scope.spawn(move || sum(&model.fork(&device), &batches)))
            })
            .collect();
        let mut total = GradientsAccumulator::new();
        for worker in running {
            let part = worker.join().unwrap_or_else(|panic| resume_unwind(panic));
            total.accumulate(model, part.to_device(&main, model));
        }
        total.grads()
    })
}
