use std::path::PathBuf;

use clap::Args;

use super::options::{parse_seeds, usage};
use super::{Folders, OptimizerArgs};
use crate::entrant::Entrant;
use crate::error::BenchError;
use crate::trial::MOST_STEPS;
use crate::{first, tuned};

/// Options of a race.
#[derive(Debug, Clone, Args)]
pub struct RaceArgs {
    /// Optimizers, separated by commas; `osculate list` names them.
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
    /// Workloads, separated by commas; `osculate list --workloads` names them.
    #[arg(
        long,
        value_delimiter = ',',
        value_name = "NAME",
        help_heading = "What to run"
    )]
    pub workloads: Vec<String>,
    /// Number of seeds, counted from 0, or the seeds themselves with a comma after each: `7,` is the
    /// one seed 7.
    #[arg(
        long,
        default_value = "6",
        value_name = "N|A,B,..",
        help_heading = "What to run"
    )]
    pub seeds: String,

    /// Steps of every run; what the workload says where nothing is.
    #[arg(long, help_heading = "How to train")]
    pub steps: Option<usize>,
    /// Peak learning rate of one optimizer, or of all that have none of their own; may be given several
    /// times. Without it, the best one of the study on the workload, where it is known, else the one that `osculate
    /// list` names. With several rates each is raced with every seed, and the tables show the one that reaches
    /// the target in the fewest steps.
    #[arg(long, value_name = "[NAME=]RATE,..", help_heading = "How to train")]
    pub lr: Vec<String>,
    /// Value that the way to the target is measured to. Without it what all runs of AdamW, at its rate with the best
    /// end, end at or beyond.
    #[arg(long, help_heading = "How to train")]
    pub target: Option<f64>,
    /// Two seeds and 46 steps, for a look at what it does.
    #[arg(long, help_heading = "How to train")]
    pub quick: bool,

    /// Device to compute on; overrides the environment variable BURN_DEVICE.
    #[arg(long, value_name = "NAME", help_heading = "Where")]
    pub device: Option<String>,
    /// Runs that are made side by side, each in a process with one thread for arithmetic; their step times are then
    /// measured alone, in turns. With 0 or 1 all runs are made one after the other, with all threads. One for each
    /// core where nothing is said and the device is the CPU, else 0.
    #[arg(long, value_name = "N", help_heading = "Where")]
    pub workers: Option<usize>,
    /// Folder for results and pictures.
    #[arg(
        long,
        default_value = "osculate-results/race",
        value_name = "DIR",
        help_heading = "Where"
    )]
    pub out: PathBuf,
    /// Open the page with all tables and pictures when it is written.
    #[arg(long, help_heading = "Where")]
    pub open: bool,
    /// Where workloads have their data.
    #[command(flatten)]
    pub folders: Folders,
    /// Makes the runs that are laid down in this folder until all are taken or standard input ends.
    #[arg(long, value_name = "DIR", hide = true)]
    pub worker: Option<PathBuf>,
}

/// A race whose options make sense.
#[derive(Debug, Clone, PartialEq)]
pub struct RaceConfig {
    /// What is run, one workload after the other.
    pub heats: Vec<Heat>,
    /// Seeds.
    pub seeds: Vec<u64>,
    /// Target, where it is not the workload's.
    pub target: Option<f64>,
    /// Output folder.
    pub out: PathBuf,
}

/// The optimizers on one workload.
#[derive(Debug, Clone, PartialEq)]
pub struct Heat {
    /// Name of the workload.
    pub workload: String,
    /// Optimizers with the peak learning rates that each is raced at.
    pub entrants: Vec<(Entrant, Vec<f64>)>,
    /// Steps of every run, where they are not the workload's.
    pub steps: Option<usize>,
}

impl Heat {
    /// Optimizers at the rates that are known to be good.
    pub fn new(workload: &str, entrants: Vec<Entrant>) -> Self {
        let at_rate = |entrant: Entrant| {
            let rate = tuned::rate(workload, &entrant);
            let rate = rate.unwrap_or_else(|| entrant.documented_rate());
            (entrant, vec![rate])
        };
        Self {
            entrants: entrants.into_iter().map(at_rate).collect(),
            workload: workload.to_string(),
            steps: None,
        }
    }

    /// The optimizers at each of their rates: as many runs for every seed.
    pub fn lanes(&self) -> impl Iterator<Item = (&Entrant, f64)> {
        let entrants = self.entrants.iter();
        entrants.flat_map(|(entrant, rates)| rates.iter().map(move |rate| (entrant, *rate)))
    }
}

