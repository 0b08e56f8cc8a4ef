use std::path::PathBuf;

use clap::Args;
use osculate::optim::registry::OptimizerKind;

use super::{Folders, OptimizerArgs};
use crate::entrant::Entrant;
use crate::error::BenchError;
use crate::study::StudyConfig;

/// Options of a study.
///
/// What a folder holds already decides where no option is given that says what to run.
#[derive(Debug, Clone, Args)]
pub struct StudyArgs {
    /// Nine optimizers on eight workloads: less than 40 minutes on two cores. Without it, four on
    /// three.
    #[arg(long, help_heading = "What to run")]
    pub full: bool,
    /// Optimizers in the place of those, separated by commas.
    #[arg(
        long,
        value_delimiter = ',',
        value_name = "NAME",
        help_heading = "What to run"
    )]
    pub optimizers: Vec<String>,
    /// Optimizers with settings of their own.
    #[command(flatten)]
    pub optimizer: OptimizerArgs,
    /// Workloads in the place of those, separated by commas.
    #[arg(
        long,
        value_delimiter = ',',
        value_name = "NAME",
        help_heading = "What to run"
    )]
    pub workloads: Vec<String>,
    /// Optimizer that sets the targets and that others are tested against. adamw where nothing is said.
    #[arg(long, value_name = "NAME", help_heading = "What to run")]
    pub baseline: Option<String>,

    /// Tuning trials of each optimizer on each workload.
    #[arg(long, help_heading = "How much")]
    pub trials: Option<usize>,
    /// Learning rates are searched from the documented one over this factor to that times this
    /// factor.
    #[arg(long, value_name = "FACTOR", help_heading = "How much")]
    pub width: Option<f64>,
    /// Seeds of the winner's runs.
    #[arg(long, value_name = "N", help_heading = "How much")]
    pub seeds: Option<usize>,
    /// Length of all runs, as a part of what the workloads say.
    #[arg(long, value_name = "FACTOR", help_heading = "How much")]
    pub length: Option<f64>,
    /// Seed of the search.
    #[arg(long, value_name = "N", help_heading = "How much")]
    pub search_seed: Option<u64>,

    /// Folder of the study.
    #[arg(
        long,
        default_value = "osculate-results/study",
        value_name = "DIR",
        help_heading = "Where"
    )]
    pub out: PathBuf,
    /// Processes that work side by side, with one thread for arithmetic each; 0 works in this process
    /// with all threads. One for each core where nothing is said and the device is the CPU,
    /// else 0.
    #[arg(long, value_name = "N", help_heading = "Where")]
    pub workers: Option<usize>,
    /// Device to compute on; overrides the environment variable BURN_DEVICE.
    #[arg(long, value_name = "NAME", help_heading = "Where")]
    pub device: Option<String>,
    /// Where workloads have their data.
    #[command(flatten)]
    pub folders: Folders,
    /// Works on the folder until the study is done or standard input ends, without a report.
    #[arg(long, hide = true)]
    pub worker: bool,
}

/// Options of a search.
#[derive(Debug, Clone, Args)]
pub struct TuneArgs {
    /// The workload.
    #[arg(
        long,
        value_name = "NAME",
        default_value = "digits-mlp",
        help_heading = "What to run"
    )]
    pub workload: String,
    /// Optimizers, separated by commas. adamw where none is named.
    #[arg(
        long,
        value_delimiter = ',',
        value_name = "NAME",
        help_heading = "What to run"
    )]
    pub optimizers: Vec<String>,
    /// Optimizers with settings of their own.
    #[command(flatten)]
    pub optimizer: OptimizerArgs,
    /// Trials of each optimizer.
    #[arg(long, default_value_t = 9, help_heading = "How much")]
    pub trials: usize,
    /// Learning rates are searched from the documented one over this factor to that times this
    /// factor.
    #[arg(
        long,
        default_value_t = 30.0,
        value_name = "FACTOR",
        help_heading = "How much"
    )]
    pub width: f64,
    /// Length of all runs, as a part of what the workload says.
    #[arg(
        long,
        default_value_t = 1.0,
        value_name = "FACTOR",
        help_heading = "How much"
    )]
    pub length: f64,
    /// Folder of the trials; a folder that holds them already is gone on with.
    #[arg(
        long,
        default_value = "osculate-results/tune",
        value_name = "DIR",
        help_heading = "Where"
    )]
    pub out: PathBuf,
    /// Processes that work side by side, as in a study.
    #[arg(long, value_name = "N", help_heading = "Where")]
    pub workers: Option<usize>,
    /// Device to compute on; overrides the environment variable BURN_DEVICE.
    #[arg(long, value_name = "NAME", help_heading = "Where")]
    pub device: Option<String>,
    /// Where workloads have their data.
    #[command(flatten)]
    pub folders: Folders,
}

