//! One training's way through its epochs.

use std::sync::Arc;

use burn::data::dataloader::Progress;
use burn::train::{
    EventProcessorTraining, InferenceStep, Interrupter, Learner, LearnerEvent, LearnerModel,
    SupervisedTrainingEventProcessor, TrainLoader, TrainStep, TrainingItem, ValidLoader,
};
use osculate_curvature::{CurvatureError, GradientOracle, Objective};
use osculate_optim::{ClosureOptimizer, Skipped, StepErrorCause, StepReport};

use super::error::LearnerError;
use super::monitor::Observed;
use super::objective::StepObjective;
use super::strategy::Osculate;
use crate::idle::{idle, trainable};

pub(super) struct Run<'a, M: LearnerModel> {
    strategy: &'a Osculate<M>,
    /// The learner without its model: burn lets the weights of a learner be set by records only.
    learner: Learner<M>,
    pub(super) model: M,
    pub(super) processor: SupervisedTrainingEventProcessor<M>,
    pub(super) interrupter: Interrupter,
    batches_of_step: usize,
    steps: usize,
    /// Parameter that the first step left out and why, until a step moves one.
    idle: Option<Skipped>,
}

/// Distance of a supervised form's gradient from the training step's that is still taken for rounding, of
/// half precision as well.
const LARGEST_DISTANCE: f64 = 1e-2;

/// A batch that waits for its step.
struct Pending<I> {
    input: I,
    progress: Progress,
    /// Number of the batch within the epoch, from 1.
    iteration: usize,
}

