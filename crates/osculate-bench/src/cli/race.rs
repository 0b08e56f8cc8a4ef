use std::path::PathBuf;

use clap::Args;

use super::Folders;
use super::options::{entrants, parse_seeds, usage};
use crate::entrant::Entrant;
use crate::error::BenchError;

/// Options of a race.
#[derive(Debug, Clone, Args)]
pub struct RaceArgs {
    /// Optimizers, separated by commas.
    #[arg(long, value_delimiter = ',', value_name = "NAME", default_values_t = [
        "adamw", "sgd", "sam", "adahessian", "sophia-h", "sophia-g",
    ].map(String::from), help_heading = "What to race")]
    pub optimizers: Vec<String>,
    /// Another optimizer, or one over another as in `sam(soap)`, with settings as JSON:
    /// `NAME=METHOD:{SETTINGS}`; may be given several times.
    #[arg(long, value_name = "ENTRANT", help_heading = "What to race")]
    pub entrant: Vec<String>,
    /// Workloads, separated by commas; `osculate list --workloads` names them.
    #[arg(long, value_delimiter = ',', value_name = "NAME", default_values_t = [
        "digits-mlp", "digits-conv",
    ].map(String::from), help_heading = "What to race")]
    pub workloads: Vec<String>,
    /// Number of seeds, counted from 0, or the seeds themselves with a comma after each: `7,` is the
    /// one seed 7.
    #[arg(
        long,
        default_value = "3",
        value_name = "N|A,B,..",
        help_heading = "What to race"
    )]
    pub seeds: String,

    /// Steps of every run; what the workload says where nothing is.
    #[arg(long, help_heading = "How to train")]
    pub steps: Option<usize>,
    /// Peak learning rate of one optimizer, or of all that have none of their own; may be given several
    /// times. With several rates each is raced with every seed, and the tables show the one that reaches
    /// the target in the fewest steps.
    #[arg(long, value_name = "[NAME=]RATE,..", help_heading = "How to train")]
    pub lr: Vec<String>,
    /// Value that the table's "to target" columns refer to. Without it 0.95 on the digits, and on other
    /// workloads what AdamW, at its rate with the best end, reaches in three quarters of its run.
    #[arg(long, help_heading = "How to train")]
    pub target: Option<f64>,
    /// One seed and 46 steps, for a first look.
    #[arg(long, help_heading = "How to train")]
    pub quick: bool,

    /// Device to compute on; overrides the environment variable BURN_DEVICE.
    #[arg(long, value_name = "NAME", help_heading = "Where")]
    pub device: Option<String>,
    /// Folder for results and pictures.
    #[arg(
        long,
        default_value = "osculate-results/race",
        value_name = "DIR",
        help_heading = "Where"
    )]
    pub out: PathBuf,
    /// Where workloads have their data.
    #[command(flatten)]
    pub folders: Folders,
}

/// A race whose options make sense.
#[derive(Debug, Clone, PartialEq)]
pub struct RaceConfig {
    /// Optimizers with the peak learning rates that each is raced at.
    pub entrants: Vec<(Entrant, Vec<f64>)>,
    /// Names of the workloads.
    pub workloads: Vec<String>,
    /// Seeds.
    pub seeds: Vec<u64>,
    /// Steps of every run, where they are not the workload's.
    pub steps: Option<usize>,
    /// Target, where it is not the workload's.
    pub target: Option<f64>,
    /// Output folder.
    pub out: PathBuf,
}

impl RaceConfig {
    /// The optimizers at each of their rates: as many runs for every seed.
    pub fn lanes(&self) -> impl Iterator<Item = (&Entrant, f64)> {
        let entrants = self.entrants.iter();
        entrants.flat_map(|(entrant, rates)| rates.iter().map(move |rate| (entrant, *rate)))
    }
}

/// Most steps of a run.
const MOST_STEPS: usize = 100_000_000;
/// Steps of a first look.
const QUICK_STEPS: usize = 46;

