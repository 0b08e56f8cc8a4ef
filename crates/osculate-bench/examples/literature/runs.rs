//! Many runs, several at a time, and what they end with.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use burn::tensor::Device;
use indicatif::ProgressBar;
use osculate_bench::entrant::Entrant;
use osculate_bench::error::BenchError;
use osculate_bench::report::{Grid, Notation};
use osculate_bench::stats::{mean, paired_test};
use osculate_bench::study::{TUNING_SEED, winner};
use osculate_bench::trial::{Outcome, Trainer, Trial, TrialSpec, Watch};
use osculate_bench::workload::Metric;
use osculate_program::Output;

/// What all studies are run with.
pub struct Context<'a> {
    pub device: Device,
    pub workers: usize,
    pub seeds: Option<u64>,
    pub out: &'a Output,
}

impl Context<'_> {
    /// The seeds of reported runs.
    pub fn seeds(&self, usual: u64) -> std::ops::Range<u64> {
        0..self.seeds.unwrap_or(usual)
    }

    /// Makes all runs, in the order of their descriptions.
    pub fn runs(
        &self,
        trainer: &dyn Trainer,
        specs: &[TrialSpec],
    ) -> Result<Vec<Trial>, BenchError> {
        let (next, done) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
        let device = &self.device;
        let bar = ProgressBar::new(specs.len() as u64);
        std::thread::scope(|scope| {
            for _ in 0..self.workers {
                scope.spawn(|| {
                    while let Some((index, spec)) = {
                        let index = next.fetch_add(1, Ordering::Relaxed);
                        specs.get(index).map(|spec| (index, spec))
                    } {
                        let trial = trainer.train(spec, device, &Watch::default());
                        if let Ok(mut done) = done.lock() {
                            done.push((index, trial));
                        }
                        bar.inc(1);
                    }
                });
            }
        });
        bar.finish_and_clear();
        let mut done = done.into_inner().unwrap_or_else(|error| error.into_inner());
        done.sort_by_key(|(index, _)| *index);
        done.into_iter().map(|(_, trial)| trial).collect()
    }

    /// The same run with each of the seeds.
    pub fn with_seeds(&self, spec: &TrialSpec, usual: u64) -> Vec<TrialSpec> {
        let seeds = self.seeds(usual);
        seeds.map(|seed| spec.clone().with_seed(seed)).collect()
    }

    pub fn show(&self, grid: &Grid) {
        self.out.say(grid.write(Notation::of(self.out)));
    }
}

/// A method and all that is tried of it: the same number for each method of a study.
pub struct Method {
    pub name: String,
    pub tries: Vec<(Entrant, f64)>,
}

/// A method at the best of its tries.
pub struct Tuned {
    pub name: String,
    pub entrant: Entrant,
    pub lr: f64,
    pub trials: Vec<Trial>,
}

/// Tunes all methods on data held out for it, and runs each at its best with several seeds.
pub fn tuned(
    context: &Context,
    trainer: &dyn Trainer,
    methods: Vec<Method>,
    (steps, seeds): (usize, u64),
) -> Result<Vec<Tuned>, BenchError> {
    let about = trainer.about();
    let spec = |entrant: &Entrant, lr| TrialSpec::new(&about.name, entrant.clone(), lr, steps);
    let tries = methods.iter().flat_map(|method| &method.tries);
    let tries: Vec<TrialSpec> = tries
        .map(|(entrant, lr)| spec(entrant, *lr).for_tuning().with_seed(TUNING_SEED))
        .collect();
    let mut searched = context.runs(trainer, &tries)?.into_iter();
    let mut chosen = Vec::new();
    for method in methods {
        let own: Vec<Trial> = searched.by_ref().take(method.tries.len()).collect();
        let own: Vec<&Trial> = own.iter().collect();
        let best = winner(&own, &about.metric).ok_or_else(|| BenchError::Step {
            optimizer: method.name.clone(),
            message: "no try of it came to its end".to_string(),
        })?;
        let (entrant, lr) = method.tries[best].clone();
        chosen.push((method.name, entrant, lr));
    }
    let specs = chosen
        .iter()
        .flat_map(|(_, entrant, lr)| context.with_seeds(&spec(entrant, *lr), seeds));
    let specs: Vec<TrialSpec> = specs.collect();
    let mut runs = context.runs(trainer, &specs)?.into_iter();
    let count = context.seeds(seeds).count();
    let tuned = chosen.into_iter().map(|(name, entrant, lr)| Tuned {
        name,
        entrant,
        lr,
        trials: runs.by_ref().take(count).collect(),
    });
    Ok(tuned.collect())
}