impl<'a, M> Run<'a, M>
where
    M: LearnerModel,
    <M as TrainStep>::Input: Clone,
{
    pub(super) fn new(
        strategy: &'a Osculate<M>,
        learner: Learner<M>,
        processor: SupervisedTrainingEventProcessor<M>,
        interrupter: Interrupter,
        batches_of_step: usize,
    ) -> Self {
        Self {
            strategy,
            model: learner.model(),
            learner,
            processor,
            interrupter,
            batches_of_step,
            steps: 0,
            idle: None,
        }
    }

    /// The learner with the present weights.
    pub(super) fn learner(&mut self) -> &Learner<M> {
        self.learner.load_model(self.model.clone().into_record());
        &self.learner
    }

    /// Whether the training is to end, which is then logged.
    pub(super) fn stopped(&self) -> bool {
        if let Some(interruption) = self.interrupter.interruption() {
            let reason = interruption.reason.as_deref().unwrap_or("reason unknown");
            tracing::info!(reason, "training interrupted");
        }
        self.interrupter.should_stop()
    }

    pub(super) fn start_train(&mut self, epoch: usize, total_items: usize) {
        self.train_event(LearnerEvent::StartSplit {
            epoch_number: epoch,
            total_items,
        });
    }

    pub(super) fn end_train(&mut self, epoch: usize) {
        self.train_event(LearnerEvent::EndSplit(epoch));
    }

    pub(super) fn train(&mut self, epoch: usize, loader: &TrainLoader<M>) {
        tracing::info!(epoch, "training");
        let mut batches = loader.iter();
        let mut pending = Vec::with_capacity(self.batches_of_step);
        let mut iteration = 0;
        loop {
            let complete = match batches.next() {
                Some(Ok(input)) => {
                    iteration += 1;
                    let progress = batches.progress();
                    let complete = progress.is_completed();
                    pending.push(Pending {
                        input,
                        progress,
                        iteration,
                    });
                    complete
                }
                Some(Err(error)) => {
                    self.interrupter.fail(error);
                    return;
                }
                None => {
                    self.leave(pending);
                    return;
                }
            };
            if (complete || pending.len() >= self.batches_of_step)
                && !self.step(epoch, std::mem::take(&mut pending))
            {
                return;
            }
            if self.interrupter.should_stop() {
                return;
            }
        }
    }

    /// Ends an epoch whose loader never said that it was complete: no step is made on the batches that wait
    /// for one, as in burn's loops, and their items are processed.
    fn leave(&mut self, pending: Vec<Pending<<M as TrainStep>::Input>>) {
        self.strategy.monitor.pass_over(pending.len());
        for batch in pending {
            let made = TrainStep::step(&self.model, batch.input);
            let lr = self.learner.lr_current();
            let item =
                TrainingItem::new(made.item, batch.progress, Some(batch.iteration), Some(lr));
            self.train_event(LearnerEvent::ProcessedItem(item));
        }
    }

    /// Makes one step, and says whether it was made.
    fn step(&mut self, epoch: usize, pending: Vec<Pending<<M as TrainStep>::Input>>) -> bool {
        self.learner.lr_step();
        let lr = self.learner.lr_current();
        let batches = pending.len();
        let first = pending.first().map_or(0, |batch| batch.iteration);
        let (inputs, places): (Vec<_>, Vec<_>) = pending
            .into_iter()
            .map(|batch| (batch.input, (batch.progress, batch.iteration)))
            .unzip();
        let objective = StepObjective::new(inputs, self.strategy.supervised);
        if self.steps == 0 {
            self.compare_supervised(&objective);
        }
        let mut optimizer = self.strategy.optimizer.borrow_mut();
        let made = optimizer.step(lr.clone(), self.model.clone(), &objective);
        drop(optimizer);
        let step = match made {
            Ok(step) => step,
            Err(error) => {
                self.model = error.model;
                let error = self.step_error(error.cause, epoch, first, batches);
                self.strategy.fail(&self.interrupter, error);
                return false;
            }
        };
        self.model = step.model;
        let outputs = objective.take_outputs();
        let (sharpness, trace) = self.measure(&objective).unzip();
        self.steps += 1;
        self.note_idle(&step.report);

        let observed = Arc::new(Observed {
            report: step.report.compact(),
            sharpness,
            trace,
        });
        self.strategy.monitor.publish(observed, outputs.len());
        for (output, (progress, iteration)) in outputs.into_iter().zip(places) {
            let item = TrainingItem::new(output, progress, Some(iteration), Some(lr.clone()));
            self.train_event(LearnerEvent::ProcessedItem(item));
        }
        true
    }

    /// Notes how far the supervised form of the first batch is from its training step, and warns where that
    /// is more than rounding. Costs two gradients.
    fn compare_supervised(&self, objective: &StepObjective<M>) {
        let first = objective.first(self.strategy.supervised);
        let Some(supervised) = first.only() else {
            return;
        };
        let gradient = |objective: &dyn Objective<M>| {
            let oracle = GradientOracle::new(&self.model, objective);
            let clean = oracle.clean();
            clean.map(|clean| clean.gradient.clone())
        };
        // What fails here fails in the step, and is told there.
        let (Ok(stepped), Ok(supervised)) = (gradient(&first), gradient(supervised)) else {
            return;
        };
        let distance = match stepped.layout().check(supervised.layout()) {
            Ok(()) => supervised.sub(&stepped).norm() / stepped.norm(),
            // It does not depend on the same parameters.
            Err(_) => f64::INFINITY,
        };
        self.strategy.monitor.note_distance(distance);
        if distance > LARGEST_DISTANCE {
            tracing::warn!(
                distance,
                "`SupervisedModel::supervised` is another loss than the training step's: its gradient is off \
                 by this part, and curvature that is made of it is not that of the loss"
            );
        }
    }

    /// Looks for a parameter that moves, until there is one: in a sound training this reads the flags of
    /// the first step back, and of no other.
    fn note_idle(&mut self, report: &StepReport) {
        if self.steps > 1 && self.idle.is_none() {
            return;
        }
        self.idle = idle(report, trainable(&self.model));
        if let (1, Some(first)) = (self.steps, &self.idle) {
            tracing::warn!(
                path = first.path,
                reason = ?first.reason,
                "the first step left every parameter out"
            );
        }
    }

    /// Fails the training where it had epochs and made no step, or where no step moved a parameter.
    pub(super) fn check_moved(&self, epochs: usize) {
        if epochs > 0 && self.steps == 0 && !self.interrupter.should_stop() {
            let batches_of_step = self.batches_of_step;
            let error = LearnerError::NoStep {
                epochs,
                batches_of_step,
            };
            self.strategy.fail(&self.interrupter, error);
        }
        if let Some(Skipped { path, reason }) = self.idle.clone() {
            let steps = self.steps;
            let error = LearnerError::NothingMoved {
                steps,
                path,
                reason,
            };
            self.strategy.fail(&self.interrupter, error);
        }
    }

    fn measure(&self, objective: &StepObjective<M>) -> Option<(f64, f64)> {
        let probe = self.strategy.probe.filter(|probe| probe.due(self.steps))?;
        probe
            .measure(&self.model, &objective.first(self.strategy.supervised))
            .inspect_err(|error| tracing::warn!(%error, "the curvature was not measured"))
            .ok()
    }

    fn step_error(
        &self,
        cause: StepErrorCause,
        epoch: usize,
        iteration: usize,
        batches: usize,
    ) -> LearnerError {
        match needs_outputs(&cause) {
            Some(what) if self.strategy.supervised.is_some() && batches > 1 => {
                LearnerError::Accumulated { what, batches }
            }
            Some(what) => LearnerError::NotSupervised {
                epoch,
                iteration,
                what,
            },
            None => LearnerError::Step {
                epoch,
                iteration,
                cause,
            },
        }
    }

    pub(super) fn validate(&mut self, epoch: usize, loader: &ValidLoader<M>) {
        tracing::info!(epoch, "validating");
        let Some(model) = self.evaluation_model() else {
            return;
        };
        self.valid_event(LearnerEvent::StartSplit {
            epoch_number: epoch,
            total_items: loader.num_items(),
        });
        let model = model.valid();
        let mut batches = loader.iter();
        let mut iteration = 0;
        while let Some(batch) = batches.next() {
            let input = match batch {
                Ok(input) => input,
                Err(error) => {
                    self.interrupter.fail(error);
                    break;
                }
            };
            iteration += 1;
            let progress = batches.progress();
            let output = InferenceStep::step(&model, input);
            let item = TrainingItem::new(output, progress, Some(iteration), None);
            self.valid_event(LearnerEvent::ProcessedItem(item));
            if self.interrupter.should_stop() {
                break;
            }
        }
        self.valid_event(LearnerEvent::EndSplit(epoch));
        self.train_event(LearnerEvent::EndEpoch(epoch));
    }

    /// The model to validate on and to end with; without one the training stops.
    pub(super) fn evaluation_model(&self) -> Option<M> {
        let optimizer = self.strategy.optimizer.borrow();
        match optimizer.evaluation_model(&self.model) {
            Ok(model) => Some(model),
            Err(cause) => {
                let error = LearnerError::Evaluation { cause };
                self.strategy.fail(&self.interrupter, error);
                None
            }
        }
    }

    fn train_event(&mut self, event: LearnerEvent<<M as TrainStep>::Output>) {
        let processed = self.processor.process_train(event);
        self.interrupter.fail_on_error(processed);
    }

    fn valid_event(&mut self, event: LearnerEvent<<M as InferenceStep>::Output>) {
        let processed = self.processor.process_valid(event);
        self.interrupter.fail_on_error(processed);
    }
}

/// What asked a step for the model's outputs in vain. The advice for those who write their own loops is none
/// for those who do not.
pub(super) fn needs_outputs(cause: &StepErrorCause) -> Option<&'static str> {
    match cause {
        StepErrorCause::Curvature(CurvatureError::NotSupervised { what }) => Some(what),
        StepErrorCause::Curvature(CurvatureError::NotRecordable) => Some("an exact product"),
        _ => None,
    }
}