/// Peak learning rate in the race: the best of a coarse grid (factors of two to three) on the digits,
/// on seeds that are not raced.
fn race_rate(entrant: &Entrant) -> f64 {
    match entrant.recipe.kind().name() {
        "adamw" | "shampoo" | "kl-shampoo" | "soap" | "kl-soap" | "psgd-kron" => 1e-2,
        _ => entrant.documented_rate(),
    }
}

impl RaceArgs {
    /// Checks the options, but for the names of workloads.
    ///
    /// # Errors
    /// [`BenchError::Usage`] for the first option that makes no sense.
    pub fn validate(&self) -> Result<RaceConfig, BenchError> {
        let entrants = entrants(&self.optimizers, &self.entrant)?;
        let mut entrants: Vec<(Entrant, Vec<f64>)> = entrants
            .into_iter()
            .map(|entrant| {
                let rate = race_rate(&entrant);
                (entrant, vec![rate])
            })
            .collect();
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
            let meant = entrants
                .iter_mut()
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
        let seeds = parse_seeds(&self.seeds)?;
        let (seeds, steps) = if self.quick {
            let steps = self
                .steps
                .map_or(QUICK_STEPS, |steps| steps.min(QUICK_STEPS));
            (seeds[..1].to_vec(), Some(steps))
        } else {
            (seeds, self.steps)
        };
        Ok(RaceConfig {
            entrants,
            workloads: self.workloads.clone(),
            seeds,
            steps,
            target: self.target,
            out: self.out.clone(),
        })
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
    fn defaults_are_the_main_job() {
        let config = race(&[]).unwrap();
        assert_eq!(config.entrants.len(), 6);
        assert_eq!(config.seeds, [0, 1, 2]);
        assert_eq!(config.workloads, ["digits-mlp", "digits-conv"]);
        let bare = Cli::try_parse_from(["osculate", "--steps", "5"]).unwrap();
        assert!(bare.command.is_none());
        assert_eq!(bare.race.steps, Some(5));
        assert!(Cli::try_parse_from(["osculate", "--quick", "list"]).is_err());
    }

    #[test]
    fn options_are_taken_over() {
        let wide = ["--entrant", r#"wide=sam:{"rho": 0.2}"#, "--lr", "wide=0.2"];
        let config = race(&[&["--seeds", "4,9"], &wide[..]].concat()).unwrap();
        assert_eq!(config.seeds, [4, 9]);
        let (entrant, rates) = config.entrants.last().unwrap();
        assert_eq!((entrant.label.as_str(), &rates[..]), ("wide", &[0.2][..]));
        let config = race(&["--lr", "sgd=0.3", "--lr", "0.1,0.2"]).unwrap();
        let lanes: Vec<_> = config
            .lanes()
            .map(|(e, lr)| (e.label.as_str(), lr))
            .collect();
        assert_eq!(lanes.len(), 11);
        assert_eq!(lanes[..3], [("adamw", 0.1), ("adamw", 0.2), ("sgd", 0.3)]);
        let quick = race(&["--quick", "--seeds", "7"]).unwrap();
        assert_eq!((quick.seeds.len(), quick.steps), (1, Some(46)));
        assert_eq!(race(&["--seeds", "7,"]).unwrap().seeds, [7]);
    }

    #[test]
    fn mistakes_are_named() {
        let cases: [(&[&str], &str); 12] = [
            (&["--optimizers", "adamv"], "adamw"),
            (
                &["--optimizers", "sam,sam"],
                "two optimizers are called sam",
            ),
            (&["--workloads", "digits-mlp,digits-mlp"], "twice"),
            (&["--steps", "0"], "from 1"),
            (&["--target", "nan"], "NaN"),
            (&["--lr", "sam=-1"], "-1"),
            (&["--lr", "sam"], "rates above 0"),
            (&["--lr", "sam=0.1,0.1"], "0.1 is there twice"),
            (&["--lr", "sam=0.1", "--lr", "sam=0.2"], "given before"),
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
