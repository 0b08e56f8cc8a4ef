use std::collections::{HashMap, HashSet};

use super::{Found, Job, Store, StudyConfig, TUNING_SEED, rates, winner};
use crate::error::BenchError;
use crate::trial::{StepTimes, StepTimesSpec, Trial, TrialSpec};
use crate::workload::{About, Workloads};

/// Steps in a block of the step times: the periods of the methods divide it.
const BLOCK: usize = 10;

/// What is wrong with the result of another specification.
const OTHER: &str = "it is the result of other settings";

/// What is known of a study so far: the results in its folder, each read once.
pub struct Board<'a> {
    store: &'a Store,
    config: &'a StudyConfig,
    abouts: HashMap<String, About>,
    /// Workloads whose tuning trials are measured on data of their own.
    tuned_apart: HashSet<String>,
    trials: HashMap<Job, Trial>,
    step_times: HashMap<String, StepTimes>,
}

/// How far a study is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Jobs with a result.
    pub done: usize,
    /// All jobs.
    pub all: usize,
}

/// What a job needs.
#[derive(Debug)]
pub enum Task {
    /// A trial.
    Trial(Box<TrialSpec>),
    /// A measurement of step times.
    StepTimes(StepTimesSpec),
}

/// Where a job stands.
#[derive(Debug)]
pub enum State {
    /// There is a result.
    Done,
    /// There is a file that is no result, and why.
    Corrupt(Task, String),
    /// It can be run.
    Open(Task),
    /// Others must be done first.
    Waiting,
    /// It cannot be run: no tuning trial of the optimizer finished.
    Impossible,
}

impl<'a> Board<'a> {
    /// A board that has read nothing yet.
    ///
    /// # Errors
    /// As [`StudyConfig::validate`]: the configuration may come from a file.
    pub fn new(
        store: &'a Store,
        config: &'a StudyConfig,
        workloads: &Workloads,
    ) -> Result<Self, BenchError> {
        config.validate(workloads)?;
        let (mut abouts, mut tuned_apart) = (HashMap::new(), HashSet::new());
        for name in &config.workloads {
            let workload = workloads.get(name)?;
            abouts.insert(name.clone(), workload.about());
            if workload.tunes_apart() {
                tuned_apart.insert(name.clone());
            }
        }
        Ok(Self {
            store,
            config,
            abouts,
            tuned_apart,
            trials: HashMap::new(),
            step_times: HashMap::new(),
        })
    }

    /// What a workload is.
    pub fn about(&self, workload: &str) -> Option<&About> {
        self.abouts.get(workload)
    }

    /// Whether tuning trials of a workload are measured on data of their own.
    pub fn tunes_apart(&self, workload: &str) -> bool {
        self.tuned_apart.contains(workload)
    }

    /// A trial's result, where it was read.
    pub fn trial(&self, job: &Job) -> Option<&Trial> {
        self.trials.get(job)
    }

    /// A workload's step times, where they were read.
    pub fn step_times(&self, workload: &str) -> Option<&StepTimes> {
        self.step_times.get(workload)
    }

    /// Reads all results that are there, and returns how many there are and the files that are none.
    ///
    /// # Errors
    /// [`BenchError::File`].
    pub fn read_all(&mut self) -> Result<(Progress, Vec<(Job, String)>), BenchError> {
        let jobs = self.config.jobs();
        let (mut done, mut corrupt) = (0, Vec::new());
        for job in &jobs {
            match self.state(job)? {
                State::Done | State::Impossible => done += 1,
                State::Corrupt(_, why) => corrupt.push((job.clone(), why)),
                State::Open(_) | State::Waiting => (),
            }
        }
        let all = jobs.len();
        Ok((Progress { done, all }, corrupt))
    }

    /// The number of the winning tuning trial: `None` while trials are missing, `Some(None)` where no
    /// trial finished.
    pub fn winner(&self, workload: &str, entrant: &str) -> Option<Option<usize>> {
        let trials: Option<Vec<&Trial>> = (0..self.config.budget.trials)
            .map(|trial| {
                self.trial(&Job::Tune {
                    workload: workload.to_string(),
                    entrant: entrant.to_string(),
                    trial,
                })
            })
            .collect();
        let metric = &self.about(workload)?.metric;
        Some(winner(&trials?, metric))
    }

