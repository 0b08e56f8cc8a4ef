//! The runs of a race in several processes, and their step times measured alone.

use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Instant;

use burn::tensor::Device;
use osculate_program::complain;

use super::{Round, Spectator, assemble, race, rounds};
use crate::analysis::Results;
use crate::cli::RaceConfig;
use crate::error::BenchError;
use crate::study::{run_workers, write};
use crate::trial::{Outcome, StepTimes, StepTimesSpec, Trial, TrialSpec, Watch, caught};
use crate::workload::Workloads;

/// Steps of a block in which step times are measured: the refresh period of the matrix methods.
const BLOCK: usize = 10;
/// Most rounds of blocks.
const MOST_ROUNDS: usize = 6;

/// Processes that share the runs of a race.
#[derive(Debug)]
pub struct SideBySide<'a> {
    /// How many.
    pub count: usize,
    /// The words that make this program such a process, but for the folder that follows them.
    pub words: &'a [OsString],
}

/// [`race`](super::race) with the runs spread over processes, one thread of arithmetic each. The numbers are the same;
/// the times are those of a pass of its own, in this process with all its threads, in which all optimizers of a
/// workload take turns: a run's seconds are its steps times what a step takes there.
///
/// Runs that a process did not bring to an end, whatever ended it, are made in this one.
///
/// # Errors
/// As [`race`](super::race).
pub fn race_side_by_side(
    config: &RaceConfig,
    workloads: &Workloads,
    device: &Device,
    watch: &Watch,
    spectator: &dyn Spectator,
    processes: &SideBySide<'_>,
) -> Result<Results, BenchError> {
    let start = Instant::now();
    let rounds = rounds(config, workloads)?;
    let specs: Vec<&TrialSpec> = rounds.iter().flat_map(|round| &round.specs).collect();
    let exchange = match Exchange::new(&config.out, &specs) {
        Ok(exchange) => exchange,
        Err(error) => {
            complain(format_args!(
                "warning: {error}; the runs are made one after the other"
            ));
            return race(config, workloads, device, watch, spectator);
        }
    };
    let mut words = processes.words.to_vec();
    words.push(exchange.folder.path().into());
    let mut told = vec![false; specs.len()];
    let ended = run_workers(
        processes.count.min(specs.len()),
        &words,
        exchange.folder.path(),
        watch,
        || {
            for (at, told) in told.iter_mut().enumerate() {
                if !*told && result(exchange.folder.path(), at).exists() {
                    *told = true;
                    spectator.begins(specs[at]);
                    spectator.ends();
                }
            }
            Ok(())
        },
    );
    let mut made = exchange.trials(&specs);
    match ended {
        // What ended before is shown.
        Ok(()) | Err(BenchError::Interrupted) => (),
        Err(BenchError::Workers { count, message, .. }) => complain(format_args!(
            "warning: {count} processes failed, and the runs that are missing are made here: {message}"
        )),
        Err(error) => complain(format_args!(
            "warning: {error}; the runs that are missing are made here"
        )),
    }
    for (spec, made) in specs.iter().zip(&mut made) {
        if made.is_none() && !watch.stopped() {
            spectator.begins(spec);
            *made = Some(workloads.get(&spec.workload)?.train(spec, device, watch)?);
            spectator.ends();
        }
    }
    let mut trials: Vec<Trial> = made.into_iter().flatten().collect();
    if trials.is_empty() {
        return Err(BenchError::Interrupted);
    }
    let mut timed = true;
    for round in &rounds {
        let own = trials.iter_mut();
        let own: Vec<&mut Trial> = own
            .filter(|trial| trial.spec.workload == round.about.name)
            .collect();
        if own.is_empty() {
            continue;
        }
        match step_times(round, config.seeds.len(), workloads, device, watch)? {
            Some(times) => alone(own, &times, &config.seeds),
            None => timed = false,
        }
    }
    let results = assemble(config, rounds, trials, device, start);
    Ok(Results {
        complete: results.complete && timed,
        ..results
    })
}

