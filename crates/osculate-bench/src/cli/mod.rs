//! The command line.

mod lr;
mod options;
mod race;
mod study;

pub use lr::LrArgs;
pub use options::{Folders, OptimizerArgs, parse_seeds};
pub use race::{Heat, RaceArgs, RaceConfig};
pub use study::{StudyArgs, StudyPlan, TuneArgs};

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use osculate_program::exit;

use crate::entrant::Entrant;
use crate::error::BenchError;

/// Races second-order and curvature-aware optimizers against AdamW and SGD.
///
/// Without a command a first race is run: SAM on wrong labels, Shampoo, SOAP, PSGD and Muon on an autoencoder and on
/// a differential equation, all against AdamW at tuned rates, with six seeds. It takes less than two minutes on two
/// cores.
#[derive(Debug, Parser)]
#[command(
    name = "osculate",
    version,
    after_help = format!("{EXAMPLES}\n\n{}", exit::HELP),
    args_conflicts_with_subcommands = true
)]
pub struct Cli {
    /// What to do; `race` where nothing is said.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// Options of the race where no command is given.
    #[command(flatten)]
    pub race: RaceArgs,
}

/// Lines of at most 80 columns, which nothing breaks.
const EXAMPLES: &str = "\
Examples:
  osculate                                  the first race
  osculate --open                           and its page, in the browser
  osculate --quick                          a look at it, in seconds
  osculate race --optimizers adamw,sam --seeds 5
  osculate race --workloads char-lm --optimizers adamw,soap,muon
  osculate race --optimizer adamw --optimizer wide=sam --set rho=0.2
  osculate race --optimizers adamw,soap --lr 0.01,0.02,0.04 --seeds 10
  osculate study --full --out study         tuned fairly, with a report
  osculate tune --workload autoencoder --optimizers adamw,shampoo
  osculate compare before/results.json after/results.json
  osculate bench-step --shapes 256x256,1024x1024
  osculate lr --workload digits-conv --optimizer sgd --noise
  osculate list                             the optimizers
  osculate list soap                        all of one: settings, cost, a rate
  osculate list --workloads                 what they are raced on
  osculate list --memory 1024x1024          how much state they keep
  osculate accuracy                         how exact curvature products are";

/// A command.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Train networks with several optimizers at given learning rates and compare them.
    Race(RaceArgs),
    /// Tune every optimizer with the same budget, run the winners with several seeds, and report.
    ///
    /// The folder holds every trial. A study that was stopped or killed goes on where it was when the
    /// command is given again, and any number of processes may work on one folder.
    Study(StudyArgs),
    /// Search the learning rates of some optimizers on one workload.
    Tune(TuneArgs),
    /// Compare the results of two races or studies, optimizer by optimizer.
    Compare(CompareArgs),
    /// Write the report of a study's folder, as far as it is.
    Report(ReportArgs),
    /// Measure step times by shape, in turns with AdamW.
    BenchStep(BenchStepArgs),
    /// Look for a learning rate: one short run in which it grows, drawn as a curve.
    Lr(LrArgs),
    /// List the optimizers or the workloads, one a line.
    List(ListArgs),
    /// Measure the error of the curvature products in f32 against f64.
    Accuracy,
}

/// Options of a comparison.
#[derive(Debug, Clone, Args)]
pub struct CompareArgs {
    /// `results.json` of a race or a study.
    pub before: PathBuf,
    /// Another, with workloads and optimizers of the same names.
    pub after: PathBuf,
    /// Exit with code 1 where an optimizer has become worse by more than chance explains (p at most this), no
    /// longer finishes, or is missing.
    #[arg(long, value_name = "P")]
    pub fail_at: Option<f64>,
}

/// Options of a report.
#[derive(Debug, Clone, Args)]
pub struct ReportArgs {
    /// Folder of the study.
    pub study: PathBuf,
    /// Folder for the report; the study's where nothing is said.
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Where workloads have their data.
    #[command(flatten)]
    pub folders: Folders,
}

/// Options of a measurement of step times.
#[derive(Debug, Clone, Args)]
pub struct BenchStepArgs {
    /// Shapes of the one parameter, separated by commas.
    #[arg(
        long,
        value_delimiter = ',',
        value_name = "ROWSxCOLUMNS",
        help_heading = "What to run",
        default_values_t = ["64x64", "256x256", "768x256", "1024x1"].map(String::from)
    )]
    pub shapes: Vec<String>,
    /// Optimizers, separated by commas. Ten of them where none is named.
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
    /// Rounds, in each of which every optimizer makes ten steps.
    #[arg(long, default_value_t = 7, help_heading = "How much")]
    pub rounds: usize,
    /// Device to compute on; overrides the environment variable BURN_DEVICE.
    #[arg(long, value_name = "NAME", help_heading = "Where")]
    pub device: Option<String>,
}

/// Optimizers whose step times are measured where none is named.
const STEPPED: [&str; 10] = [
    "adamw",
    "sgd",
    "sam",
    "adahessian",
    "sophia-h",
    "sophia-g",
    "shampoo",
    "soap",
    "psgd-kron",
    "muon",
];

impl BenchStepArgs {
    /// The optimizers, the first of which others are measured against.
    ///
    /// # Errors
    /// [`BenchError::Usage`] for one that does not exist.
    pub fn entrants(&self) -> Result<Vec<Entrant>, BenchError> {
        let entrants = self.optimizer.entrants(&self.optimizers)?;
        if entrants.is_empty() {
            return STEPPED.iter().map(|name| name.parse()).collect();
        }
        Ok(entrants)
    }
}

/// Options of a list.
#[derive(Debug, Clone, Args)]
pub struct ListArgs {
    /// Tell all of one optimizer, or of one over another as in `sam(soap)`.
    #[arg(conflicts_with_all = ["memory", "workloads"])]
    pub name: Option<String>,
    /// Tell instead how much memory the optimizers' states take on a matrix of this shape.
    #[arg(long, value_name = "ROWSxCOLUMNS")]
    pub memory: Option<String>,
    /// List the workloads instead.
    #[arg(long, conflicts_with = "memory")]
    pub workloads: bool,
}