/// What a study's options come to.
#[derive(Debug, Clone, PartialEq)]
pub struct StudyPlan {
    /// What to run; `None` goes on with what the folder holds.
    pub config: Option<StudyConfig>,
    /// Folder of the study.
    pub out: PathBuf,
    /// Processes; 0 for this one; `None` where nothing was said.
    pub workers: Option<usize>,
}

impl StudyArgs {
    /// What the options come to. Names and numbers are checked by
    /// [`StudyConfig::validate`].
    ///
    /// # Errors
    /// [`BenchError::Usage`] for an optimizer that does not exist.
    pub fn plan(&self) -> Result<StudyPlan, BenchError> {
        let exists = self.out.join("study.json").exists();
        Ok(StudyPlan {
            config: if exists && !self.says_what() {
                None
            } else {
                Some(self.config()?)
            },
            out: self.out.clone(),
            workers: self.workers,
        })
    }

    fn says_what(&self) -> bool {
        let lists = [&self.optimizers, &self.workloads];
        self.full
            || !self.optimizer.is_empty()
            || lists.iter().any(|list| !list.is_empty())
            || self.baseline.is_some()
            || self.trials.is_some()
            || self.width.is_some()
            || self.seeds.is_some()
            || self.length.is_some()
            || self.search_seed.is_some()
    }

    fn config(&self) -> Result<StudyConfig, BenchError> {
        let mut config = if self.full {
            StudyConfig::full()?
        } else {
            StudyConfig::small()?
        };
        let entrants = self.optimizer.entrants(&self.optimizers)?;
        if !entrants.is_empty() {
            config.entrants = entrants;
        }
        if !self.workloads.is_empty() {
            config.workloads.clone_from(&self.workloads);
        }
        if let Some(baseline) = &self.baseline {
            config.baseline.clone_from(baseline);
        }
        let budget = &mut config.budget;
        budget.trials = self.trials.unwrap_or(budget.trials);
        budget.width = self.width.unwrap_or(budget.width);
        budget.seeds = self.seeds.unwrap_or(budget.seeds);
        budget.length = self.length.unwrap_or(budget.length);
        budget.search_seed = self.search_seed.unwrap_or(budget.search_seed);
        Ok(config)
    }
}

impl TuneArgs {
    /// The search as a study without runs of the winner.
    ///
    /// # Errors
    /// [`BenchError::Usage`] for an optimizer that does not exist.
    pub fn plan(&self) -> Result<StudyPlan, BenchError> {
        let mut entrants = self.optimizer.entrants(&self.optimizers)?;
        if entrants.is_empty() {
            entrants.push(Entrant::new(OptimizerKind::ADAMW)?);
        }
        let mut config = StudyConfig::small()?;
        config.baseline.clone_from(&entrants[0].label);
        config.workloads = vec![self.workload.clone()];
        config.entrants = entrants;
        config.budget.trials = self.trials;
        config.budget.width = self.width;
        config.budget.length = self.length;
        config.budget.seeds = 0;
        config.budget.rounds = 0;
        Ok(StudyPlan {
            config: Some(config),
            out: self.out.clone(),
            workers: self.workers,
        })
    }
}
