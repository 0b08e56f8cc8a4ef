use std::cell::Cell;
use std::ffi::OsString;
use std::path::Path;

use burn::tensor::Device;
use indicatif::ProgressBar;
use osculate_program::exit::INTERRUPTED;
use osculate_program::{FolderLock, Output, complain};

use super::progress::bar;
use super::study::{processes, stop_with_input};
use super::{interrupt, print_results};
use crate::cli::{RaceArgs, RaceConfig};
use crate::error::BenchError;
use crate::race::{SideBySide, Spectator, race, race_side_by_side, work};
use crate::report;
use crate::shell;
use crate::study::CONFIG;
use crate::trial::{TrialSpec, Watch};
use crate::workload::Workloads;

/// A bar over the steps of all runs.
struct Bar {
    bar: ProgressBar,
    /// Steps of the runs that ended, and of the one under way.
    ended: Cell<usize>,
    steps: Cell<usize>,
    run: std::cell::RefCell<String>,
}

impl Spectator for Bar {
    fn begins(&self, run: &TrialSpec) {
        self.steps.set(run.steps);
        self.run.replace(format!(
            "{} · {} at {} · seed {}",
            run.workload, run.entrant.label, run.lr, run.seed
        ));
    }

    fn step(&self, made: usize, measured: Option<String>) {
        self.bar.set_position((self.ended.get() + made) as u64);
        let measured = measured.unwrap_or_else(|| "-".to_string());
        self.bar
            .set_message(format!("{} · {measured}", self.run.borrow()));
    }

    fn ends(&self) {
        self.ended.set(self.ended.get() + self.steps.get());
        self.bar.set_position(self.ended.get() as u64);
        self.bar.set_message(self.run.borrow().clone());
    }
}

/// `osculate race`.
pub(super) fn run(args: &RaceArgs, workloads: Workloads, out: &Output) -> Result<u8, BenchError> {
    let config = args.validate()?;
    let folders = &args.folders;
    let workloads =
        workloads.with_folders(folders.cifar.as_deref(), folders.wikitext.as_deref())?;
    if let Some(folder) = &args.worker {
        let device = osculate::device::select(args.device.as_deref())?;
        let stop = interrupt()?;
        stop_with_input(stop.clone());
        let watch = Watch {
            stop: stop.flag(),
            ..Watch::default()
        };
        work(folder, &workloads, &device, &watch)?;
        return Ok(0);
    }
    let mut steps = 0;
    for heat in &config.heats {
        let usual = workloads.get(&heat.workload)?.about().steps;
        steps += heat.steps.unwrap_or(usual) * heat.lanes().count();
    }
    let device = osculate::device::select(args.device.as_deref())?;
    let _alone = claim(&config.out)?;
    let stop = interrupt()?;
    let watch = Watch {
        stop: stop.flag(),
        ..Watch::default()
    };
    let runs: usize = config.heats.iter().map(|heat| heat.lanes().count()).sum();
    let runs = runs * config.seeds.len();
    let workers = args.workers.unwrap_or_else(|| processes(&device)).min(runs);
    out.tell(announcement(&config, runs, workers, &device));
    let spectator = Bar {
        bar: bar(steps * config.seeds.len()),
        ended: Cell::new(0),
        steps: Cell::new(0),
        run: std::cell::RefCell::default(),
    };
    let mut results = if workers < 2 {
        race(&config, &workloads, &device, &watch, &spectator)?
    } else {
        let words = worker_words(args);
        let processes = SideBySide {
            count: workers,
            words: &words,
        };
        race_side_by_side(&config, &workloads, &device, &watch, &spectator, &processes)?
    };
    spectator.bar.finish_and_clear();
    results.command = shell::typed();
    // What cannot be said is not lost, and what cannot be kept is said.
    let written = report::write_all(&results, &config.out);
    print_results(&results, out);
    let page = written?;
    out.tell(format_args!(
        "All tables and pictures: {}{}",
        page.display(),
        if args.open { "" } else { " (--open shows it)" }
    ));
    if args.open {
        show(&page);
    }
    out.tell(next(args));
    Ok(if results.complete { 0 } else { INTERRUPTED })
}

/// Makes the folder ready for a race, and keeps others out of it: what is wrong with it is found out
/// before the training.
fn claim(folder: &Path) -> Result<FolderLock, BenchError> {
    std::fs::create_dir_all(folder).map_err(BenchError::file("make", folder))?;
    if folder.join(CONFIG).exists() {
        return Err(BenchError::Usage(format!(
            "{} holds a study, whose report a race would replace; choose another folder with --out",
            folder.display()
        )));
    }
    let lock = FolderLock::take(folder).map_err(BenchError::file("lock", folder))?;
    lock.ok_or_else(|| BenchError::Locked {
        path: folder.to_path_buf(),
    })
}

/// The words that make this program one of the processes of a race, but for the folder of their runs.
fn worker_words(args: &RaceArgs) -> Vec<OsString> {
    let mut words = vec![OsString::from("race")];
    words.extend(args.folders.words());
    if let Some(name) = &args.device {
        words.extend(["--device", name].map(OsString::from));
    }
    words.push("--worker".into());
    words
}

/// What is about to be run.
fn announcement(config: &RaceConfig, runs: usize, workers: usize, device: &Device) -> String {
    let workloads: Vec<&str> = config
        .heats
        .iter()
        .map(|heat| heat.workload.as_str())
        .collect();
    let side_by_side = match workers {
        0 | 1 => String::new(),
        workers => format!(" {workers} side by side, then their step times alone."),
    };
    format!(
        "{runs} runs on {device:?}: {} with {} seeds, each optimizer at a rate tuned for it where the study has \
         one.{side_by_side}",
        workloads.join(", "),
        config.seeds.len()
    )
}

/// Opens a page. Where there is no browser its path has been said.
fn show(page: &Path) {
    if let Err(error) = open::that_detached(page) {
        complain(format_args!("cannot open {}: {error}", page.display()));
    }
}

/// What to try next, as the last line.
fn next(args: &RaceArgs) -> &'static str {
    if args.workloads.is_empty() && args.optimizers.is_empty() && args.optimizer.is_empty() {
        "Next: osculate list (the optimizers), osculate list soap (all of one), osculate race --workloads \
         char-lm --optimizers adamw,soap,muon (on text)"
    } else {
        "Next: osculate tune --workload NAME --optimizers A,B searches rates, osculate study compares with tuning"
    }
}
