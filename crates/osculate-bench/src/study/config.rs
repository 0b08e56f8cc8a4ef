use std::collections::BTreeMap;
use std::path::Path;

use osculate::optim::registry::OptimizerKind;
use serde::{Deserialize, Serialize};

use super::{Job, TUNING_SEED};
use crate::entrant::{Entrant, check_labels};
use crate::error::BenchError;
use crate::shell;
use crate::trial::MOST_STEPS;
use crate::workload::Workloads;

/// How much of everything there is in a study.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Budget {
    /// Tuning trials of each optimizer on each workload.
    pub trials: usize,
    /// Learning rates are searched from the documented one over this factor to that times this factor.
    pub width: f64,
    /// Seeds of the winner's runs, counted from 0.
    pub seeds: usize,
    /// Length of all runs, as a part of what the workloads say.
    pub length: f64,
    /// Measurements in a run.
    pub measurements: usize,
    /// Rounds in which step times are measured; 0 leaves them out.
    pub rounds: usize,
    /// Seed of the search.
    pub search_seed: u64,
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            trials: 8,
            width: 100.0,
            seeds: 6,
            length: 1.0,
            measurements: 40,
            rounds: 5,
            search_seed: 0,
        }
    }
}

/// What a study is about. Two processes that work on one folder have the same.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StudyConfig {
    /// Names of the workloads, in the order in which they are run.
    pub workloads: Vec<String>,
    /// The optimizers.
    pub entrants: Vec<Entrant>,
    /// Name of the optimizer that sets targets and that others are tested against.
    pub baseline: String,
    /// How much of everything.
    pub budget: Budget,
    /// What tells the data of a workload from others, where they lie in a folder:
    /// [`Workload::fingerprint`](crate::workload::Workload::fingerprint).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub data: BTreeMap<String, String>,
}

/// Most trials, seeds and rounds.
const MOST: usize = 1000;

impl StudyConfig {
    /// Eight workloads and nine optimizers, one of them twice: less than 40 minutes on two cores.
    ///
    /// # Errors
    /// [`BenchError::Recipe`].
    pub fn full() -> Result<Self, BenchError> {
        let methods = [
            OptimizerKind::ADAMW,
            OptimizerKind::SGD,
            OptimizerKind::SAM,
            OptimizerKind::ADAHESSIAN,
            OptimizerKind::SOPHIA_H,
            OptimizerKind::SHAMPOO,
            OptimizerKind::SOAP,
            OptimizerKind::PSGD_KRON,
            OptimizerKind::MUON,
        ];
        // The longest last: where a study is cut short, the others are whole.
        let workloads = [
            "digits-noise",
            "delayed-xor",
            "autoencoder",
            "pinn",
            "digits-conv",
            "logistic",
            "factorisation",
            "char-lm",
        ];
        let mut config = Self::of(&workloads, &methods, Budget::default())?;
        // SAM's usual radius is that of large networks; ten times as much suits small ones with noise.
        let wide: Entrant = "sam-0.5=sam".parse()?;
        config.entrants.push(wide.with_settings(["rho=0.5"])?);
        Ok(config)
    }

    /// Three workloads and four optimizers: some minutes.
    ///
    /// # Errors
    /// [`BenchError::Recipe`].
    pub fn small() -> Result<Self, BenchError> {
        let methods = [
            OptimizerKind::ADAMW,
            OptimizerKind::SGD,
            OptimizerKind::SAM,
            OptimizerKind::SOAP,
        ];
        let budget = Budget {
            trials: 5,
            seeds: 3,
            ..Budget::default()
        };
        Self::of(
            &["autoencoder", "digits-mlp", "factorisation"],
            &methods,
            budget,
        )
    }

    fn of(
        workloads: &[&str],
        methods: &[OptimizerKind],
        budget: Budget,
    ) -> Result<Self, BenchError> {
        Ok(Self {
            workloads: workloads.iter().map(ToString::to_string).collect(),
            entrants: methods
                .iter()
                .map(|method| Entrant::new(*method))
                .collect::<Result<_, _>>()?,
            baseline: OptimizerKind::ADAMW.name().to_string(),
            budget,
            data: BTreeMap::new(),
        })
    }

