use std::path::Path;

use serde::{Deserialize, Serialize};

use super::arrival::sooner;
use super::{Cost, EntrantResults, Standing};
use crate::error::BenchError;
use crate::study::Budget;
use crate::trial::Environment;
use crate::workload::About;

/// All that a race or a study has found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Results {
    /// Heading.
    pub title: String,
    /// The command that made it.
    pub command: String,
    /// Where it was measured.
    pub environment: Environment,
    /// Where a part of it was measured, where that was not all in one place.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub other_environments: Vec<Environment>,
    /// How much was spent; `None` of a race, which tunes nothing.
    pub budget: Option<Budget>,
    /// The optimizer that others are compared with.
    pub baseline: String,
    /// Seeds of the runs.
    pub seeds: Vec<u64>,
    /// Whether all is there.
    pub complete: bool,
    /// Whether seconds are those of all cores together.
    pub cpu_time: bool,
    /// Seconds from the first trial to the last, where they are known.
    pub elapsed: Option<f64>,
    /// Processor seconds of all trials in their steps, where the device is a CPU.
    pub processor_seconds: Option<f64>,
    /// The workloads.
    pub workloads: Vec<WorkloadResults>,
    /// The optimizers over all workloads, the best first; empty of a race.
    pub standings: Vec<Standing>,
}

/// One workload.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WorkloadResults {
    /// What it is.
    pub about: About,
    /// Steps of a run.
    pub steps: usize,
    /// Trainable numbers.
    pub parameters: usize,
    /// Whether tuning trials were measured on data that no run is measured on.
    #[serde(default)]
    pub tuned_apart: bool,
    /// The value that counts as reached.
    pub target: Option<f64>,
    /// The optimizers, those that reach the target in the fewest seconds first, then by their last
    /// measurement.
    pub entrants: Vec<EntrantResults>,
}

impl WorkloadResults {
    /// The results of an optimizer.
    pub fn entrant(&self, label: &str) -> Option<&EntrantResults> {
        self.entrants.iter().find(|entrant| entrant.label == label)
    }

    /// Whether it was raced at several learning rates.
    pub fn has_several_rates(&self) -> bool {
        let mut entrants = self.entrants.iter();
        entrants.any(|entrant| !entrant.rates.is_empty())
    }

    /// Puts the optimizers in order.
    pub fn sort(&mut self) {
        let metric = &self.about.metric;
        let key = |entrant: &EntrantResults| {
            let reached = entrant.reached;
            let time = reached.and_then(|reached| reached.median(Cost::Seconds));
            let last = entrant.last.or(entrant.best);
            [time, last.map(|last| last.estimate)]
        };
        self.entrants.sort_by(|a, b| sooner(metric, key(a), key(b)));
    }
}

impl Results {
    /// Whether a workload was raced at several learning rates.
    pub fn has_several_rates(&self) -> bool {
        self.workloads
            .iter()
            .any(WorkloadResults::has_several_rates)
    }

    /// Reads `results.json`.
    ///
    /// # Errors
    /// [`BenchError::File`], and [`BenchError::Content`] for another file.
    pub fn read(path: &Path) -> Result<Self, BenchError> {
        let text = std::fs::read_to_string(path).map_err(BenchError::file("read", path))?;
        serde_json::from_str(&text).map_err(|error| BenchError::Content {
            path: path.to_path_buf(),
            message: format!("these are not the results of a race or a study: {error}"),
        })
    }

    /// Names of the optimizers, in the order of the standings, or of the first workload.
    pub fn labels(&self) -> Vec<&str> {
        let mut labels: Vec<&str> = self.standings.iter().map(|s| s.label.as_str()).collect();
        let entrants = self.workloads.iter().flat_map(|w| &w.entrants);
        for entrant in entrants {
            if !labels.contains(&entrant.label.as_str()) {
                labels.push(&entrant.label);
            }
        }
        labels
    }
}
