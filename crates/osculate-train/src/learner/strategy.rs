use std::cell::RefCell;
use std::sync::Arc;

use burn::tensor::Device;
use burn::train::{
    EventProcessorTraining, Interrupter, Learner, LearnerModel, LearningResult,
    SupervisedLearningStrategy, SupervisedTrainingEventProcessor, TrainLoader, TrainStep,
    TrainingComponents, TrainingStrategy, ValidLoader,
};
use osculate_optim::ClosureOptimizer;

use super::checkpoint::{CheckpointError, Checkpoints};
use super::epoch::Run;
use super::error::LearnerError;
use super::monitor::Monitor;
use super::objective::{SupervisedFn, SupervisedModel};
use super::probe::CurvatureProbe;

/// A training strategy that runs a closure optimizer for the model of a `Learner`.
///
/// Any [`LearnerModel`] whose batches are `Clone` will do: the optimizer calls
/// [`TrainStep::step`] as often as its method needs, on copies of the model, so that batch
/// normalisation's running statistics move as in one pass and all passes see one dropout mask. What
/// the first pass puts out feeds burn's metrics. All the rest is that of burn's loop on one device:
/// events, stopping from the dashboard, early stopping, schedules of the learning rate, checkpoints.
///
/// What differs from burn's own loop:
///
/// - The burn optimizer given to `Learner::new` makes no steps, and
///   [`TrainStep::optimize`] is not called.
/// - Under `grads_accumulation(k)` a step is made on `k` batches, which are held until then, with the
///   sum of their gradients, as in burn. Their items reach the metrics after the step; batches that
///   wait when the training is stopped are dropped, and their items with them. Of fewer than `k` batches
///   at an epoch's end a step is made where the loader says that it is complete with the last of them,
///   as burn's own do, and none otherwise, as in burn's loops.
/// - Checkpoints are those of [`Checkpoints`]. With burn's own checkpointers, which know
///   nothing of the optimizer, the training stops with an error before its first step.
/// - Validation, and the model that the training ends with, have the weights of the optimizer's
///   [`evaluation_model`](ClosureOptimizer::evaluation_model), averaged ones where it averages.
///   Checkpoints have those of the training.
/// - `SupervisedTraining::gradient_checkpointing` does not reach a strategy: hand its device over with
///   [`with_device`](Self::with_device).
/// - A step that fails stops the training. The weights are those before it;
///   [`Monitor::error`] has the reason. A training of which every step leaves every parameter out, since
///   nothing is finite, ends with [`LearnerError::NothingMoved`], and one whose loader gives no batch with
///   [`LearnerError::NoStep`].
///
/// ```
/// use burn::train::{LearnerModel, SupervisedTraining, TrainStep};
/// use osculate_optim::SophiaConfig;
/// use osculate_train::learner::Osculate;
///
/// # fn typed<M: LearnerModel>(
/// #     training: SupervisedTraining<M>,
/// # ) -> Result<SupervisedTraining<M>, osculate_optim::ConfigError>
/// # where
/// #     <M as TrainStep>::Input: Clone,
/// # {
/// let sophia = SophiaConfig::h().init()?;
/// let training = training.with_training_strategy(Osculate::new(sophia).into());
/// # Ok(training)
/// # }
/// ```
pub struct Osculate<M: LearnerModel> {
    pub(super) optimizer: RefCell<Box<dyn ClosureOptimizer<M>>>,
    pub(super) supervised: Option<SupervisedFn<M>>,
    pub(super) probe: Option<CurvatureProbe>,
    pub(super) monitor: Monitor,
    device: Option<Device>,
    checkpoints: Option<Checkpoints>,
}

impl<M: LearnerModel> Osculate<M> {
    /// A strategy for any model, of which it knows the gradients only. Methods that need the model's
    /// outputs stop with [`LearnerError::NotSupervised`]: see [`supervised`](Self::supervised).
    pub fn new(optimizer: impl ClosureOptimizer<M> + 'static) -> Self {
        Self {
            optimizer: RefCell::new(Box::new(optimizer)),
            supervised: None,
            probe: None,
            monitor: Monitor::default(),
            device: None,
            checkpoints: None,
        }
    }