    /// Checks names and numbers.
    ///
    /// # Errors
    /// [`BenchError::Usage`] for the first that makes no sense.
    pub fn validate(&self, workloads: &Workloads) -> Result<(), BenchError> {
        let usage = |message: String| Err(BenchError::Usage(message));
        if self.workloads.is_empty() || self.entrants.is_empty() {
            return usage("a study needs at least one workload and one optimizer".to_string());
        }
        for (index, name) in self.workloads.iter().enumerate() {
            workloads.get(name)?;
            if self.workloads[..index].contains(name) {
                return usage(format!("the workload {name} is named twice"));
            }
        }
        check_labels(&self.entrants)?;
        if !self
            .entrants
            .iter()
            .any(|entrant| entrant.label == self.baseline)
        {
            return usage(format!(
                "the baseline {} is not among the optimizers; name another with --baseline",
                self.baseline
            ));
        }
        let budget = &self.budget;
        if !(1..=MOST).contains(&budget.trials) {
            return usage(format!(
                "--trials {}: expected from 1 to {MOST}",
                budget.trials
            ));
        }
        if budget.seeds > MOST {
            return usage(format!("--seeds {}: expected at most {MOST}", budget.seeds));
        }
        if !(budget.width.is_finite() && budget.width > 1.0) {
            return usage(format!(
                "--width {}: expected a factor above 1",
                budget.width
            ));
        }
        if !(budget.length.is_finite() && budget.length > 0.0) {
            return usage(format!(
                "--length {}: expected a factor above 0",
                budget.length
            ));
        }
        for name in &self.workloads {
            let steps = self.steps(workloads.get(name)?.about().steps);
            if steps > MOST_STEPS {
                return usage(format!(
                    "--length {}: {name} would take {steps} steps, expected at most {MOST_STEPS}",
                    budget.length
                ));
            }
        }
        if !(1..=MOST_STEPS).contains(&budget.measurements) {
            return usage(format!(
                "{} measurements in a run: expected from 1 to {MOST_STEPS}",
                budget.measurements
            ));
        }
        if budget.rounds > MOST {
            return usage(format!(
                "{} rounds of step times: expected at most {MOST}",
                budget.rounds
            ));
        }
        Ok(())
    }

    /// The entrant of a name.
    pub fn entrant(&self, label: &str) -> Option<&Entrant> {
        self.entrants.iter().find(|entrant| entrant.label == label)
    }

    /// Steps of a run on a workload that says it takes so many.
    pub fn steps(&self, said: usize) -> usize {
        ((said as f64 * self.budget.length).round() as usize).max(1)
    }

    /// Seeds of the winner's runs.
    pub fn seeds(&self) -> impl Iterator<Item = u64> {
        (0..self.budget.seeds as u64).filter(|seed| *seed != TUNING_SEED)
    }

    /// All that is to be run, in order.
    pub fn jobs(&self) -> Vec<Job> {
        let mut jobs = Vec::new();
        for workload in &self.workloads {
            let workload = || workload.clone();
            for trial in 0..self.budget.trials {
                jobs.extend(self.entrants.iter().map(|entrant| Job::Tune {
                    workload: workload(),
                    entrant: entrant.label.clone(),
                    trial,
                }));
            }
            for seed in self.seeds() {
                jobs.extend(self.entrants.iter().map(|entrant| Job::Run {
                    workload: workload(),
                    entrant: entrant.label.clone(),
                    seed,
                }));
            }
            if self.budget.rounds > 0 {
                jobs.push(Job::StepTimes {
                    workload: workload(),
                });
            }
        }
        jobs
    }

    /// The command that begins this study in a folder, and that goes on with it.
    pub fn command(&self, out: &Path) -> String {
        let mut words = vec!["osculate".to_string(), "study".to_string()];
        let begun = [Self::small(), Self::full()];
        let [small, full] = begun.map(Result::ok);
        let same = |known: &Option<Self>| {
            let known = known.as_ref();
            known.is_some_and(|known| {
                let mut known = known.clone();
                known.data.clone_from(&self.data);
                known.difference(self).is_none()
            })
        };
        if same(&full) {
            words.push("--full".to_string());
        } else if let (false, Some(usual)) = (same(&small), &small) {
            words.extend(self.options(usual));
        }
        words.extend(["--out".to_string(), out.display().to_string()]);
        shell::line(words)
    }

    /// The options that make this study of another.
    fn options(&self, usual: &Self) -> Vec<String> {
        let mut words: Vec<String> = self.entrants.iter().flat_map(Entrant::words).collect();
        let workloads = self.workloads.join(",");
        words.extend(["--workloads".to_string(), workloads]);
        let (own, known) = (&self.budget, &usual.budget);
        let numbers = [
            ("--trials", own.trials as f64, known.trials as f64),
            ("--width", own.width, known.width),
            ("--seeds", own.seeds as f64, known.seeds as f64),
            ("--length", own.length, known.length),
            (
                "--search-seed",
                own.search_seed as f64,
                known.search_seed as f64,
            ),
        ];
        for (option, own, known) in numbers {
            if own != known {
                words.extend([option.to_string(), own.to_string()]);
            }
        }
        if self.baseline != usual.baseline {
            words.extend(["--baseline".to_string(), self.baseline.clone()]);
        }
        words
    }

