use std::cell::Cell;
use std::process::ExitCode;

use indicatif::ProgressBar;

use super::progress::bar;
use super::{print_results, stop_flag};
use crate::cli::{RaceArgs, RaceConfig};
use crate::entrant::Entrant;
use crate::error::{BenchError, INTERRUPTED};
use crate::race::{Spectator, race};
use crate::report;
use crate::trial::Watch;
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
    fn begins(&self, workload: &str, optimizer: &Entrant, lr: f64, seed: u64, steps: usize) {
        self.steps.set(steps);
        self.run.replace(format!(
            "{workload} · {} at {lr} · seed {seed}",
            optimizer.label
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
    }
}

/// `osculate race`.
pub(super) fn run(args: &RaceArgs, workloads: Workloads) -> Result<ExitCode, BenchError> {
    let config = args.validate()?;
    let folders = &args.folders;
    let workloads =
        workloads.with_folders(folders.cifar.as_deref(), folders.wikitext.as_deref())?;
    let mut steps = 0;
    for name in &config.workloads {
        steps += config.steps.unwrap_or(workloads.get(name)?.about().steps);
    }
    let device = osculate::device::select(args.device.as_deref())?;
    // A folder that cannot be written to is found out before the training.
    std::fs::create_dir_all(&config.out).map_err(BenchError::file("make", &config.out))?;
    let stop = stop_flag();
    let watch = Watch {
        stop: &stop,
        ..Watch::default()
    };
    println!(
        "Runs: {} optimizers{} x {} workloads x {} seeds, on {device:?}",
        config.entrants.len(),
        rates(&config),
        config.workloads.len(),
        config.seeds.len()
    );
    let spectator = Bar {
        bar: bar(steps * config.lanes().count() * config.seeds.len()),
        ended: Cell::new(0),
        steps: Cell::new(0),
        run: std::cell::RefCell::default(),
    };
    let mut results = race(&config, &workloads, &device, &watch, &spectator)?;
    spectator.bar.finish_and_clear();
    results.command = super::typed();
    print_results(&results);
    for path in report::write_all(&results, &config.out)? {
        println!("wrote {}", path.display());
    }
    Ok(if results.complete {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(INTERRUPTED)
    })
}

/// How many learning rates there are, where that is not one for each optimizer.
fn rates(config: &RaceConfig) -> String {
    match config.lanes().count() {
        count if count == config.entrants.len() => String::new(),
        count => format!(" at {count} learning rates"),
    }
}
