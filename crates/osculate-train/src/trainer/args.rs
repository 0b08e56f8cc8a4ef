//! The flags of a training program.

use std::path::{Path, PathBuf};

use clap::Args;
use osculate_optim::registry::{OptimizerSpec, settings_of};
use osculate_program::Interrupt;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::config::{Length, NonFiniteLoss, SharpnessKind, TrainerConfig};
use super::error::TrainerError;
use super::folder::CONFIG_FILE;
use super::recipe_file::RecipeFile;
use super::run::Trainer;
use super::schedule::{Schedule, ScheduleKind};
use super::task::Task;

/// Flags that every training program takes, for `#[command(flatten)]`. A flag that is not given
/// leaves the setting as the configuration has it: the program's default, the file of `--config`, or
/// the run's own `config.json` with `--resume`.
///
/// ```no_run
/// use clap::Parser;
/// use osculate_optim::registry::OptimizerKind;
/// use osculate_train::trainer::{Task, TrainerArgs, TrainerConfig, TrainerError};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Parser)]
/// struct Cli {
///     #[command(flatten)]
///     run: TrainerArgs,
///     /// Units of the hidden layer.
///     #[arg(long)]
///     width: Option<usize>,
/// }
///
/// #[derive(Clone, Serialize, Deserialize)]
/// #[serde(deny_unknown_fields)]
/// struct Config {
///     trainer: TrainerConfig,
///     width: usize,
/// }
///
/// fn train<T: Task>(cli: &Cli, task: impl Fn(&Config) -> T) -> Result<(), TrainerError> {
///     let default = || Config { trainer: TrainerConfig::new(OptimizerKind::ADAMW), width: 64 };
///     let config = cli.run.configure(default, |config| {
///         config.width = cli.width.unwrap_or(config.width);
///         cli.run.apply(&mut config.trainer)
///     })?;
///     let task = task(&config);
///     let finished = cli.run.trainer(&task, &config.trainer, &config)?.run()?;
///     println!("{}", finished.summary);
///     Ok(())
/// }
/// ```
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Training")]
pub struct TrainerArgs {
    /// Folder for checkpoints, metrics.jsonl, config.json and pictures.
    #[arg(long, value_name = "FOLDER", default_value_os_t = default_folder())]
    pub out: PathBuf,

    /// Go on with the run in the output folder, from its newest good checkpoint. Its settings are
    /// read from its config.json.
    #[arg(long, conflicts_with_all = ["config", "overwrite"])]
    pub resume: bool,

    /// Replace the run in the output folder.
    #[arg(long)]
    pub overwrite: bool,

    /// Start from the settings of another run's config.json; flags go before them.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Optimizer by name, any of osculate or burn, or one over another as in "sam(soap)"; an unknown
    /// name lists them.
    #[arg(long, value_name = "NAME", value_parser = parse_optimizer)]
    pub optimizer: Option<OptimizerSpec>,

    /// A setting of the optimizer, as in --set beta_2=0.99 or --set policy.non_finite=Error; may
    /// be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub settings: Vec<String>,

    /// TOML file with `optimizer = "NAME"`, `lr = 0.003` (both optional) and a table `[settings]`.
    #[arg(long, value_name = "FILE")]
    pub optimizer_file: Option<PathBuf>,

    /// Peak learning rate. Default: the optimizer's own.
    #[arg(long)]
    pub lr: Option<f64>,

    /// Learning rate over the run.
    #[arg(long, value_enum)]
    pub schedule: Option<ScheduleKind>,

    /// Share of the run, 0 to 1, in which the learning rate rises. Default: by schedule.
    #[arg(long, value_name = "SHARE")]
    pub warmup: Option<f64>,

    /// Learning rate at the end, as a part of the peak. Default: by schedule.
    #[arg(long, value_name = "PART")]
    pub floor: Option<f64>,

    /// Passes over the data. With --resume a run may be made longer, also a finished one.
    #[arg(long, conflicts_with = "steps")]
    pub epochs: Option<u64>,

    /// Steps of the optimizer, instead of passes; with --resume as well.
    #[arg(long)]
    pub steps: Option<u64>,