    /// A strategy for a model whose loss is a criterion of its outputs, for all methods.
    pub fn supervised(optimizer: impl ClosureOptimizer<M> + 'static) -> Self
    where
        M: SupervisedModel,
    {
        Self {
            supervised: Some(M::supervised),
            ..Self::new(optimizer)
        }
    }

    /// Trains on this device instead of the model's own. It is made an autodiff device where it is
    /// none.
    pub fn with_device(mut self, device: Device) -> Self {
        self.device = Some(device);
        self
    }

    /// Saves and restores the optimizer's state with these checkpoints.
    pub fn with_checkpoints(mut self, checkpoints: &Checkpoints) -> Self {
        self.checkpoints = Some(checkpoints.clone());
        self
    }

    /// Measures the curvature along the way, for the metrics.
    pub fn with_curvature(mut self, probe: CurvatureProbe) -> Self {
        self.probe = Some(probe);
        self
    }

    /// The view of this training, from which metrics are made.
    pub fn monitor(&self) -> Monitor {
        self.monitor.clone()
    }

    /// Stops the training.
    pub(super) fn fail(&self, interrupter: &Interrupter, error: LearnerError) {
        interrupter.fail(error.for_burn());
        self.monitor.fail(Arc::new(error));
    }

    fn training_device(&self, model: &M) -> Device {
        let device = match &self.device {
            Some(device) => device.clone(),
            None => model.devices().into_iter().next().unwrap_or_default(),
        };
        if device.is_autodiff() {
            device
        } else {
            device.autodiff()
        }
    }

    /// Takes over the optimizer's state of a restored checkpoint.
    fn restore(&self, components: &TrainingComponents<M>) -> Result<(), LearnerError> {
        let shared = self.checkpoints.as_ref().map(|known| &known.shared);
        let saved = shared.is_some_and(|shared| shared.is_registered());
        if components.checkpointer.is_some() && !saved {
            return Err(CheckpointError::Detached.into());
        }
        let Some(epoch) = components.checkpoint else {
            return Ok(());
        };
        let restored = shared.and_then(|shared| shared.take_restored());
        let (epoch, state) = restored.ok_or(CheckpointError::NotRestored { epoch })?;
        self.optimizer
            .borrow_mut()
            .load_record(state)
            .map_err(|source| LearnerError::State { epoch, source })
    }
}

impl<M> From<Osculate<M>> for TrainingStrategy<M>
where
    M: LearnerModel,
    <M as TrainStep>::Input: Clone,
{
    fn from(strategy: Osculate<M>) -> Self {
        TrainingStrategy::Custom(Arc::new(strategy))
    }
}

impl<M> SupervisedLearningStrategy<M> for Osculate<M>
where
    M: LearnerModel,
    <M as TrainStep>::Input: Clone,
{
    fn train(
        &self,
        learner: Learner<M>,
        dataloader_train: TrainLoader<M>,
        dataloader_valid: ValidLoader<M>,
        mut components: TrainingComponents<M>,
    ) -> LearningResult<M> {
        // Where the checkpoint asked for is damaged, an earlier one has been loaded.
        let restored = self.checkpoints.as_ref().and_then(Checkpoints::restored);
        if let (Some(asked), Some(found)) = (components.checkpoint, restored)
            && found.asked == asked
        {
            components.checkpoint = Some(found.epoch);
        }
        Fit(self).train(learner, dataloader_train, dataloader_valid, components)
    }

    fn fit(
        &self,
        components: TrainingComponents<M>,
        learner: Learner<M>,
        dataloader_train: TrainLoader<M>,
        dataloader_valid: ValidLoader<M>,
        starting_epoch: usize,
    ) -> (M, SupervisedTrainingEventProcessor<M>) {
        Fit(self).fit(
            components,
            learner,
            dataloader_train,
            dataloader_valid,
            starting_epoch,
        )
    }
}

/// The loop itself, with burn's start and end around it.
struct Fit<'a, M: LearnerModel>(&'a Osculate<M>);

impl<M> SupervisedLearningStrategy<M> for Fit<'_, M>
where
    M: LearnerModel,
    <M as TrainStep>::Input: Clone,
{
    fn fit(
        &self,
        components: TrainingComponents<M>,
        mut learner: Learner<M>,
        dataloader_train: TrainLoader<M>,
        dataloader_valid: ValidLoader<M>,
        starting_epoch: usize,
    ) -> (M, SupervisedTrainingEventProcessor<M>) {
        let strategy = self.0;
        let restored = strategy.restore(&components);
        let resumed = components.checkpoint.is_some();
        let TrainingComponents {
            num_epochs,
            mut checkpointer,
            grad_accumulation,
            interrupter,
            mut early_stopping,
            event_processor,
            event_store,
            ..
        } = components;
        if let Err(error) = restored {
            strategy.fail(&interrupter, error);
            return (learner.model(), event_processor);
        }

        let device = strategy.training_device(&learner.model());
        let train = dataloader_train.to_device(&device);
        let valid = dataloader_valid.to_device(&device.clone().inner());
        learner.fork(&device);
        if resumed {
            // A loader that shuffles draws the order of an epoch when its iteration begins.
            for _ in 1..starting_epoch {
                drop(train.iter());
                drop(valid.iter());
            }
        }

        let batches_of_step = grad_accumulation.unwrap_or(1);
        let mut run = Run::new(
            strategy,
            learner,
            event_processor,
            interrupter,
            batches_of_step,
        );
        for epoch in starting_epoch..=num_epochs {
            run.start_train(epoch, train.num_items());
            run.train(epoch, &train);
            run.end_train(epoch);
            if run.stopped() {
                break;
            }
            run.validate(epoch, &valid);
            if checkpointer.is_some() || early_stopping.is_some() {
                let flushed = run.processor.flush();
                run.interrupter.fail_on_error(flushed);
            }
            if run.stopped() {
                break;
            }
            if let Some(checkpointer) = &mut checkpointer {
                if let Some(checkpoints) = &strategy.checkpoints {
                    let state = strategy.optimizer.borrow().to_record();
                    checkpoints.shared.offer(epoch, state);
                }
                checkpointer.checkpoint(run.learner(), epoch, &event_store);
            }
            if let Some(early_stopping) = &mut early_stopping
                && early_stopping.should_stop(epoch, &event_store)
            {
                break;
            }
        }
        run.check_moved((num_epochs + 1).saturating_sub(starting_epoch));
        let model = run.evaluation_model().unwrap_or_else(|| run.model.clone());
        (model, run.processor)
    }
}
