//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::error::BenchError;
use crate::nets::Net;
use crate::registry::Method;

/// Races second-order and curvature-aware optimizers against AdamW and SGD.
///
/// Without a command, `osculate race` runs: six optimizers, two networks, three seeds, on
/// handwritten digits that are part of the program. It takes less than a minute on two cores.
#[derive(Debug, Parser)]
#[command(
    name = "osculate",
    version,
    after_help = EXAMPLES,
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

const EXAMPLES: &str = "\
Examples:
  osculate                                      the whole race
  osculate --quick                              a look at it, in seconds
  osculate race --optimizers adamw,sam --seeds 5
  osculate race --models mlp --lr sam=0.1 --lr adamw=0.003
  osculate race --device wgpu --out results/gpu
  osculate race --optimizers adamw,shampoo,soap,psgd-kron,muon
  osculate list                                 the optimizers and their settings
  osculate list --memory 1024x1024              how much state they keep
  osculate accuracy                             how exact the curvature products are";

/// A command.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Train networks with several optimizers and compare them.
    Race(RaceArgs),
    /// List the optimizers, one a line, with their settings.
    List {
        /// Measure the memory of their states on a matrix of this shape instead.
        #[arg(long, value_name = "ROWSxCOLUMNS")]
        memory: Option<String>,
    },
    /// Measure the error of the curvature products in f32 against f64.
    Accuracy,
}

/// The workloads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Workload {
    /// 1797 handwritten digits of 8 x 8 pixels, embedded.
    Digits,
}

/// Options of a race.
#[derive(Debug, Clone, Args)]
pub struct RaceArgs {
    /// What to train on.
    #[arg(
        long,
        value_enum,
        default_value = "digits",
        help_heading = "What to race"
    )]
    pub workload: Workload,
    /// Optimizers, separated by commas.
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = Method::RACE, help_heading = "What to race")]
    pub optimizers: Vec<Method>,
    /// Networks, separated by commas.
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Net::Mlp, Net::Conv], help_heading = "What to race")]
    pub models: Vec<Net>,
    /// Number of seeds, counted from 0, or the seeds themselves with a comma after each: `7,` is the
    /// one seed 7.
    #[arg(
        long,
        default_value = "3",
        value_name = "N|A,B,..",
        help_heading = "What to race"
    )]
    pub seeds: String,

    /// Passes over the training images.
    #[arg(long, default_value_t = 12, help_heading = "How to train")]
    pub epochs: usize,
    /// Images in a batch.
    #[arg(long, default_value_t = 64, help_heading = "How to train")]
    pub batch_size: usize,
    /// Peak learning rate of one optimizer; may be given several times.
    #[arg(long, value_name = "NAME=RATE", help_heading = "How to train")]
    pub lr: Vec<String>,
    /// Test accuracy that the table's "to target" columns refer to.
    #[arg(long, default_value_t = 0.95, help_heading = "How to train")]
    pub target: f64,
    /// One seed and two epochs, for a first look.
    #[arg(long, help_heading = "How to train")]
    pub quick: bool,

    /// Device to compute on; overrides the environment variable BURN_DEVICE.
    #[arg(long, value_name = "NAME", help_heading = "Where")]
    pub device: Option<String>,
    /// Folder for results and pictures.
    #[arg(
        long,
        default_value = "osculate-results/digits",
        value_name = "DIR",
        help_heading = "Where"
    )]
    pub out: PathBuf,
}

/// A race whose options make sense.
#[derive(Debug, Clone, PartialEq)]
pub struct RaceConfig {
    /// Optimizers with their peak learning rates.
    pub entrants: Vec<(Method, f64)>,
    /// Networks.
    pub nets: Vec<Net>,
    /// Seeds.
    pub seeds: Vec<u64>,
    /// Passes over the training images.
    pub epochs: usize,
    /// Images in a batch.
    pub batch_size: usize,
    /// Target accuracy.
    pub target: f64,
    /// Output folder.
    pub out: PathBuf,
}

fn usage<T>(message: impl Into<String>) -> Result<T, BenchError> {
    Err(BenchError::Usage(message.into()))
}

impl RaceArgs {
    /// Checks the options.
    ///
    /// # Errors
    /// [`BenchError::Usage`] for the first option that makes no sense.
    pub fn validate(&self) -> Result<RaceConfig, BenchError> {
        let mut entrants: Vec<(Method, f64)> = Vec::new();
        for method in &self.optimizers {
            if entrants.iter().any(|(known, _)| known == method) {
                return usage(format!("--optimizers names {} twice", method.name()));
            }
            entrants.push((*method, method.learning_rate()));
        }
        for text in &self.lr {
            let (method, rate) = parse_rate(text)?;
            match entrants.iter_mut().find(|(known, _)| *known == method) {
                Some(entrant) => entrant.1 = rate,
                None => {
                    return usage(format!(
                        "--lr {text}: {} is not among --optimizers",
                        method.name()
                    ));
                }
            }
        }
        let mut nets = Vec::new();
        for net in &self.models {
            if nets.contains(net) {
                return usage(format!("--models names {} twice", net.name()));
            }
            nets.push(*net);
        }
        if !(1..=MOST_EPOCHS).contains(&self.epochs) {
            return usage(format!(
                "--epochs {}: expected from 1 to {MOST_EPOCHS}",
                self.epochs
            ));
        }
        if self.batch_size == 0 {
            return usage("--batch-size 0: at least one image is needed");
        }
        if !(self.target > 0.0 && self.target <= 1.0) {
            return usage(format!(
                "--target {}: expected an accuracy above 0, at most 1",
                self.target
            ));
        }
        let seeds = parse_seeds(&self.seeds)?;
        let (seeds, epochs) = if self.quick {
            (seeds[..1].to_vec(), self.epochs.min(2))
        } else {
            (seeds, self.epochs)
        };
        Ok(RaceConfig {
            entrants,
            nets,
            seeds,
            epochs,
            batch_size: self.batch_size,
            target: self.target,
            out: self.out.clone(),
        })
    }
}