/// One row for each method, with its difference to that of the name which `base` gives for it.
pub fn compared(tuned: &[Tuned], metric: &Metric, base: impl Fn(&str) -> &'static str) -> Grid {
    let mut grid = Grid::new([
        "method",
        "settings",
        "rate",
        &metric.heading(),
        "against",
        "difference",
        "p",
        "gradients a step",
    ]);
    for own in tuned {
        let name = base(&own.name);
        let other = tuned
            .iter()
            .find(|other| other.name == name && name != own.name);
        let differences = other.and_then(|other| differences(&own.trials, &other.trials));
        let test = differences.and_then(|differences| paired_test(&differences));
        let words = own.entrant.words();
        let settings = words.iter().skip(2).filter(|word| *word != "--set");
        let settings: Vec<&str> = settings.map(String::as_str).collect();
        let sign = |x: f64| if x > 0.0 { "+" } else { "-" };
        grid.rows.push(vec![
            own.name.clone(),
            settings.join(" "),
            rate(own.lr),
            Ends::of(&own.trials).show(metric),
            other.map_or(String::new(), |other| other.name.clone()),
            test.map_or(String::new(), |test| {
                format!("{}{}", sign(test.mean), metric.show(test.mean.abs()))
            }),
            test.map_or(String::new(), |test| format!("{:.3}", test.p)),
            gradients(&own.trials),
        ]);
    }
    grid
}

/// Seed by seed; `None` where a run has not come to its end.
fn differences(own: &[Trial], others: &[Trial]) -> Option<Vec<f64>> {
    let pairs = own.iter().zip(others);
    pairs
        .map(|(own, other)| Some(end(own)? - end(other)?))
        .collect()
}

fn gradients(trials: &[Trial]) -> String {
    let of = |trial: &Trial| {
        trial
            .points
            .last()
            .map(|point| point.evaluations / point.step as f64)
    };
    let all: Vec<f64> = trials.iter().filter_map(of).collect();
    mean(&all).map_or(String::new(), |mean| format!("{mean:.1}"))
}

/// What a run ended with, if it came to its end.
pub fn end(trial: &Trial) -> Option<f64> {
    let finished = trial.outcome == Outcome::Finished;
    trial.points.last()?.metric.filter(|_| finished)
}

/// What several runs ended with.
pub struct Ends {
    pub values: Vec<f64>,
    /// Runs that did not come to their end.
    pub lost: usize,
}

impl Ends {
    pub fn of(trials: &[Trial]) -> Self {
        let values: Vec<f64> = trials.iter().filter_map(end).collect();
        let lost = trials.len() - values.len();
        Self { values, lost }
    }

    /// The mean with its standard error.
    pub fn show(&self, metric: &Metric) -> String {
        let mut text = match mean(&self.values) {
            Some(mean) => format!("{} ± {}", metric.show(mean), metric.show(self.error(mean))),
            None => String::new(),
        };
        if self.lost > 0 {
            text += &format!(" ({} of {} lost)", self.lost, self.lost + self.values.len());
        }
        text.trim().to_string()
    }

    fn error(&self, mean: f64) -> f64 {
        let count = self.values.len();
        if count < 2 {
            return 0.0;
        }
        let squares: f64 = self.values.iter().map(|x| (x - mean).powi(2)).sum();
        (squares / (count - 1) as f64 / count as f64).sqrt()
    }
}

pub fn rate(lr: f64) -> String {
    format!("{lr:.3}")
}

/// So many rates from one to another by one factor.
pub fn lattice(from: f64, to: f64, count: usize) -> Vec<f64> {
    let growth = (to / from).ln() / (count - 1) as f64;
    (0..count)
        .map(|at| from * (growth * at as f64).exp())
        .collect()
}