/// Optimizers on a workload for which nothing is said.
const USUAL: [&str; 7] = [
    "adamw",
    "sgd",
    "sam",
    "shampoo",
    "soap",
    "psgd-kron",
    "muon",
];

/// Steps of a first look.
const QUICK_STEPS: usize = 46;

impl RaceArgs {
    /// Checks the options, but for the names of workloads.
    ///
    /// # Errors
    /// [`BenchError::Usage`] for the first option that makes no sense.
    pub fn validate(&self) -> Result<RaceConfig, BenchError> {
        let entrants = self.optimizer.entrants(&self.optimizers)?;
        let mut heats = self.heats(&entrants)?;
        let given = self.lr.iter().map(|text| {
            let (name, rates) = parse_rates(text)?;
            Ok((text, name, rates))
        });
        let given: Vec<_> = given.collect::<Result<_, BenchError>>()?;
        // What is said of one optimizer counts more than what is said of all, in whatever order.
        let (of_one, of_all): (Vec<_>, Vec<_>) =
            given.into_iter().partition(|(_, name, _)| name.is_some());
        let mut said: Vec<Option<&str>> = Vec::new();
        for (text, name, rates) in of_all.into_iter().chain(of_one) {
            if said.contains(&name) {
                return usage(format!(
                    "--lr {text}: rates were given before for the same; separate several by commas"
                ));
            }
            said.push(name);
            let is_meant = |label: &str| name.is_none_or(|name| name == label);
            let meant = heats
                .iter_mut()
                .flat_map(|heat| &mut heat.entrants)
                .filter(|(known, _)| is_meant(&known.label));
            let mut found = meant.peekable();
            if let (None, Some(name)) = (found.peek(), name) {
                return usage(format!("--lr {text}: {name} is not among the optimizers"));
            }
            found.for_each(|(_, own)| own.clone_from(&rates));
        }
        for (index, name) in self.workloads.iter().enumerate() {
            if self.workloads[..index].contains(name) {
                return usage(format!("--workloads names {name} twice"));
            }
        }
        if let Some(steps) = self.steps
            && !(1..=MOST_STEPS).contains(&steps)
        {
            return usage(format!("--steps {steps}: expected from 1 to {MOST_STEPS}"));
        }
        if let Some(target) = self.target
            && !target.is_finite()
        {
            return usage(format!("--target {target}: expected a finite number"));
        }
        let mut seeds = parse_seeds(&self.seeds)?;
        if self.quick {
            seeds.truncate(2);
        }
        for heat in &mut heats {
            let steps = self.steps.or(heat.steps);
            heat.steps = match (steps, self.quick) {
                (Some(steps), true) => Some(steps.min(QUICK_STEPS)),
                (None, true) => Some(QUICK_STEPS),
                (steps, false) => steps,
            };
        }
        Ok(RaceConfig {
            heats,
            seeds,
            target: self.target,
            out: self.out.clone(),
        })
    }

    /// What is run where no rate and no length is said.
    fn heats(&self, entrants: &[Entrant]) -> Result<Vec<Heat>, BenchError> {
        let first = first::heats()?;
        if self.workloads.is_empty() {
            let named = |heat: Heat| match entrants {
                [] => heat,
                entrants => Heat {
                    steps: heat.steps,
                    ..Heat::new(&heat.workload, entrants.to_vec())
                },
            };
            return Ok(first.into_iter().map(named).collect());
        }
        let heat = |name: &String| {
            if !entrants.is_empty() {
                return Ok(Heat::new(name, entrants.to_vec()));
            }
            let usual = USUAL.iter().map(|name| name.parse());
            Ok(Heat::new(name, usual.collect::<Result<_, BenchError>>()?))
        };
        self.workloads.iter().map(heat).collect()
    }
}

