//! An optimizer inside a model's training step.

mod carrier;
mod objective;
mod waiting;

use std::fmt::{Debug, Display, Formatter};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use burn::lr_scheduler::module_lr_scheduler::ModuleLearningRate;
use burn::module::{Devices, Module, ModuleMapper, ModuleVisitor};
use burn::optim::{GradientsAccumulator, GradientsParams, ModuleOptimizer, MultiGradientsParams};
use burn::store::{ModuleRecord, RecordError};
use burn::tensor::Device;
use burn::train::train::WorkerFailure;
use burn::train::{InferenceStep, Interrupter, TrainOutput, TrainStep, TrainingError};
use osculate_optim::{ClosureOptimizer, RecordError as StateError, StepReport};
use thiserror::Error;

use super::epoch::needs_outputs;
use super::error::LearnerError;
use super::monitor::{Monitor, Observed};
use crate::idle::{idle, trainable};
use carrier::{Carried, Carrier, exchange};
use objective::{Batch, Batches};
use waiting::{Waiting, mask_seed};

/// A model with a closure optimizer inside it, for burn's own training loops: on one device, on several
/// (`ExecutionStrategy::multi`), and distributed (`ExecutionStrategy::ddp`).
///
/// Give it to `Learner::new` in place of the model. Each [`TrainStep::step`] is the model's own;
/// [`TrainStep::optimize`] then makes the optimizer's step with the gradient that burn has
/// gathered, and evaluates further gradients on all batches that went into it:
///
/// - On several devices each batch is evaluated on its device, in parallel, and the sum is what one
///   device would get for all batches together. burn adds gradients of devices up, so losses that are
///   means count once for each device.
/// - In distributed training every worker makes the same step: copies of the model at other weights
///   keep the marks by which burn reduces gradients over the workers, and random probes depend on the
///   optimizer's seed and step alone. Curvature that needs the model's outputs would be that of one
///   worker, so it is not offered: Sophia-H yes, Sophia-G no.
///
/// Paths of parameters, records and the printed form are the model's own. Methods that need gradients
/// only do better as burn optimizers: `ShampooConfig::new().module_optimizer(&model)`.
///
/// - The burn optimizer given to `Learner::new` makes no steps. With [`carrier`](Self::carrier), burn's
///   checkpoints hold the state of the optimizer within. A resumed training then goes on bit for bit,
///   if its batches come in the same order, and but for the dropout masks of its first step: burn's
///   loops begin with a shuffled loader's first order again, where [`Osculate`](super::Osculate)
///   advances it. With any other, nothing is carried.
/// - Learning rates by parameter group are the schedule's.
/// - Validation, and the model that the training ends with, have the weights of the optimizer's
///   [`evaluation_model`](ClosureOptimizer::evaluation_model); checkpoints have those of the training.
/// - Weights that burn restores without the carrier's state are refused at the first step: the training
///   would go on with a fresh optimizer. Load weights to begin with into the model before it is wrapped.
/// - Under `grads_accumulation(k)` no step is made on fewer than `k` batches at an epoch's end, unless the
///   loader says that it is complete with the last of them, as burn's own do. Workers of distributed
///   training need such a loader, or a number of batches that `k` divides.
/// - The CPU backends have one random generator for all devices: with dropout, the masks of two CPU
///   devices that compute at the same time are not the same in all passes.
///
/// ```
/// use burn::module::Module;
/// use burn::optim::AdamWConfig;
/// use burn::train::{Learner, LearnerModel, TrainStep};
/// use osculate_optim::Sam;
/// use osculate_train::learner::InStep;
///
/// # fn typed<M: LearnerModel>(model: M) -> Result<(), osculate_optim::ConfigError>
/// # where
/// #     <M as TrainStep>::Input: Clone,
/// # {
/// let sam = Sam::new(0.05).over(AdamWConfig::new().init())?;
/// let model = InStep::new(model, sam);
/// let carrier = model.carrier();
/// let learner = Learner::new(model, carrier, 1e-3);
/// # drop(learner);
/// # Ok(())
/// # }
/// ```
///
/// # Panics
/// [`TrainStep::optimize`] cannot return an error. A step that fails panics, unless
/// [`with_interrupter`](Self::with_interrupter) was called.
pub struct InStep<M: TrainStep, O> {
    model: M,
    optimizer: O,
    interrupter: Option<Interrupter>,
    monitor: Monitor,
    seed: u64,
    steps: u64,
    /// Whether the weights are those to evaluate already.
    evaluated: bool,
    /// Whether weights were loaded, and no optimizer's state with them yet.
    restored: bool,
    /// Whether all steps so far left every parameter out.
    idle: bool,
    /// Batches whose gradients wait for the step. Shared by the copies of the model that burn hands
    /// to its workers.
    seen: Arc<Mutex<Waiting<M::Input>>>,
}