    /// Seconds after which the run ends, 0 for no end.
    #[arg(long, value_name = "SECONDS", conflicts_with = "max_minutes")]
    pub max_seconds: Option<f64>,

    /// Minutes after which the run ends, 0 for no end.
    #[arg(long, value_name = "MINUTES")]
    pub max_minutes: Option<f64>,

    /// Gradient evaluations after which the run ends, 0 for no end.
    #[arg(long, value_name = "EVALUATIONS")]
    pub max_gradients: Option<f64>,

    /// Batches whose gradients are averaged in one step.
    #[arg(long, value_name = "BATCHES")]
    pub accumulate: Option<usize>,

    /// Largest norm of the gradient over all parameters.
    #[arg(long, value_name = "NORM")]
    pub clip_norm: Option<f64>,

    /// Seed of weights, batches and probes.
    #[arg(long)]
    pub seed: Option<u64>,

    /// Steps from one checkpoint to the next, 0 for one at the end only.
    #[arg(long, value_name = "STEPS")]
    pub checkpoint_every: Option<u64>,

    /// Checkpoints that are kept: each has the last weights, the best and the optimizer's state.
    #[arg(long, value_name = "COUNT")]
    pub keep_checkpoints: Option<usize>,

    /// Steps from one line of metrics.jsonl to the next.
    #[arg(long, value_name = "STEPS")]
    pub log_every: Option<u64>,

    /// Steps from one evaluation to the next. Default: one after each pass.
    #[arg(long, value_name = "STEPS")]
    pub evaluate_every: Option<u64>,

    /// Steps from one measurement of the sharpness to the next, 0 for none.
    #[arg(long, value_name = "STEPS")]
    pub sharpness_every: Option<u64>,

    /// What is measured as sharpness. Default: hessian, and gauss-newton on networks with kinks.
    #[arg(long, value_enum, value_name = "KIND")]
    pub sharpness: Option<SharpnessKind>,

    /// Radius of the ball of `--sharpness sam`.
    #[arg(long, value_name = "RADIUS")]
    pub sharpness_rho: Option<f64>,

    /// What to do when the loss is no longer a finite number.
    #[arg(long, value_enum, value_name = "POLICY")]
    pub non_finite: Option<NonFiniteLoss>,

    /// Draw no progress bar.
    #[arg(long)]
    pub no_progress: bool,
}

fn parse_optimizer(text: &str) -> Result<OptimizerSpec, String> {
    text.parse::<OptimizerSpec>()
        .map_err(|error| error.to_string())
}

impl TrainerArgs {
    /// The configuration to run with: the program's default, or the file that `--config` or
    /// `--resume` names, with the flags over it.
    ///
    /// `flags` writes the program's own flags and calls [`apply`](Self::apply) for these.
    ///
    /// # Errors
    /// [`TrainerError::Config`] for a file that cannot be read, [`TrainerError::NothingToResume`],
    /// and what `flags` fails with.
    pub fn configure<C, E>(
        &self,
        default: impl FnOnce() -> C,
        flags: impl FnOnce(&mut C) -> Result<(), E>,
    ) -> Result<C, E>
    where
        C: DeserializeOwned,
        E: From<TrainerError>,
    {
        let mut config = match (&self.config, self.resume) {
            (_, true) => {
                let path = self.out.join(CONFIG_FILE);
                if !path.exists() {
                    return Err(TrainerError::NothingToResume {
                        path: self.out.display().to_string(),
                    }
                    .into());
                }
                read(&path)?
            }
            (Some(path), false) => read(path)?,
            (None, false) => default(),
        };
        flags(&mut config)?;
        Ok(config)
    }

