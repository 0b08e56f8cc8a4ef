//! How a run is set up.

use std::fs;
use std::path::PathBuf;

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::Tensor;
use osculate_program::{FolderLock, Interrupt};
use serde::Serialize;
use serde_json::{Value, json};

use super::checkpoint::{Checkpoints, Newest, restore_best};
use super::config::TrainerConfig;
use super::console::Console;
use super::drive::{Drive, Equipment};
use super::error::TrainerError;
use super::folder::{
    BEST_ASIDE, BEST_FILE, CHECKPOINTS, CONFIG_FILE, LOG_FILE, length_before, prepare, renew,
};
use super::log::Log;
use super::plan::Plan;
use super::state::{Data, State};
use super::summary::Summary;
use super::task::Task;

/// Trains a [`Task`]: see the [module](super) for what it writes.
///
/// ```no_run
/// # use osculate_train::trainer::{Task, Trainer, TrainerConfig, TrainerError};
/// # use osculate_optim::registry::OptimizerKind;
/// # fn train<T: Task>(task: &T) -> Result<(), TrainerError> {
/// let config = TrainerConfig::new(OptimizerKind::SOAP);
/// let finished = Trainer::new(task, config, "results").run()?;
/// println!("{}", finished.summary);
/// # Ok(())
/// # }
/// ```
pub struct Trainer<'a, T: Task> {
    task: &'a T,
    config: TrainerConfig,
    out: PathBuf,
    document: Value,
    resume: bool,
    overwrite: bool,
    progress: bool,
    interrupt: Interrupt,
    free: Vec<String>,
}

/// The end of a run.
#[derive(Debug)]
pub struct Finished<M> {
    /// The model with its last weights, ready to be trained on.
    pub model: M,
    /// The model for inference, by `valid()`: the same, but for an optimizer that averages weights with
    /// their average.
    pub evaluation_model: M,
    /// What came of the run.
    pub summary: Summary,
}

/// Makes a model's weights where they are not made yet.
struct Drawn;

impl ModuleVisitor for Drawn {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        param.val();
    }
}

impl<'a, T: Task> Trainer<'a, T> {
    /// A trainer of a new run that writes to the folder `out`, with a progress bar where standard
    /// error is a terminal, and without catching signals.
    pub fn new(task: &'a T, config: TrainerConfig, out: impl Into<PathBuf>) -> Self {
        let document = json!({ "trainer": config });
        Self {
            task,
            config,
            out: out.into(),
            document,
            resume: false,
            overwrite: false,
            progress: true,
            interrupt: Interrupt::new(),
            free: Vec::new(),
        }
    }

    /// Sets what `config.json` holds: the program's whole configuration, with the trainer's in its
    /// field `trainer`.
    ///
    /// # Errors
    /// [`TrainerError::Config`] where it is not JSON.
    pub fn with_document(mut self, document: &impl Serialize) -> Result<Self, TrainerError> {
        self.document = serde_json::to_value(document).map_err(|error| TrainerError::Config {
            path: CONFIG_FILE.to_string(),
            message: error.to_string(),
        })?;
        Ok(self)
    }

    /// Names settings of the program that a resumed run may change, since they do not move its weights:
    /// where the data lie, for instance, as `"data.folder"`. All settings within a named one are free as
    /// well.
    pub fn with_free<S: Into<String>>(mut self, names: impl IntoIterator<Item = S>) -> Self {
        self.free.extend(names.into_iter().map(Into::into));
        self
    }

    /// Goes on with the run in the output folder. One that was killed before its first checkpoint
    /// starts anew.
    pub fn with_resume(mut self, resume: bool) -> Self {
        self.resume = resume;
        self
    }

    /// Replaces a run that is in the output folder.
    pub fn with_overwrite(mut self, overwrite: bool) -> Self {
        self.overwrite = overwrite;
        self
    }

    /// Whether to draw a progress bar where standard error is a terminal.
    pub fn with_progress(mut self, progress: bool) -> Self {
        self.progress = progress;
        self
    }

    /// What may ask the run to end.
    pub fn with_interrupt(mut self, interrupt: Interrupt) -> Self {
        self.interrupt = interrupt;
        self
    }

    /// Keeps other processes out of the output folder, which is made for a new run.
    fn lock(&self) -> Result<FolderLock, TrainerError> {
        let path = || self.out.display().to_string();
        if self.resume {
            if !self.out.join(CONFIG_FILE).exists() {
                return Err(TrainerError::NothingToResume { path: path() });
            }
        } else {
            fs::create_dir_all(&self.out).map_err(TrainerError::output("create", &self.out))?;
        }
        FolderLock::take(&self.out)
            .map_err(TrainerError::output("lock", &self.out))?
            .ok_or_else(|| TrainerError::OutputLocked { path: path() })
    }

