//! The loop.

use std::path::Path;
use std::time::Instant;

use burn::module::Module;
use burn::optim::LearningRate;
use burn::tensor::Device;
use osculate_curvature::{Accumulated, Drawing, ObjectiveError};
use osculate_optim::{ClosureOptimizer, Skipped, StepReport};
use osculate_program::Interrupt;

use super::checkpoint::{Checkpoints, save_model};
use super::config::{NonFiniteLoss, TrainerConfig};
use super::console::Console;
use super::error::TrainerError;
use super::folder::{BEST_FILE, LOG_FILE};
use super::log::{CurvatureInUse, Line, Log, finite, read as read_log};
use super::picture;
use super::plan::Plan;
use super::run::Finished;
use super::sharpness::{announced, measure};
use super::state::{Best, Evaluated, State};
use super::summary::{Ending, Summary};
use super::task::{Batch, BatchAt, Metrics, Task, listed};
use crate::idle::{idle, trainable};

/// What a run works with.
pub(crate) struct Equipment<M: Module> {
    pub(crate) plan: Plan,
    pub(crate) checkpoints: Checkpoints,
    pub(crate) log: Log,
    pub(crate) console: Console,
    pub(crate) optimizer: Box<dyn ClosureOptimizer<M>>,
}

/// A run under way.
pub(crate) struct Drive<'a, T: Task> {
    task: &'a T,
    config: &'a TrainerConfig,
    out: &'a Path,
    interrupt: Interrupt,
    with: Equipment<T::Model>,
    state: State,
    /// Step of the newest checkpoint.
    saved: Option<u64>,
    /// Seconds of the parts before this one.
    before: f64,
    start: Instant,
    /// Steps whose numbers are still on the device.
    pending: Vec<(u64, StepReport)>,
    trainable: usize,
    /// Whether it was said what a measurement of the sharpness costs.
    announced: bool,
    /// A parameter that the last step left out, where it left out all.
    idle: Option<Skipped>,
    lr: LearningRate,
}

impl<'a, T: Task> Drive<'a, T> {
    pub(crate) fn new(
        task: &'a T,
        config: &'a TrainerConfig,
        out: &'a Path,
        interrupt: Interrupt,
        with: Equipment<T::Model>,
        state: State,
    ) -> Self {
        Self {
            task,
            config,
            out,
            interrupt,
            with,
            saved: (state.step > 0).then_some(state.step),
            before: state.seconds,
            state,
            start: Instant::now(),
            pending: Vec::new(),
            trainable: 0,
            announced: false,
            idle: None,
            lr: 0.0,
        }
    }

    /// Makes the steps that are left.
    pub(crate) fn train(mut self, model: T::Model) -> Result<Finished<T::Model>, TrainerError> {
        let mut model = model;
        self.trainable = trainable(&model);
        if self.state.due {
            self.follow_up(&model)?;
        }
        let ending = loop {
            if let Some(ending) = self.ending() {
                break ending;
            }
            model = self.advance(model)?;
        };
        // An interrupted run is to end now; a run that was resumed at its end has all of this.
        if ending != Ending::Interrupted && !self.is_evaluated() {
            self.guarded(&model, |drive| drive.evaluate(&model))?;
        }
        if !self.is_saved() {
            self.save(&model)?;
        }
        let (lines, damage) = read_log(&self.out.join(LOG_FILE))?;
        if let Some(damage) = damage {
            self.with.console.warn(&damage);
        }
        picture::draw_all(&lines, self.task.judged(), self.out)?;
        self.with.console.finish();
        let step = self.state.step;
        let all_idle = ending != Ending::Interrupted && self.state.idle == step;
        if let (true, Some(Skipped { path, reason })) = (all_idle, self.idle.take()) {
            return Err(TrainerError::NothingMoved {
                steps: step,
                path,
                reason,
            });
        }
        let summary = self.summary(&model, ending);
        let evaluation_model = self.evaluation_model(&model)?;
        Ok(Finished {
            model,
            evaluation_model,
            summary,
        })
    }

