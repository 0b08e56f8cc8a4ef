use std::fmt;

use std::path::PathBuf;

/// One thing to be run, which one process claims.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Job {
    /// A tuning trial.
    Tune {
        /// Name of the workload.
        workload: String,
        /// Name of the optimizer.
        entrant: String,
        /// Number of the trial, which decides its learning rate.
        trial: usize,
    },
    /// A run of the winner.
    Run {
        /// Name of the workload.
        workload: String,
        /// Name of the optimizer.
        entrant: String,
        /// Seed.
        seed: u64,
    },
    /// The step times of all optimizers on a workload.
    StepTimes {
        /// Name of the workload.
        workload: String,
    },
}

impl Job {
    /// Name of the workload.
    pub fn workload(&self) -> &str {
        match self {
            Job::Tune { workload, .. }
            | Job::Run { workload, .. }
            | Job::StepTimes { workload } => workload,
        }
    }

    /// The file of its result, within the study's folder.
    pub fn path(&self) -> PathBuf {
        let trials = PathBuf::from("trials");
        match self {
            Job::Tune {
                workload,
                entrant,
                trial,
            } => trials
                .join(workload)
                .join(entrant)
                .join(format!("tune-{trial:02}.json")),
            Job::Run {
                workload,
                entrant,
                seed,
            } => trials
                .join(workload)
                .join(entrant)
                .join(format!("run-s{seed}.json")),
            Job::StepTimes { workload } => trials.join(workload).join("step-times.json"),
        }
    }
}

impl fmt::Display for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Job::Tune {
                workload,
                entrant,
                trial,
            } => write!(f, "{workload} · {entrant} · tuning trial {trial}"),
            Job::Run {
                workload,
                entrant,
                seed,
            } => write!(f, "{workload} · {entrant} · seed {seed}"),
            Job::StepTimes { workload } => write!(f, "{workload} · step times"),
        }
    }
}