/// Works on the runs of a folder until all of them are taken, as one process of several.
///
/// # Errors
/// [`BenchError::Interrupted`] where the watch says so, and as [`race`](super::race).
pub fn work(
    folder: &Path,
    workloads: &Workloads,
    device: &Device,
    watch: &Watch,
) -> Result<(), BenchError> {
    let path = folder.join(RUNS);
    let text = fs::read_to_string(&path).map_err(BenchError::file("read", &path))?;
    let specs: Vec<TrialSpec> = serde_json::from_str(&text)?;
    for (at, spec) in specs.iter().enumerate() {
        if watch.stopped() {
            return Err(BenchError::Interrupted);
        }
        let claim = folder.join(format!("{at}.taken"));
        match File::create_new(&claim) {
            Ok(_) => (),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => continue,
            Err(error) => return Err(BenchError::file("write", &claim)(error)),
        }
        let trainer = workloads.get(&spec.workload)?;
        // A panic fails its run alone.
        let trial = caught(|| trainer.train(spec, device, watch)).unwrap_or_else(|message| {
            let mut trial = Trial::new(spec.clone());
            trial.outcome = Outcome::Failed { message };
            Ok(trial)
        })?;
        write(&result(folder, at), &serde_json::to_string(&trial)?)?;
    }
    Ok(())
}

/// What the names of folders begin with in which processes exchange runs.
const PREFIX: &str = "runs-";
/// Name of the file with all runs.
const RUNS: &str = "runs.json";

fn result(folder: &Path, at: usize) -> PathBuf {
    folder.join(format!("{at}.json"))
}

/// A folder in which processes find runs and leave what came of them.
struct Exchange {
    folder: tempfile::TempDir,
}

impl Exchange {
    fn new(out: &Path, specs: &[&TrialSpec]) -> Result<Self, BenchError> {
        // Of processes that were killed. The folder is locked: no other race writes here.
        let entries = fs::read_dir(out).into_iter().flatten().flatten();
        for old in entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(PREFIX)) {
            // What cannot be removed is only in the way of who looks into the folder.
            let _ = fs::remove_dir_all(old.path());
        }
        let folder = tempfile::Builder::new().prefix(PREFIX).tempdir_in(out);
        let folder = folder.map_err(BenchError::file("make a folder in", out))?;
        write(&folder.path().join(RUNS), &serde_json::to_string(specs)?)?;
        Ok(Self { folder })
    }

    /// What came of the runs, in their order, as far as it can be read.
    fn trials(&self, specs: &[&TrialSpec]) -> Vec<Option<Trial>> {
        let read = |at: usize| {
            let text = fs::read_to_string(result(self.folder.path(), at)).ok()?;
            serde_json::from_str(&text).ok()
        };
        (0..specs.len()).map(read).collect()
    }
}

/// What a step of each lane takes where nothing else runs; `None` where the race was stopped.
fn step_times(
    round: &Round<'_>,
    seeds: usize,
    workloads: &Workloads,
    device: &Device,
    watch: &Watch,
) -> Result<Option<StepTimes>, BenchError> {
    let lanes = round.heat.lanes();
    let spec = StepTimesSpec {
        entrants: lanes.map(|(entrant, lr)| (entrant.clone(), lr)).collect(),
        rounds: seeds.min(MOST_ROUNDS),
        block: BLOCK.min(round.steps),
    };
    let trainer = workloads.get(&round.about.name)?;
    match caught(|| trainer.step_times(&spec, device, watch)) {
        Ok(Ok(times)) => Ok(Some(times)),
        Ok(Err(BenchError::Interrupted)) => Ok(None),
        Ok(Err(error)) => Ok(Some(StepTimes::failed(&spec, &error.to_string()))),
        Err(message) => Ok(Some(StepTimes::failed(&spec, &message))),
    }
}

/// Gives the runs of a workload the times of steps that were measured alone; each seed those of one round, so that
/// the runs spread as the measurements do. Where a lane has none, all keep the times of their own processes, so that
/// times of one kind are compared.
fn alone(trials: Vec<&mut Trial>, times: &StepTimes, seeds: &[u64]) {
    let failed = times.entrants.iter().find_map(|blocks| {
        let why = blocks.failure.as_deref();
        let none = blocks.seconds.is_empty().then_some("no round was measured");
        Some((&blocks.label, why.or(none)?))
    });
    if let Some((label, why)) = failed {
        complain(format_args!(
            "warning: the steps of {label} could not be timed alone ({why}); the times of that workload are those of \
             runs side by side"
        ));
        return;
    }
    for trial in trials {
        let mut lanes = times.spec.entrants.iter().zip(&times.entrants);
        let blocks = lanes.find(|((entrant, lr), _)| {
            entrant.label == trial.spec.entrant.label && *lr == trial.spec.lr
        });
        let measured = blocks.map_or(&[][..], |(_, blocks)| &blocks.seconds);
        let at = seeds.iter().position(|seed| *seed == trial.spec.seed);
        let round = at.unwrap_or(0) % measured.len().max(1);
        let Some(&seconds) = measured.get(round) else {
            continue;
        };
        trial.step_seconds = seconds;
        for point in &mut trial.points {
            point.seconds = point.step as f64 * seconds;
        }
    }
}