    /// Why the run is over, if it is.
    fn ending(&self) -> Option<Ending> {
        let over = |spent: f64, budget: Option<f64>| budget.is_some_and(|budget| spent >= budget);
        if self.state.step >= self.with.plan.steps() {
            Some(Ending::Finished)
        } else if self.interrupt.is_set() {
            Some(Ending::Interrupted)
        } else if over(self.seconds(), self.config.max_seconds) {
            Some(Ending::OutOfTime)
        } else if over(self.state.gradient_evaluations(), self.config.max_gradients) {
            Some(Ending::OutOfGradients)
        } else {
            None
        }
    }

    /// Makes one step, and what is due after it.
    fn advance(&mut self, model: T::Model) -> Result<T::Model, TrainerError> {
        let devices = model.devices();
        let batch = self.guarded(&model, |drive| drive.batch(&devices))?;
        let steps = self.with.plan.steps();
        self.lr = self.config.peak_lr() * self.config.schedule.factor(self.state.step, steps);
        let (task, seed, step) = (self.task, self.config.seed, self.state.step);
        let objective = Drawing::new(batch.objective, |number| {
            let at = BatchAt::drawn(seed, step, number, task.batches_per_epoch());
            at.seed_devices(&devices);
            let batch = task.batch(at).map_err(ObjectiveError::new)?;
            if batch.samples == 0 {
                return Err(ObjectiveError::new(no_sample(at).to_string()));
            }
            Ok(batch.objective)
        });
        let made = match self.with.optimizer.step(self.lr, model, &objective) {
            Ok(made) => made,
            Err(error) => {
                let step = self.state.step + 1;
                return self.guarded(&error.model, |_| {
                    Err(TrainerError::Step {
                        step,
                        cause: error.cause,
                    })
                });
            }
        };
        let model = made.model;
        self.state.step += 1;
        self.state.spend(made.report.cost());
        self.pending.push((self.state.step, made.report.compact()));
        self.with.console.step(self.state.step);

        let step = self.state.step;
        if step.is_multiple_of(self.config.log_every) || step == steps {
            // The last report is asked for more than the others.
            let last = self.pending.last().map(|(_, report)| report.clone());
            self.read_back()?;
            self.guarded(&model, |drive| drive.log_steps(last))?;
        }
        self.state.due = true;
        self.follow_up(&model)?;
        Ok(model)
    }

    /// Makes what is due after a step, or what is left of it.
    fn follow_up(&mut self, model: &T::Model) -> Result<(), TrainerError> {
        let step = self.state.step;
        let due = |every: u64| every > 0 && step.is_multiple_of(every);
        let evaluate = match self.config.evaluate_every {
            Some(every) => due(every),
            None => self.with.plan.ends_epoch(step),
        };
        if evaluate && !self.is_evaluated() {
            // A loss that is not finite is found out before it is measured and saved.
            self.read_back()?;
            self.guarded(model, |drive| drive.evaluate(model))?;
        }
        if due(self.config.sharpness.every) {
            self.read_back()?;
            self.guarded(model, |drive| drive.measure_sharpness(model))?;
        }
        self.state.due = false;
        if due(self.config.checkpoint_every) {
            self.save(model)?;
        }
        Ok(())
    }

    /// Whether the newest checkpoint has all that was made and logged.
    fn is_saved(&self) -> bool {
        self.saved == Some(self.state.step) && self.with.log.bytes() == self.state.log_bytes
    }

    /// The batches of the next step as one. Each is made with the model's devices under its own seed.
    fn batch(&self, devices: &[Device]) -> Result<Batch<T::Model>, TrainerError> {
        let at = self.with.plan.at(self.state.step);
        let mut batches = (at.first..at.first + at.count)
            .map(|index| {
                let at = BatchAt {
                    seed: self.config.seed,
                    epoch: at.epoch,
                    index,
                };
                at.seed_devices(devices);
                self.task.batch(at)
            })
            .collect::<Result<Vec<_>, _>>()
            .map_err(TrainerError::task("making a batch"))?;
        if let Some(empty) = batches.iter().position(|batch| batch.samples == 0) {
            return Err(no_sample(BatchAt {
                seed: self.config.seed,
                epoch: at.epoch,
                index: at.first + empty,
            }));
        }
        if batches.len() == 1
            && let Some(batch) = batches.pop()
        {
            return Ok(batch);
        }
        let samples = batches.iter().map(|batch| batch.samples).sum();
        let parts = batches
            .into_iter()
            .map(|batch| (batch.objective, batch.samples));
        Ok(Batch::new(Accumulated::new(parts.collect()), samples))
    }