    /// The winning learning rate, as [`winner`](Self::winner).
    pub fn winning_rate(&self, workload: &str, entrant: &str) -> Option<Option<f64>> {
        let number = self.winner(workload, entrant)?;
        Some(number.and_then(|number| self.rate(entrant, number)))
    }

    fn rate(&self, entrant: &str, trial: usize) -> Option<f64> {
        let centre = self.config.entrant(entrant)?.documented_rate();
        rates(centre, &self.config.budget).get(trial).copied()
    }

    /// Where a job stands, after a look into the folder.
    ///
    /// # Errors
    /// [`BenchError::File`].
    pub fn state(&mut self, job: &Job) -> Result<State, BenchError> {
        if self.trials.contains_key(job) {
            return Ok(State::Done);
        }
        if let Job::StepTimes { workload } = job
            && self.step_times.contains_key(workload)
        {
            return Ok(State::Done);
        }
        let task = match self.task(job) {
            Some(Some(task)) => task,
            Some(None) => return Ok(State::Impossible),
            None => return Ok(State::Waiting),
        };
        Ok(match task {
            Task::Trial(spec) => {
                let defect = |trial: &Trial| {
                    if spec.is_same(&trial.spec) {
                        trial.defect()
                    } else {
                        Some(OTHER.to_string())
                    }
                };
                match self.store.read(job, defect)? {
                    Found::Missing => State::Open(Task::Trial(spec)),
                    Found::Corrupt(why) => State::Corrupt(Task::Trial(spec), why),
                    Found::Result(trial) => {
                        self.trials.insert(job.clone(), trial);
                        State::Done
                    }
                }
            }
            Task::StepTimes(spec) => {
                let defect = |times: &StepTimes| {
                    if spec.is_same(&times.spec) {
                        times.defect()
                    } else {
                        Some(OTHER.to_string())
                    }
                };
                match self.store.read(job, defect)? {
                    Found::Missing => State::Open(Task::StepTimes(spec)),
                    Found::Corrupt(why) => State::Corrupt(Task::StepTimes(spec), why),
                    Found::Result(times) => {
                        self.step_times.insert(job.workload().to_string(), times);
                        State::Done
                    }
                }
            }
        })
    }

    /// What a job needs: `None` while others are missing, `Some(None)` where it cannot be run.
    fn task(&self, job: &Job) -> Option<Option<Task>> {
        let about = self.about(job.workload())?;
        let steps = self.config.steps(about.steps);
        let spec = |entrant: &str, lr: f64| {
            let entrant = self.config.entrant(entrant)?.clone();
            let mut spec = TrialSpec::new(job.workload(), entrant, lr, steps);
            spec.measurements = self.config.budget.measurements;
            Some(spec)
        };
        match job {
            Job::Tune { entrant, trial, .. } => {
                let spec = spec(entrant, self.rate(entrant, *trial)?)?
                    .with_seed(TUNING_SEED)
                    .for_tuning();
                Some(Some(Task::Trial(Box::new(spec))))
            }
            Job::Run {
                workload,
                entrant,
                seed,
            } => {
                let Some(lr) = self.winning_rate(workload, entrant)? else {
                    return Some(None);
                };
                let spec = spec(entrant, lr)?.with_seed(*seed).with_curvature(true);
                Some(Some(Task::Trial(Box::new(spec))))
            }
            Job::StepTimes { workload } => {
                let mut entrants = Vec::new();
                for entrant in &self.config.entrants {
                    let lr = self.winning_rate(workload, &entrant.label)?;
                    // An optimizer that never finished still has a step time.
                    let lr = lr.unwrap_or_else(|| entrant.documented_rate());
                    entrants.push((entrant.clone(), lr));
                }
                // Ratios refer to the first.
                let baseline =
                    |entry: &(crate::entrant::Entrant, f64)| entry.0.label != self.config.baseline;
                entrants.sort_by_key(baseline);
                Some(Some(Task::StepTimes(StepTimesSpec {
                    entrants,
                    rounds: self.config.budget.rounds,
                    block: BLOCK,
                })))
            }
        }
    }
}
