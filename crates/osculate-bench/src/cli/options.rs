use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};

use crate::entrant::{Entrant, check_labels, respelled};
use crate::error::BenchError;

/// Folders of data that is not part of the program.
#[derive(Debug, Clone, Default, Args)]
pub struct Folders {
    /// Folder of CIFAR-10 in its binary format; adds the workload `cifar`.
    #[arg(long, value_name = "DIR", help_heading = "Where")]
    pub cifar: Option<PathBuf>,
    /// Folder of WikiText's token files; adds the workload `wikitext`.
    #[arg(long, value_name = "DIR", help_heading = "Where")]
    pub wikitext: Option<PathBuf>,
}

impl Folders {
    /// The options as words for another process.
    pub fn words(&self) -> Vec<OsString> {
        let mut words = Vec::new();
        for (flag, folder) in [("--cifar", &self.cifar), ("--wikitext", &self.wikitext)] {
            if let Some(folder) = folder {
                words.extend([flag.into(), folder.clone().into()]);
            }
        }
        words
    }
}

pub(super) fn usage<T>(message: impl Into<String>) -> Result<T, BenchError> {
    Err(BenchError::Usage(message.into()))
}

/// `--optimizer [NAME=]METHOD`, each with the `--set KEY=VALUE` that follow it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OptimizerArgs {
    /// Optimizers and their settings.
    named: Vec<(String, Vec<String>)>,
    /// A setting before any optimizer.
    loose: Option<String>,
    /// What was written as it was written once.
    old: Option<String>,
}

const OPTIMIZER: &str = "optimizer";
const SET: &str = "set";
const ENTRANT: &str = "entrant";
const HEADING: &str = "What to run";

impl Args for OptimizerArgs {
    fn augment_args(command: Command) -> Command {
        let repeated = |name: &'static str| Arg::new(name).long(name).action(ArgAction::Append);
        command
            .arg(
                repeated(OPTIMIZER)
                    .value_name("[NAME=]METHOD")
                    .help_heading(HEADING)
                    .help("An optimizer, or one over another as in `sam(soap)`, under a name of its own where one is given; may be repeated"),
            )
            .arg(
                repeated(SET)
                    .value_name("KEY=VALUE")
                    .help_heading(HEADING)
                    .help("A setting of the --optimizer before it, as in --set beta_2=0.99; may be repeated, and `osculate list NAME` has all"),
            )
            .arg(repeated(ENTRANT).hide(true))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for OptimizerArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let places = |name: &str| -> Vec<(usize, String)> {
            let indices = matches.indices_of(name).into_iter().flatten();
            let values = matches.get_many::<String>(name).into_iter().flatten();
            indices.zip(values.cloned()).collect()
        };
        let optimizers = places(OPTIMIZER);
        let mut found = Self {
            named: optimizers
                .iter()
                .map(|(_, text)| (text.clone(), Vec::new()))
                .collect(),
            loose: None,
            old: places(ENTRANT).pop().map(|(_, text)| text),
        };
        for (place, setting) in places(SET) {
            let before = optimizers.iter().filter(|(of, _)| *of < place).count();
            match before
                .checked_sub(1)
                .and_then(|last| found.named.get_mut(last))
            {
                Some((_, settings)) => settings.push(setting),
                None => found.loose = Some(setting),
            }
        }
        Ok(found)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl OptimizerArgs {
    /// Whether none is named.
    pub fn is_empty(&self) -> bool {
        self == &Self::default()
    }

    /// Those of the list of names and these.
    ///
    /// # Errors
    /// [`BenchError::Usage`] and [`BenchError::Recipe`].
    pub(super) fn entrants(&self, names: &[String]) -> Result<Vec<Entrant>, BenchError> {
        if let Some(text) = &self.old {
            return usage(format!("there is no --entrant: {}", respelled(text)));
        }
        if let Some(setting) = &self.loose {
            return usage(format!(
                "--set {setting} follows no optimizer; write --optimizer NAME --set {setting}"
            ));
        }
        let mut entrants: Vec<Entrant> = names
            .iter()
            .map(|text| text.parse())
            .collect::<Result<_, _>>()?;
        for (text, settings) in &self.named {
            entrants.push(text.parse::<Entrant>()?.with_settings(settings)?);
        }
        check_labels(&entrants)?;
        Ok(entrants)
    }
}

/// Most seeds of a race.
const MOST_SEEDS: u64 = 1000;

/// A number of seeds, counted from 0, or the seeds themselves with a comma after each.
///
/// # Errors
/// [`BenchError::Usage`].
pub fn parse_seeds(text: &str) -> Result<Vec<u64>, BenchError> {
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
