use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;

use crate::entrant::{Entrant, check_labels};
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

/// The entrants of the options `--optimizers` and `--entrant`.
pub(super) fn entrants(names: &[String], more: &[String]) -> Result<Vec<Entrant>, BenchError> {
    let texts = names.iter().chain(more);
    let entrants: Vec<Entrant> = texts.map(|text| text.parse()).collect::<Result<_, _>>()?;
    check_labels(&entrants)?;
    Ok(entrants)
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
