use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::arrival::{Reached, reached};
use super::paired::{Paired, paired};
use super::rates::RateResult;
use crate::stats::{Bootstrap, Interval, mean, median};
use crate::study::winner;
use crate::trial::{Curvature, Outcome, Point, Trial};
use crate::workload::About;

/// A tuning trial.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TuneResult {
    /// Peak learning rate.
    pub lr: f64,
    /// Last measurement, where the trial finished.
    pub last: Option<f64>,
    /// What came of it.
    pub outcome: Outcome,
}

/// One run of the winner.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunResult {
    /// Seed.
    pub seed: u64,
    /// What came of it.
    pub outcome: Outcome,
    /// Best measurement.
    pub best: Option<f64>,
    /// Last measurement, of runs that finished.
    pub last: Option<f64>,
    /// Mean seconds of a step.
    pub step_seconds: f64,
    /// Parameters left out because a gradient was not finite.
    pub skipped: usize,
    /// The Hessian at the final weights.
    pub curvature: Option<Curvature>,
    /// The run over time.
    pub points: Vec<Point>,
}

/// One optimizer on one workload.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EntrantResults {
    /// Name of the optimizer.
    pub label: String,
    /// Name of the method.
    pub method: String,
    /// Its settings.
    pub settings: Value,
    /// Peak learning rate of the runs, or of the best tuning trial where there are no runs.
    pub lr: Option<f64>,
    /// Tuning trials.
    pub tuning: Vec<TuneResult>,
    /// All rates of a race over several, of which the runs are those of the fastest.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rates: Vec<RateResult>,
    /// Runs.
    pub runs: Vec<RunResult>,
    /// Mean over the seeds of the last measurement; `None` where a run did not finish.
    pub last: Option<Interval>,
    /// Mean over the seeds of the best measurement.
    pub best: Option<Interval>,
    /// When the target was reached; `None` without a target or runs.
    pub reached: Option<Reached>,
    /// Against the baseline; `None` for the baseline itself and where a run is missing.
    pub paired: Option<Paired>,
    /// Step time over the baseline's.
    pub step_ratio: Option<f64>,
    /// Bytes of state over bytes of parameters.
    pub state_ratio: Option<f64>,
    /// Largest resident memory of a process in a run, in bytes.
    pub peak_memory: Option<u64>,
    /// Median over the seeds of the Hessian's largest eigenvalue at the end.
    pub sharpness: Option<f64>,
    /// Why it could not be run, where no trial finished.
    pub failure: Option<String>,
}

/// An end of the range of learning rates that was tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Edge {
    /// The lowest.
    Lowest,
    /// The highest.
    Highest,
}

impl EntrantResults {
    /// Whether the runs' learning rate is the lowest or the highest that was tried: a wider search might
    /// have found a better one.
    pub fn at_edge(&self) -> Option<Edge> {
        let raced = || self.rates.iter().map(|one| one.lr);
        let rates = || self.tuning.iter().map(|trial| trial.lr).chain(raced());
        let (own, lowest) = (self.lr?, rates().reduce(f64::min)?);
        let highest = rates().reduce(f64::max)?;
        if lowest == highest {
            None
        } else if own <= lowest {
            Some(Edge::Lowest)
        } else {
            (own >= highest).then_some(Edge::Highest)
        }
    }

    /// Runs that diverged.
    pub fn diverged(&self) -> usize {
        let diverged = |run: &&RunResult| run.outcome == Outcome::Diverged;
        self.runs.iter().filter(diverged).count()
    }
}

/// The trials of one optimizer on one workload.
pub struct EntrantInput<'a> {
    /// Name.
    pub label: &'a str,
    /// Tuning trials.
    pub tuning: Vec<&'a Trial>,
    /// Runs.
    pub runs: Vec<&'a Trial>,
    /// Runs of the baseline; empty for the baseline itself.
    pub baseline: Vec<&'a Trial>,
    /// Step time over the baseline's.
    pub step_ratio: Option<f64>,
    /// Whether seconds are those of all cores together.
    pub cpu_time: bool,
}