    /// Runs what may fail while the weights are good: they are saved first where it does.
    fn guarded<R>(
        &mut self,
        model: &T::Model,
        run: impl FnOnce(&mut Self) -> Result<R, TrainerError>,
    ) -> Result<R, TrainerError> {
        run(self).inspect_err(|_| {
            if self.state.step > 0 && !self.is_saved() {
                // The first error is the one to report.
                if let Err(second) = self.save(model) {
                    self.with.console.warn(&second.to_string());
                }
            }
            self.with.console.finish();
        })
    }

    /// Reads the numbers of the steps since the last time back.
    fn read_back(&mut self) -> Result<(), TrainerError> {
        for (step, report) in self.pending.drain(..) {
            let loss = report.loss();
            if !loss.is_finite() && self.config.non_finite == NonFiniteLoss::Stop {
                self.with.console.finish();
                return Err(TrainerError::LossNotFinite { step, loss });
            }
            let skipped = report.skipped().len() as u64;
            self.state.skipped += skipped;
            self.idle = idle(&report, self.trainable);
            self.state.idle += u64::from(self.idle.is_some());
            let window = &mut self.state.window;
            window.steps += 1;
            window.loss_sum += loss;
            window.skipped += skipped;
            window.curvature = CurvatureInUse::after(window.curvature.take(), &report);
        }
        Ok(())
    }

    /// Writes the line of the steps since the last one, whose numbers were read back.
    fn log_steps(&mut self, last: Option<StepReport>) -> Result<(), TrainerError> {
        let window = std::mem::take(&mut self.state.window);
        self.state.train_loss = window.mean();
        let (norm, win_rate) = match &last {
            Some(report) => (finite(report.gradient_norm()), report.win_rate()),
            None => (None, None),
        };
        self.with.log.write(&Line::Train {
            step: self.state.step,
            epoch: self.with.plan.epoch_of(self.state.step),
            seconds: self.seconds(),
            gradient_evaluations: self.state.gradient_evaluations(),
            lr: self.lr,
            loss: finite(self.state.train_loss),
            gradient_norm: norm,
            skipped: window.skipped,
            win_rate: win_rate.and_then(finite),
            curvature: window.curvature,
        })?;
        self.show();
        Ok(())
    }

    fn is_evaluated(&self) -> bool {
        let evaluated = self.state.evaluated.as_ref();
        evaluated.is_some_and(|evaluated| evaluated.step == self.state.step)
    }

    /// Measures the weights, and keeps them where they are the best so far.
    fn evaluate(&mut self, model: &T::Model) -> Result<(), TrainerError> {
        let model = &self.evaluation_model(model)?;
        // A pass that no batch is of.
        self.seed_for(model, u64::MAX - 1, self.state.step as usize);
        let metrics = self
            .task
            .evaluate(&model.valid())
            .map_err(TrainerError::task("the evaluation"))?;
        let judged = self.task.judged();
        let value = metrics
            .iter()
            .find(|(name, _)| name == judged.metric)
            .map(|(_, value)| *value)
            .ok_or_else(|| TrainerError::TaskInvalid {
                what: format!("the evaluation gave no metric {:?}", judged.metric),
                expected: "the metric that `Task::judged` names",
            })?;
        let step = self.state.step;
        self.with.log.write(&Line::Evaluation {
            step,
            epoch: self.with.plan.epoch_of(step),
            seconds: self.seconds(),
            gradient_evaluations: self.state.gradient_evaluations(),
            metrics: metrics
                .iter()
                .map(|(name, value)| (name.clone(), finite(*value)))
                .collect(),
        })?;
        let best = self.state.best;
        if !value.is_nan() && best.is_none_or(|best| judged.improves(value, best.value)) {
            save_model(model, &self.out.join(BEST_FILE))?;
            self.state.best = Some(Best { step, value });
        }
        self.with
            .console
            .say(format!("step {step}: {}", listed(&metrics)));
        self.state.evaluated = Some(Evaluated::new(step, &metrics));
        self.show();
        Ok(())
    }