    /// Writes the given flags over a configuration.
    ///
    /// # Errors
    /// [`TrainerError::Config`] for the optimizer's file, and [`TrainerError::Optimizer`] for a word that is no
    /// setting or a setting that the optimizer does not have.
    pub fn apply(&self, config: &mut TrainerConfig) -> Result<(), TrainerError> {
        self.apply_optimizer(config)?;
        set(&mut config.lr, self.lr.map(Some));
        if let Some(kind) = self.schedule
            && kind != config.schedule.kind
        {
            config.schedule = Schedule::new(kind);
        }
        set(&mut config.schedule.warmup, self.warmup.map(Some));
        set(&mut config.schedule.floor, self.floor.map(Some));
        set(&mut config.length, self.epochs.map(Length::Epochs));
        set(&mut config.length, self.steps.map(Length::Steps));
        let minutes = self.max_minutes.map(|minutes| 60.0 * minutes);
        set(
            &mut config.max_seconds,
            self.max_seconds.or(minutes).map(budget),
        );
        set(&mut config.max_gradients, self.max_gradients.map(budget));
        set(&mut config.accumulate, self.accumulate);
        set(&mut config.clip_norm, self.clip_norm.map(Some));
        set(&mut config.seed, self.seed);
        set(&mut config.checkpoint_every, self.checkpoint_every);
        set(&mut config.keep_checkpoints, self.keep_checkpoints);
        set(&mut config.log_every, self.log_every);
        set(&mut config.evaluate_every, self.evaluate_every.map(Some));
        set(&mut config.sharpness.every, self.sharpness_every);
        set(&mut config.sharpness.kind, self.sharpness.map(Some));
        set(&mut config.sharpness.rho, self.sharpness_rho);
        set(&mut config.non_finite, self.non_finite);
        // The file is to say what was run, also where the defaults change later.
        config.lr = Some(config.peak_lr());
        Ok(())
    }

    fn apply_optimizer(&self, config: &mut TrainerConfig) -> Result<(), TrainerError> {
        let file = match &self.optimizer_file {
            Some(path) => RecipeFile::read(path)?,
            None => RecipeFile::default(),
        };
        let named = file.optimizer()?;
        // One that the configuration has already keeps its settings there.
        if let Some(optimizer) = self.optimizer.clone().or(named)
            && optimizer.to_string() != config.optimizer.to_string()
        {
            config.optimizer = optimizer;
            config.lr = None;
        }
        set(&mut config.lr, file.lr.map(Some));
        for overrides in [file.overrides()?, settings_of(&self.settings)?] {
            // The trainer seeds the optimizer: another seed would be lost without a word.
            if let Some(value) = overrides.pointer("/policy/seed") {
                return Err(TrainerError::Setting {
                    name: "policy.seed",
                    value: value.to_string(),
                    expected: "--seed, from which every optimizer's seed comes",
                });
            }
            config.optimizer = config.optimizer.clone().with_overrides(&overrides)?;
        }
        Ok(())
    }

    /// A trainer as these flags say, which stops on Ctrl-C, `SIGTERM` and `SIGHUP`. `document` is the program's whole
    /// configuration, with `config` in its field `trainer`; it is what `config.json` holds.
    ///
    /// # Errors
    /// [`TrainerError::Signals`], and [`TrainerError::Config`] for a configuration that is not
    /// JSON.
    pub fn trainer<'a, T: Task>(
        &self,
        task: &'a T,
        config: &TrainerConfig,
        document: &impl Serialize,
    ) -> Result<Trainer<'a, T>, TrainerError> {
        Ok(Trainer::new(task, config.clone(), &self.out)
            .with_document(document)?
            .with_resume(self.resume)
            .with_overwrite(self.overwrite)
            .with_progress(!self.no_progress)
            .with_interrupt(Interrupt::on_signals().map_err(TrainerError::Signals)?))
    }
}

/// A folder for each program, so that one does not meet the run of another.
fn default_folder() -> PathBuf {
    let program = std::env::current_exe().ok();
    let name = program.as_deref().and_then(Path::file_stem);
    Path::new("osculate-results").join(name.unwrap_or("run".as_ref()))
}

/// A budget, or none for zero.
fn budget(given: f64) -> Option<f64> {
    (given != 0.0).then_some(given)
}

fn set<T>(target: &mut T, given: Option<T>) {
    if let Some(value) = given {
        *target = value;
    }
}

fn read<C: DeserializeOwned>(path: &Path) -> Result<C, TrainerError> {
    let text = std::fs::read_to_string(path).map_err(|error| unreadable(path, &error))?;
    serde_json::from_str(&text).map_err(|error| unreadable(path, &error))
}

fn unreadable(path: &Path, error: &dyn std::error::Error) -> TrainerError {
    TrainerError::Config {
        path: path.display().to_string(),
        message: error.to_string(),
    }
}
