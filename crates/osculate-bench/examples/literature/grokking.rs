//! Modular addition without weight decay: the stall, and what removes it.

use osculate_bench::entrant::Entrant;
use osculate_bench::error::BenchError;
use osculate_bench::report::Grid;
use osculate_bench::stats::{mean, median};
use osculate_bench::trial::{Trainer, Trial, TrialSpec};

use crate::runs::{Context, Ends};
use crate::workloads::Sums;

const SEEDS: u64 = 3;
const STEPS: usize = 3000;
const MEASUREMENTS: usize = 200;
/// What counts as having found the rule.
const FOUND: f64 = 0.95;

struct Entry {
    optimizer: &'static str,
    settings: &'static [&'static str],
    stable_max: bool,
    lr: f64,
    what: &'static str,
}

/// The published runs have an `epsilon` far below the gradients of a network that has learned its data.
const ENTRIES: [Entry; 6] = [
    Entry {
        optimizer: "adam",
        settings: &["epsilon=1e-12"],
        stable_max: false,
        lr: 0.003,
        what: "adam",
    },
    Entry {
        optimizer: "adamw",
        settings: &["epsilon=1e-12", "weight_decay=1"],
        stable_max: false,
        lr: 0.003,
        what: "adamw, decay 1",
    },
    Entry {
        optimizer: "perp-grad(adam)",
        settings: &["base.adam.epsilon=1e-12"],
        stable_max: false,
        lr: 0.003,
        what: "perp-grad over adam",
    },
    Entry {
        optimizer: "adam",
        settings: &["epsilon=1e-12"],
        stable_max: true,
        lr: 0.01,
        what: "adam, StableMax",
    },
    Entry {
        optimizer: "sgd",
        settings: &[],
        stable_max: false,
        lr: 0.1,
        what: "sgd",
    },
    Entry {
        optimizer: "perp-grad",
        settings: &[],
        stable_max: false,
        lr: 0.1,
        what: "perp-grad over sgd",
    },
];

pub fn run(context: &Context) -> Result<(), BenchError> {
    let made = |stable_max| {
        Sums::new(stable_max).map_err(|source| BenchError::Workload {
            name: "modular-addition".to_string(),
            source,
        })
    };
    let (plain, stable) = (made(false)?, made(true)?);
    let metric = plain.about().metric;
    let mut grid = Grid::new([
        "method",
        "rate",
        "last training loss",
        &metric.heading(),
        "steps to 95 %",
    ]);
    for entry in &ENTRIES {
        let entrant: Entrant = entry.optimizer.parse()?;
        let entrant = entrant.with_settings(entry.settings)?;
        let mut spec = TrialSpec::new("modular-addition", entrant, entry.lr, STEPS);
        spec.measurements = MEASUREMENTS;
        let trainer: &dyn Trainer = if entry.stable_max { &stable } else { &plain };
        let trials = context.runs(trainer, &context.with_seeds(&spec, SEEDS))?;
        let losses = trials
            .iter()
            .filter_map(|trial| trial.points.last()?.train_loss);
        let losses: Vec<f64> = losses.collect();
        grid.rows.push(vec![
            entry.what.to_string(),
            entry.lr.to_string(),
            mean(&losses).map_or(String::new(), |loss| format!("{loss:.1e}")),
            Ends::of(&trials).show(&metric),
            arrival(&trials),
        ]);
    }
    context.out.tell(format_args!(
        "Sums modulo 41, half of them in one batch, MLP 82-128-128-41 (ReLU), no decay where none is named, \
         {STEPS} steps, mean ± standard error over {} seeds; the test accuracy is measured every {} steps.",
        context.seeds(SEEDS).count(),
        STEPS / MEASUREMENTS
    ));
    context.show(&grid);
    Ok(())
}

/// The median, and how many came there.
fn arrival(trials: &[Trial]) -> String {
    let came = trials.iter().filter_map(|trial| {
        let there = |metric: Option<f64>| metric.is_some_and(|value| value >= FOUND);
        let point = trial.points.iter().find(|point| there(point.metric));
        point.map(|point| point.step as f64)
    });
    let came: Vec<f64> = came.collect();
    match median(&came) {
        Some(steps) if came.len() == trials.len() => format!("{steps:.0}"),
        Some(steps) => format!("{steps:.0} ({} of {})", came.len(), trials.len()),
        None => "never".to_string(),
    }
}