    /// Seeds the model's devices for what is no step.
    fn seed_for(&self, model: &T::Model, epoch: u64, index: usize) {
        let at = BatchAt {
            seed: self.config.seed,
            epoch,
            index,
        };
        at.seed_devices(&model.devices());
    }

    /// The model to evaluate: with averaged weights where the optimizer averages.
    fn evaluation_model(&self, model: &T::Model) -> Result<T::Model, TrainerError> {
        let step = self.state.step;
        let made = self.with.optimizer.evaluation_model(model);
        made.map_err(|cause| TrainerError::EvaluationModel { step, cause })
    }

    fn measure_sharpness(&mut self, model: &T::Model) -> Result<(), TrainerError> {
        self.seed_for(model, 0, 0);
        let batch = self
            .task
            .sharpness_batch(self.config.seed)
            .map_err(TrainerError::task("making the batch for the sharpness"))?;
        if batch.samples == 0 {
            return Err(TrainerError::TaskInvalid {
                what: "the batch for the sharpness has no sample".to_string(),
                expected: "at least one sample in a batch",
            });
        }
        let settings = &self.config.sharpness;
        let kind = settings.kind(self.task.has_kinks());
        if !self.announced {
            self.announced = true;
            self.with.console.say(format!(
                "sharpness, every {} steps: {}",
                settings.every,
                announced(kind, batch.samples)
            ));
        }
        self.with.console.busy("measuring the sharpness");
        let objective = batch.objective.as_ref();
        let found = measure(model, objective, kind, settings.rho, self.config.seed)
            .map_err(TrainerError::Sharpness)?;
        self.with.log.write(&Line::Sharpness {
            step: self.state.step,
            epoch: self.with.plan.epoch_of(self.state.step),
            seconds: self.seconds(),
            sharpness: finite(found.value),
            converged: found.converged,
            of: Some(found.of),
            exact: Some(found.provenance.is_exact()),
            product_error: found.provenance.error().and_then(finite),
            fallback: found.provenance.reason().map(|why| why.to_string()),
        })
    }

    /// Writes a checkpoint.
    fn save(&mut self, model: &T::Model) -> Result<(), TrainerError> {
        self.read_back()?;
        self.with.log.sync()?;
        self.state.seconds = self.seconds();
        self.state.log_bytes = self.with.log.bytes();
        let best = self.out.join(BEST_FILE);
        if self.state.best.is_some() && !best.exists() {
            self.with.console.warn(&format!(
                "{} was taken away: the next evaluation counts as the best",
                best.display()
            ));
            self.state.best = None;
        }
        self.with.checkpoints.save(
            model,
            self.with.optimizer.as_ref(),
            &self.state,
            &best,
            self.config.keep_checkpoints,
        )?;
        self.saved = Some(self.state.step);
        Ok(())
    }

    fn seconds(&self) -> f64 {
        self.before + self.start.elapsed().as_secs_f64()
    }

    fn metrics(&self) -> Metrics {
        let evaluated = self.state.evaluated.as_ref();
        evaluated.map(Evaluated::metrics).unwrap_or_default()
    }

    fn show(&self) {
        let metrics = self.metrics();
        let loss = self.state.train_loss;
        self.with.console.show(loss, self.lr, &metrics);
    }

    fn summary(&self, model: &T::Model, ending: Ending) -> Summary {
        let window = &self.state.window;
        Summary {
            optimizer: self.config.optimizer.to_string(),
            ending,
            step: self.state.step,
            steps: self.with.plan.steps(),
            passes: self.with.plan.passes(self.state.step),
            seconds: self.seconds(),
            gradient_evaluations: self.state.gradient_evaluations(),
            train_loss: if window.steps > 0 {
                window.mean()
            } else {
                self.state.train_loss
            },
            metrics: self.metrics(),
            judged: self.task.judged().metric,
            best: self.state.best,
            skipped: self.state.skipped,
            parameters: model.num_params(),
            state_bytes: self.with.optimizer.state_bytes(),
            out: self.out.to_path_buf(),
        }
    }
}

/// A batch of nothing would have no loss, or no weight among others.
fn no_sample(at: BatchAt) -> TrainerError {
    TrainerError::TaskInvalid {
        what: format!("batch {} of pass {} has no sample", at.index, at.epoch),
        expected: "at least one sample in a batch",
    }
}