    /// Whether it is another study with more seeds: what that has found is a part of what this finds.
    pub fn extends(&self, other: &Self) -> bool {
        let mut shorter = self.clone();
        shorter.budget.seeds = other.budget.seeds;
        self.budget.seeds > other.budget.seeds && shorter.difference(other).is_none()
    }

    /// What differs from another configuration, in words; `None` where nothing does.
    pub fn difference(&self, other: &Self) -> Option<String> {
        let names = |config: &Self| {
            let labels = config.entrants.iter().map(|entrant| entrant.label.clone());
            labels.collect::<Vec<_>>()
        };
        if self.workloads != other.workloads {
            return Some(format!(
                "workloads {:?} against {:?}",
                self.workloads, other.workloads
            ));
        }
        if names(self) != names(other) {
            return Some(format!(
                "optimizers {:?} against {:?}",
                names(self),
                names(other)
            ));
        }
        let pairs = self.entrants.iter().zip(&other.entrants);
        for (own, theirs) in pairs {
            if !own.is_same(theirs) {
                return Some(format!("settings of {}", own.label));
            }
        }
        if self.baseline != other.baseline {
            return Some(format!(
                "baseline {} against {}",
                self.baseline, other.baseline
            ));
        }
        for (workload, own) in &self.data {
            if let Some(theirs) = other.data.get(workload)
                && own != theirs
            {
                return Some(format!("data of {workload}: {own} against {theirs}"));
            }
        }
        (self.budget != other.budget)
            .then(|| format!("budget {:?} against {:?}", self.budget, other.budget))
    }

    /// The same study, which knows what the data of its workloads are: their folder may move, but they
    /// must stay what they are.
    ///
    /// # Errors
    /// [`BenchError::Usage`] for a workload that this program does not have.
    pub fn on_data_of(mut self, workloads: &Workloads) -> Result<Self, BenchError> {
        self.data.clear();
        for name in &self.workloads {
            let known = workloads.get(name)?.fingerprint();
            self.data.extend(known.map(|data| (name.clone(), data)));
        }
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_full_study_is_as_large_as_it_says() {
        let config = StudyConfig::full().unwrap();
        config.validate(&Workloads::built_in()).unwrap();
        assert_eq!((config.workloads.len(), config.entrants.len()), (8, 10));
        assert_eq!(config.jobs().len(), 8 * (10 * (8 + 6) + 1));
        assert!(config.difference(&config.clone()).is_none());
        let small = StudyConfig::small().unwrap();
        small.validate(&Workloads::built_in()).unwrap();
        assert!(small.difference(&config).unwrap().starts_with("workloads"));
    }

    #[test]
    fn the_command_makes_the_same_study() {
        let out = Path::new("a folder");
        let command = |config: &StudyConfig| config.command(out);
        let full = StudyConfig::full().unwrap();
        assert_eq!(command(&full), "osculate study --full --out 'a folder'");
        let mut other = StudyConfig::small().unwrap();
        assert_eq!(command(&other), "osculate study --out 'a folder'");
        other.entrants = full.entrants[8..].to_vec();
        other.workloads.truncate(1);
        other.baseline = "muon".to_string();
        other.budget.width = 2.5;
        other.budget.seeds = 9;
        assert_eq!(
            command(&other),
            "osculate study --optimizer muon --optimizer sam-0.5=sam --set rho=0.5 --workloads autoencoder \
             --width 2.5 --seeds 9 --baseline muon --out 'a folder'"
        );
        let mut longer = other.clone();
        longer.budget.seeds = 12;
        assert!(longer.extends(&other) && !other.extends(&longer) && !other.extends(&other));
        longer.budget.trials += 1;
        assert!(!longer.extends(&other));
    }

    #[test]
    fn mistakes_are_named() {
        let workloads = Workloads::built_in();
        let wrong = |change: &dyn Fn(&mut StudyConfig)| {
            let mut config = StudyConfig::small().unwrap();
            change(&mut config);
            config.validate(&workloads).unwrap_err().to_string()
        };
        assert!(wrong(&|c| c.workloads.push("digit".to_string())).contains("digits-mlp"));
        assert!(wrong(&|c| c.workloads.push("autoencoder".to_string())).contains("twice"));
        assert!(wrong(&|c| c.baseline = "lion".to_string()).contains("--baseline"));
        assert!(wrong(&|c| c.budget.trials = 0).contains("--trials 0"));
        assert!(wrong(&|c| c.budget.width = 1.0).contains("--width 1"));
        assert!(wrong(&|c| c.budget.length = f64::NAN).contains("--length NaN"));
        assert!(wrong(&|c| c.budget.length = 1e9).contains("expected at most"));
        assert!(wrong(&|c| c.budget.rounds = usize::MAX).contains("rounds"));
        assert!(wrong(&|c| c.budget.measurements = 0).contains("measurements"));
        assert!(wrong(&|c| c.entrants[1].label = "../x".to_string()).contains("../x"));
    }
}