/// The optimizer, if one is named, and the rates.
fn parse_rates(text: &str) -> Result<(Option<&str>, Vec<f64>), BenchError> {
    let (name, list) = match text.split_once('=') {
        Some((name, list)) => (Some(name), list),
        None => (None, text),
    };
    let mut rates = Vec::new();
    for rate in list.split(',') {
        match rate.trim().parse::<f64>() {
            Ok(value) if rates.contains(&value) => {
                return usage(format!("--lr {text}: {value} is there twice"));
            }
            Ok(value) if value > 0.0 && value.is_finite() => rates.push(value),
            _ => {
                return usage(format!(
                    "--lr {text}: expected rates above 0, alone or as in adamw=0.01,0.02, got {rate:?}"
                ));
            }
        }
    }
    Ok((name, rates))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Command};

    fn race(options: &[&str]) -> Result<RaceConfig, String> {
        let words = ["osculate", "race"].iter().chain(options);
        let cli = Cli::try_parse_from(words).map_err(|error| error.to_string())?;
        let Some(Command::Race(args)) = cli.command else {
            return Err("not a race".to_string());
        };
        args.validate().map_err(|error| error.to_string())
    }

    #[test]
    fn nothing_said_is_the_first_run() {
        let config = race(&[]).unwrap();
        assert_eq!(config.heats, first::heats().unwrap());
        assert_eq!(config.seeds, [0, 1, 2, 3, 4, 5]);
        let bare = Cli::try_parse_from(["osculate", "--steps", "5"]).unwrap();
        assert!(bare.command.is_none());
        assert_eq!(bare.race.steps, Some(5));
        assert!(Cli::try_parse_from(["osculate", "--quick", "list"]).is_err());
    }

    #[test]
    fn options_are_taken_over() {
        let words = "--seeds 4,9 --workloads digits-mlp --optimizers adamw --optimizer sam --set rho=0.1 \
                     --optimizer wide=sam(soap) --set rho=0.2 --set base.soap.beta_1=0.8 --lr wide=0.2";
        let words: Vec<&str> = words.split_whitespace().collect();
        let config = race(&words).unwrap();
        assert_eq!(config.seeds, [4, 9]);
        let [heat] = &config.heats[..] else {
            panic!("{config:?}");
        };
        let labels: Vec<&str> = heat
            .entrants
            .iter()
            .map(|(e, _)| e.label.as_str())
            .collect();
        assert_eq!(labels, ["adamw", "sam", "wide"]);
        let rho = |index: usize| heat.entrants[index].0.recipe.settings()["rho"].clone();
        assert_eq!((rho(1), rho(2)), (0.1.into(), 0.2.into()));
        assert_eq!(heat.entrants[2].1, [0.2]);
        let config = race(&[
            "--workloads",
            "digits-mlp",
            "--lr",
            "sgd=0.3",
            "--lr",
            "0.1,0.2",
        ]);
        let config = config.unwrap();
        let lanes: Vec<_> = config.heats[0]
            .lanes()
            .map(|(e, lr)| (e.label.as_str(), lr))
            .collect();
        assert_eq!(lanes.len(), 13);
        assert_eq!(lanes[..3], [("adamw", 0.1), ("adamw", 0.2), ("sgd", 0.3)]);
        let quick = race(&["--quick", "--seeds", "7"]).unwrap();
        assert_eq!((quick.seeds.len(), quick.heats[0].steps), (2, Some(46)));
        assert_eq!(race(&["--seeds", "7,"]).unwrap().seeds, [7]);
    }

    #[test]
    fn mistakes_are_named() {
        let cases: [(&[&str], &str); 15] = [
            (&["--optimizers", "adamv"], "adamw"),
            (
                &["--entrant", "wide=sam:{\"rho\":0.2}"],
                "there is no --entrant: write --optimizer wide=sam --set rho=0.2",
            ),
            (
                &["--set", "rho=0.2"],
                "write --optimizer NAME --set rho=0.2",
            ),
            (&["--optimizer", "sam", "--set", "roh=0.2"], "rho"),
            (
                &["--optimizers", "sam,sam"],
                "two optimizers are called sam",
            ),
            (&["--workloads", "digits-mlp,digits-mlp"], "twice"),
            (&["--steps", "0"], "from 1"),
            (&["--target", "nan"], "NaN"),
            (&["--lr", "adamw=-1"], "-1"),
            (&["--lr", "adamw"], "rates above 0"),
            (&["--lr", "adamw=0.1,0.1"], "0.1 is there twice"),
            (&["--lr", "adamw=0.1", "--lr", "adamw=0.2"], "given before"),
            (&["--lr", "0.1", "--lr", "0.2"], "given before"),
            (&["--seeds", "1,1"], "twice"),
            (&["--seeds", "0"], "from 1"),
        ];
        for (options, part) in cases {
            let message = race(options).unwrap_err();
            assert!(message.contains(part), "{options:?}: {message}");
        }
    }
}