/// What follows from one optimizer's trials.
pub fn entrant_results(input: &EntrantInput, about: &About, target: Option<f64>) -> EntrantResults {
    let any = input.runs.first().or(input.tuning.first());
    let runs: Vec<RunResult> = input
        .runs
        .iter()
        .map(|trial| run_result(trial, about, input.cpu_time))
        .collect();
    let finished = !runs.is_empty() && runs.iter().all(|run| run.last.is_some());
    let mean_of = |values: Vec<f64>| {
        Bootstrap::default().interval(&values, |sample| mean(sample).unwrap_or(f64::NAN))
    };
    let last: Vec<f64> = runs.iter().filter_map(|run| run.last).collect();
    let best: Vec<f64> = runs.iter().filter_map(|run| run.best).collect();
    let sharpness: Vec<f64> = runs
        .iter()
        .filter_map(|run| run.curvature.as_ref()?.largest.first().copied())
        .collect();
    EntrantResults {
        label: input.label.to_string(),
        method: any.map_or(String::new(), |trial| trial.spec.entrant.recipe.to_string()),
        settings: any.map_or(Value::Null, |trial| {
            trial.spec.entrant.recipe.settings().clone()
        }),
        lr: input
            .runs
            .first()
            .copied()
            .or_else(|| best_tuned(input, about))
            .map(|trial| trial.spec.lr),
        tuning: input
            .tuning
            .iter()
            .map(|trial| tune_result(trial))
            .collect(),
        rates: Vec::new(),
        last: finished.then(|| mean_of(last)).flatten(),
        best: mean_of(best),
        reached: target.and_then(|target| reached(&input.runs, about, target, input.cpu_time)),
        paired: paired(&input.runs, &input.baseline, about),
        step_ratio: input.step_ratio,
        state_ratio: input
            .runs
            .iter()
            .filter(|trial| trial.parameter_bytes > 0)
            .map(|trial| trial.state_bytes as f64 / trial.parameter_bytes as f64)
            .reduce(f64::max),
        peak_memory: input
            .runs
            .iter()
            .filter_map(|trial| trial.peak_memory)
            .max(),
        sharpness: median(&sharpness),
        failure: failure(input),
        runs,
    }
}

fn best_tuned<'a>(input: &EntrantInput<'a>, about: &About) -> Option<&'a Trial> {
    winner(&input.tuning, &about.metric).map(|number| input.tuning[number])
}

fn tune_result(trial: &Trial) -> TuneResult {
    TuneResult {
        lr: trial.spec.lr,
        last: last(trial),
        outcome: trial.outcome.clone(),
    }
}

/// The last measurement of a trial that finished.
pub(super) fn last(trial: &Trial) -> Option<f64> {
    let finished = trial.outcome == Outcome::Finished;
    trial.points.last().filter(|_| finished)?.metric
}

/// The number to six significant digits: files of results are read and kept for long.
fn short(value: f64) -> f64 {
    format!("{value:.5e}").parse().unwrap_or(value)
}

/// The points of a trial, with the seconds that are shown.
pub(super) fn timed(trial: &Trial, cpu_time: bool) -> impl Iterator<Item = Point> {
    trial.points.iter().map(move |point| Point {
        seconds: point
            .cpu_seconds
            .filter(|_| cpu_time)
            .unwrap_or(point.seconds),
        cpu_seconds: None,
        ..*point
    })
}

fn run_result(trial: &Trial, about: &About, cpu_time: bool) -> RunResult {
    let points: Vec<Point> = timed(trial, cpu_time)
        .map(|point| Point {
            seconds: short(point.seconds),
            train_loss: point.train_loss.map(short),
            metric: point.metric.map(short),
            ..point
        })
        .collect();
    let values = points.iter().filter_map(|point| point.metric);
    RunResult {
        seed: trial.spec.seed,
        outcome: trial.outcome.clone(),
        best: values.reduce(|a, b| about.metric.better(a, b)),
        last: last(trial),
        step_seconds: trial.step_seconds,
        skipped: trial.skipped,
        curvature: trial.curvature.clone(),
        points,
    }
}