impl<M: TrainStep, O> InStep<M, O> {
    /// Puts an optimizer into a model.
    pub fn new(model: M, optimizer: O) -> Self {
        Self {
            model,
            optimizer,
            interrupter: None,
            monitor: Monitor::default(),
            seed: 0,
            steps: 0,
            evaluated: false,
            restored: false,
            idle: true,
            seen: Arc::default(),
        }
    }

    /// Seeds the dropout masks. Default 0. Masks differ from step to step and from device to device;
    /// all passes of a step see the same.
    pub fn with_seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Stops the training on a step that fails, with the weights before it, instead of panicking:
    /// for the handle of `SupervisedTraining::interrupter`.
    pub fn with_interrupter(mut self, interrupter: Interrupter) -> Self {
        self.interrupter = Some(interrupter);
        self
    }

    /// The view of this training, from which metrics are made. It has no sharpness and no trace.
    pub fn monitor(&self) -> Monitor {
        self.monitor.clone()
    }

    /// The burn optimizer for `Learner::new` that takes this optimizer's state through burn's
    /// checkpoints. It makes no steps.
    pub fn carrier(&self) -> ModuleOptimizer {
        Carrier.into()
    }

    /// The model.
    pub fn model(&self) -> &M {
        &self.model
    }

    /// The model, without the optimizer.
    pub fn into_model(self) -> M {
        self.model
    }

    /// The optimizer.
    pub fn optimizer(&self) -> &O {
        &self.optimizer
    }

    fn seen(&self) -> MutexGuard<'_, Waiting<M::Input>> {
        // No code panics while it holds the lock, and the data would be whole if it did.
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The model stays as it was.
    fn fail(&self, cause: &dyn Display) {
        let message = format!("the step was not made: {cause}");
        match &self.interrupter {
            Some(interrupter) => interrupter.fail(TrainingError::Workers(vec![WorkerFailure {
                device_id: 0,
                message: message.to_string(),
            }])),
            None => panic!("{message}"),
        }
    }
}

// Derived, it would ask for batches that can be cloned.
impl<M: TrainStep + Clone, O: Clone> Clone for InStep<M, O> {
    fn clone(&self) -> Self {
        Self {
            model: self.model.clone(),
            optimizer: self.optimizer.clone(),
            interrupter: self.interrupter.clone(),
            monitor: self.monitor.clone(),
            seed: self.seed,
            steps: self.steps,
            evaluated: self.evaluated,
            restored: self.restored,
            idle: self.idle,
            seen: self.seen.clone(),
        }
    }
}

impl<M: TrainStep + Debug, O> Debug for InStep<M, O> {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("InStep")
            .field("model", &self.model)
            .field("steps", &self.steps)
            .finish_non_exhaustive()
    }
}

impl<M: TrainStep + Display, O> Display for InStep<M, O> {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        Display::fmt(&self.model, f)
    }
}

impl<M, O> Module for InStep<M, O>
where
    M: TrainStep + Module,
    O: ClosureOptimizer<M> + Clone + Send,
{
    fn collect_devices(&self, devices: Devices) -> Devices {
        self.model.collect_devices(devices)
    }

    fn fork(self, device: &Device) -> Self {
        Self {
            model: self.model.fork(device),
            ..self
        }
    }

    fn to_device(self, device: &Device) -> Self {
        Self {
            model: self.model.to_device(device),
            ..self
        }
    }

    fn train(self) -> Self {
        Self {
            model: self.model.train(),
            evaluated: false,
            ..self
        }
    }

    /// burn asks for it when an epoch's training is over.
    fn valid(&self) -> Self {
        let left = self.seen().leave();
        self.monitor.pass_over(left);
        let averaged = match self.evaluated {
            true => Ok(self.model.clone()),
            false => self.optimizer.evaluation_model(&self.model),
        };
        let model = averaged.unwrap_or_else(|cause| {
            self.fail(&format_args!("there is no model to validate on: {cause}"));
            self.model.clone()
        });
        Self {
            model: model.valid(),
            evaluated: true,
            ..self.clone()
        }
    }

    fn materialize(self) -> Self {
        Self {
            model: self.model.materialize(),
            ..self
        }
    }

    fn visit<Visitor: ModuleVisitor>(&self, visitor: &mut Visitor) {
        self.model.visit(visitor);
    }

    fn map<Mapper: ModuleMapper>(self, mapper: &mut Mapper) -> Self {
        Self {
            model: self.model.map(mapper),
            ..self
        }
    }

    fn try_load_record(self, record: ModuleRecord) -> Result<Self, RecordError> {
        Ok(Self {
            model: self.model.try_load_record(record)?,
            restored: true,
            ..self
        })
    }
}