    /// Trains.
    ///
    /// # Errors
    /// [`TrainerError`]. Where a step or the program's own code fails, a checkpoint of the last step
    /// is written first.
    pub fn run(self) -> Result<Finished<T::Model>, TrainerError> {
        self.config.validate()?;
        let plan = Plan::new(&self.config, self.task.batches_per_epoch())?;
        let mut optimizer = self.config.make::<T::Model>()?;
        let _alone = self.lock()?;
        let length = if self.resume {
            length_before(&self.out)
        } else {
            None
        };
        prepare(
            &self.out,
            &self.document,
            self.resume,
            self.overwrite,
            &self.free,
        )?;
        let checkpoints = Checkpoints::open(self.out.join(CHECKPOINTS))?;
        let newest = if self.resume {
            checkpoints.newest()?
        } else {
            Newest::default()
        };
        let model = self
            .task
            .model(self.config.seed)
            .map_err(TrainerError::task("making the model"))?;
        // burn draws weights when they are first used, from the generator as it is then.
        model.visit(&mut Drawn);
        let Newest { loaded, damaged } = newest;
        if loaded.is_none() && !damaged.is_empty() {
            return Err(TrainerError::NoUsableCheckpoint {
                path: self.out.join(CHECKPOINTS).display().to_string(),
                reasons: damaged,
            });
        }
        if loaded.is_none() {
            self.task
                .started(&self.out)
                .map_err(TrainerError::task("starting the run"))?;
        }
        let data = Data {
            batches: plan.batches(),
            fingerprint: self.task.fingerprint(),
        };
        if let Some(loaded) = &loaded
            && loaded.state.data().is_other(&data)
        {
            return Err(TrainerError::OtherData {
                path: self.out.display().to_string(),
                then: loaded.state.data().to_string(),
                now: data.to_string(),
            });
        }
        let from = loaded.as_ref().map(|loaded| loaded.path.clone());
        let best = loaded.as_ref().and_then(|loaded| loaded.best.clone());
        let (model, mut state) = match loaded {
            Some(loaded) => loaded.restore(model, optimizer.as_mut())?,
            None => (model, State::default()),
        };
        if state.step > plan.steps() {
            return Err(TrainerError::Setting {
                name: "length",
                value: format!("{} steps", plan.steps()),
                expected: "at least the steps that the run has made",
            });
        }
        if self.resume {
            renew(&self.out, &self.document)?;
        }
        (state.batches, state.data) = (data.batches, data.fingerprint);
        let aside = self.out.join(BEST_ASIDE);
        let moved = restore_best(best.as_deref(), &self.out.join(BEST_FILE), &aside)?;
        let log_path = self.out.join(LOG_FILE);
        let log = if self.resume {
            Log::resume(&log_path, state.log_bytes)?
        } else {
            Log::create(&log_path)?
        };
        let console = Console::new(plan.steps(), state.step, self.progress);
        for reason in &damaged {
            console.warn(&format!("a damaged checkpoint is left out: {reason}"));
        }
        if moved {
            console.warn(&format!(
                "the checkpoint does not know the weights in {BEST_FILE}: they are now {}",
                aside.display()
            ));
        }
        if let Some(before) = length.filter(|before| *before != self.config.length) {
            let before = Plan::new(
                &TrainerConfig {
                    length: before,
                    ..self.config.clone()
                },
                self.task.batches_per_epoch(),
            )?;
            let rate = |steps: u64| {
                let factor = self.config.schedule.factor(state.step, steps);
                self.config.peak_lr() * factor
            };
            console.warn(&format!(
                "the run has {} steps in place of {}: the learning rate follows its schedule over all of them, and \
                 goes on at {:.2e} where it would have been {:.2e}",
                plan.steps(),
                before.steps(),
                rate(plan.steps()),
                rate(before.steps()),
            ));
        }
        if self.resume {
            console.say(match from {
                Some(path) => format!("going on from {}", path.display()),
                None => "there is no checkpoint yet: starting anew".to_string(),
            });
        }
        let equipment = Equipment {
            plan,
            checkpoints,
            log,
            console,
            optimizer,
        };
        Drive::new(
            self.task,
            &self.config,
            &self.out,
            self.interrupt.clone(),
            equipment,
            state,
        )
        .train(model)
    }
}