fn parse_rate(text: &str) -> Result<(Method, f64), BenchError> {
    let Some((name, rate)) = text.split_once('=') else {
        return usage(format!(
            "--lr {text}: expected NAME=RATE, such as adamw=0.01"
        ));
    };
    let method = <Method as clap::ValueEnum>::from_str(name, true)
        .or_else(|_| usage(format!("--lr {text}: there is no optimizer {name:?}")))?;
    match rate.parse::<f64>() {
        Ok(value) if value > 0.0 && value <= 1.0 => Ok((method, value)),
        _ => usage(format!(
            "--lr {text}: expected a rate above 0, at most 1, got {rate:?}"
        )),
    }
}

/// Most passes over the training images.
const MOST_EPOCHS: usize = 100_000;
/// Most seeds of a race.
const MOST_SEEDS: u64 = 1000;

fn parse_seeds(text: &str) -> Result<Vec<u64>, BenchError> {
    let listed = text.contains(',');
    let numbers = text
        .trim_end_matches(',')
        .split(',')
        .map(|part| part.trim().parse::<u64>())
        .collect::<Result<Vec<_>, _>>();
    let Ok(numbers) = numbers else {
        return usage(format!(
            "--seeds {text}: expected a number of seeds, or seeds separated by commas"
        ));
    };
    if let ([count], false) = (&numbers[..], listed) {
        let count = *count;
        if !(1..=MOST_SEEDS).contains(&count) {
            return usage(format!("--seeds {count}: expected from 1 to {MOST_SEEDS}"));
        }
        return Ok((0..count).collect());
    }
    let mut sorted = numbers.clone();
    sorted.sort_unstable();
    if let Some(twice) = sorted.windows(2).find(|pair| pair[0] == pair[1]) {
        return usage(format!("--seeds {text}: {} is there twice", twice[0]));
    }
    Ok(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn race(options: &[&str]) -> Result<RaceConfig, String> {
        let words = ["osculate", "race"].iter().chain(options);
        let cli = Cli::try_parse_from(words).map_err(|error| error.to_string())?;
        let Some(Command::Race(args)) = cli.command else {
            return Err("not a race".to_string());
        };
        args.validate().map_err(|error| error.to_string())
    }

    #[test]
    fn defaults_are_the_main_job() {
        let config = race(&[]).unwrap();
        assert_eq!(config.entrants.len(), 6);
        assert_eq!(config.seeds, [0, 1, 2]);
        assert_eq!(config.nets, [Net::Mlp, Net::Conv]);
        let bare = Cli::try_parse_from(["osculate", "--epochs", "5"]).unwrap();
        assert!(bare.command.is_none());
        assert_eq!(bare.race.epochs, 5);
        assert!(Cli::try_parse_from(["osculate", "--quick", "list"]).is_err());
    }

    #[test]
    fn options_are_taken_over() {
        let config = race(&["--seeds", "4,9", "--lr", "sam=0.2", "--models", "mlp"]).unwrap();
        assert_eq!(config.seeds, [4, 9]);
        assert!(config.entrants.contains(&(Method::Sam, 0.2)));
        let quick = race(&["--quick", "--seeds", "7"]).unwrap();
        assert_eq!((quick.seeds.len(), quick.epochs), (1, 2));
        assert_eq!(race(&["--seeds", "7,"]).unwrap().seeds, [7]);
    }

    #[test]
    fn mistakes_are_named() {
        let cases: [(&[&str], &str); 11] = [
            (&["--optimizers", "adamv"], "adamw"),
            (&["--optimizers", "sam,sam"], "twice"),
            (&["--models", "mlp,mlp"], "twice"),
            (&["--epochs", "0"], "from 1"),
            (&["--batch-size", "0"], "at least one"),
            (&["--target", "1.5"], "1.5"),
            (&["--target", "nan"], "NaN"),
            (&["--lr", "sam=-1"], "-1"),
            (&["--lr", "sam"], "NAME=RATE"),
            (&["--seeds", "1,1"], "twice"),
            (&["--seeds", "0"], "from 1"),
        ];
        for (options, part) in cases {
            let message = race(options).unwrap_err();
            assert!(message.contains(part), "{options:?}: {message}");
        }
    }
}