impl<M, O> TrainStep for InStep<M, O>
where
    M: TrainStep + Module,
    M::Input: Clone,
    O: ClosureOptimizer<M> + Clone + Send + 'static,
{
    type Input = M::Input;
    type Output = M::Output;

    fn step(&self, input: M::Input) -> TrainOutput<M::Output> {
        let thread = thread::current().id();
        let device = self.model.devices().into_iter().next().unwrap_or_default();
        let number = self.seen().count(thread, self.steps);
        let batch = Batch {
            seed: mask_seed(self.seed, self.steps, number, &device),
            device,
            input,
        };
        let output = batch.evaluate(&self.model);
        self.seen().add(thread, self.steps, batch);
        output
    }

    fn optimize(
        mut self,
        optim: &mut ModuleOptimizer,
        lr_module: ModuleLearningRate,
        grads: GradientsParams,
    ) -> Self {
        let batches = self.seen().take(self.steps);
        let carried = match self.sync(optim, &lr_module) {
            Ok(carried) => carried,
            Err(cause) => {
                self.fail(&cause);
                return self;
            }
        };
        let items = batches.len();
        let objective = Batches::new(batches, grads);
        let made = self
            .optimizer
            .step(lr_module.clone(), self.model.clone(), &objective);
        match made {
            Ok(step) => {
                self.steps += 1;
                self.model = step.model;
                self.note_idle(&step.report);
                let observed = Arc::new(Observed {
                    report: step.report.compact(),
                    sharpness: None,
                    trace: None,
                });
                // Each batch is an item of the metrics.
                self.monitor.publish(observed, items);
            }
            Err(error) => {
                match needs_outputs(&error.cause) {
                    Some(what) => self.fail(&format_args!(
                        "{what} needs the model's outputs, which a step inside the model does not have: \
                         train under `Osculate::supervised`, or with another method"
                    )),
                    None => self.fail(&error.cause),
                }
                self.model = error.model;
            }
        }
        if carried {
            let state = Carried::of(self.optimizer.clone(), self.steps);
            exchange(optim, &self.model, lr_module, Some(state));
        }
        self
    }

    fn optimize_multi(
        self,
        optim: &mut ModuleOptimizer,
        lr_module: ModuleLearningRate,
        grads: MultiGradientsParams,
    ) -> Self {
        // The step needs the whole gradient in one place.
        let main = self.model.devices().into_iter().next().unwrap_or_default();
        let mut sum = GradientsAccumulator::new();
        for (part, _) in grads.grads {
            sum.accumulate(&self.model, part.to_device(&main, &self.model));
        }
        self.optimize(optim, lr_module, sum.grads())
    }
}

impl<M, O> InStep<M, O>
where
    M: TrainStep + Module,
    O: ClosureOptimizer<M>,
{
    /// Takes over the state that burn has restored, where it has, and says whether the learner's
    /// optimizer is a carrier.
    fn sync(
        &mut self,
        optim: &mut ModuleOptimizer,
        lr: &ModuleLearningRate,
    ) -> Result<bool, NotSynced> {
        let exchanged = exchange(optim, &self.model, lr.clone(), None);
        if let Some(loaded) = exchanged.found.and_then(|found| found.loaded()) {
            let (steps, state) = loaded?;
            self.optimizer.load_record(state)?;
            self.steps = steps;
        } else if self.restored {
            return Err(LearnerError::NotCarried.into());
        }
        self.restored = false;
        Ok(exchanged.is_carrier)
    }

    /// Says once that a step moved nothing, and looks until one does: in a sound training this reads the
    /// flags of the first step back, and of no other.
    fn note_idle(&mut self, report: &StepReport) {
        if !self.idle {
            return;
        }
        match idle(report, trainable(&self.model)) {
            Some(first) if self.steps == 1 => tracing::warn!(
                path = first.path,
                reason = ?first.reason,
                "the first step left every parameter out"
            ),
            Some(_) => (),
            None => self.idle = false,
        }
    }
}

impl<M, O> InferenceStep for InStep<M, O>
where
    M: TrainStep + InferenceStep,
{
    type Input = <M as InferenceStep>::Input;
    type Output = <M as InferenceStep>::Output;

    fn step(&self, input: Self::Input) -> Self::Output {
        InferenceStep::step(&self.model, input)
    }
}

/// Why a restored state was not taken over.
#[derive(Debug, Error)]
enum NotSynced {
    #[error(transparent)]
    Learner(#[from] LearnerError),
    #[error("the optimizer's state in the checkpoint: {0}")]
    State(#[from] StateError),
}