/// The reason of the first trial, where no tuning trial finished or every run failed.
fn failure(input: &EntrantInput) -> Option<String> {
    let trials = || input.tuning.iter().chain(&input.runs);
    if trials().any(|trial| trial.outcome == Outcome::Finished) {
        return None;
    }
    trials().next().map(|trial| match &trial.outcome {
        Outcome::Failed { message } => message.clone(),
        Outcome::Diverged => "every trial diverged".to_string(),
        Outcome::Interrupted | Outcome::Finished => "no trial finished".to_string(),
    })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::analysis::Cost;
    use crate::trial::TrialSpec;
    use crate::workload::Metric;

    /// A run whose measurements are a step, two evaluations and a tenth of a second apart.
    pub(in super::super) fn trial(seed: u64, metrics: &[f64]) -> Trial {
        let spec = TrialSpec::new("w", "sam".parse().unwrap(), 0.1, metrics.len() - 1);
        let mut trial = Trial::new(spec.with_seed(seed));
        let point = |(step, metric): (usize, &f64)| Point {
            step,
            evaluations: 2.0 * step as f64,
            seconds: 0.1 * step as f64,
            cpu_seconds: Some(0.2 * step as f64),
            train_loss: None,
            metric: Some(*metric),
        };
        trial.points = metrics.iter().enumerate().map(point).collect();
        (trial.state_bytes, trial.parameter_bytes) = (20, 10);
        trial
    }

    fn about() -> About {
        About::new("w", "W", Metric::accuracy("accuracy"), 3)
    }

    #[test]
    fn runs_that_do_not_arrive_stay_in_the_median() {
        let runs = [
            trial(0, &[0.1, 0.5, 0.9, 0.8]),
            trial(1, &[0.1, 0.9, 0.9, 0.9]),
            trial(2, &[0.1, 0.2, 0.3, 0.4]),
        ];
        let baseline = [
            trial(0, &[0.1, 0.5, 0.5, 0.7]),
            trial(1, &[0.1, 0.5, 0.5, 0.7]),
            trial(2, &[0.1, 0.5, 0.5, 0.7]),
        ];
        let input = EntrantInput {
            label: "sam",
            tuning: Vec::new(),
            runs: runs.iter().collect(),
            baseline: baseline.iter().collect(),
            step_ratio: Some(1.5),
            cpu_time: true,
        };
        let found = entrant_results(&input, &about(), Some(0.9));
        let reached = found.reached.unwrap();
        assert_eq!(reached.runs, 2);
        assert_eq!(reached.median(Cost::Steps), Some(2.0));
        assert_eq!(reached.median(Cost::Evaluations), Some(4.0));
        assert!((reached.median(Cost::Seconds).unwrap() - 0.4).abs() < 1e-12);
        assert_eq!(reached.steps.high, f64::INFINITY);
        assert!((found.last.unwrap().estimate - 0.7).abs() < 1e-12);
        assert!((found.best.unwrap().estimate - 2.2 / 3.0).abs() < 1e-12);
        assert_eq!(found.state_ratio, Some(2.0));
        let paired = found.paired.unwrap();
        assert_eq!((paired.wins, paired.losses, paired.test.pairs), (2, 1, 3));
        assert_eq!(
            entrant_results(&input, &about(), Some(0.99))
                .reached
                .unwrap()
                .median(Cost::Steps),
            None
        );
    }

    #[test]
    fn a_rate_at_the_edge_of_the_search_is_told() {
        let tuned = |rate: f64| {
            let mut trial = trial(9, &[0.1, 0.2]);
            trial.spec.lr = rate;
            trial
        };
        let tuning = [tuned(0.01), tuned(0.1), tuned(1.0)];
        let edge = |lr: f64| {
            let run = [tuned(lr)];
            let input = EntrantInput {
                label: "sam",
                tuning: tuning.iter().collect(),
                runs: run.iter().collect(),
                baseline: Vec::new(),
                step_ratio: None,
                cpu_time: false,
            };
            entrant_results(&input, &about(), None).at_edge()
        };
        assert_eq!(edge(0.01), Some(Edge::Lowest));
        assert_eq!(edge(0.1), None);
        assert_eq!(edge(1.0), Some(Edge::Highest));
    }

    #[test]
    fn a_run_that_sets_the_target_arrives() {
        // Rounded to six digits it would miss it.
        let run = trial(0, &[0.1, 340.0 / 355.0, 0.5]);
        let input = EntrantInput {
            label: "adamw",
            tuning: Vec::new(),
            runs: vec![&run],
            baseline: Vec::new(),
            step_ratio: None,
            cpu_time: false,
        };
        let found = entrant_results(&input, &about(), Some(340.0 / 355.0));
        assert_eq!(found.reached.unwrap().median(Cost::Steps), Some(1.0));
    }

    #[test]
    fn a_run_that_broke_down_never_arrives() {
        let mut broken = trial(0, &[0.1, 0.2]);
        broken.outcome = Outcome::Diverged;
        let mut panicked = trial(3, &[0.1]);
        panicked.outcome = Outcome::Failed {
            message: "it panicked".to_string(),
        };
        panicked.points.clear();
        let slow = trial(1, &[0.1, 0.2, 0.3, 0.9]);
        let slower = trial(2, &[0.1, 0.2, 0.3, 0.3]);
        let input = EntrantInput {
            label: "sam",
            tuning: vec![&broken],
            runs: vec![&broken, &slow, &slower],
            baseline: Vec::new(),
            step_ratio: None,
            cpu_time: false,
        };
        let found = entrant_results(&input, &about(), Some(0.9));
        assert_eq!(found.reached.unwrap().median(Cost::Steps), None);
        let gone = EntrantInput {
            runs: vec![&panicked, &panicked, &slow],
            ..input
        };
        let gone = entrant_results(&gone, &about(), Some(0.9)).reached.unwrap();
        assert_eq!((gone.runs, gone.median(Cost::Steps)), (1, None));
        assert!(found.last.is_none() && found.paired.is_none() && found.failure.is_none());
        assert_eq!(found.diverged(), 1);
    }
}
