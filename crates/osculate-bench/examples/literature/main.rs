//! Claims of papers, tried again small: the numbers of `docs/literature.md`.
//!
//! `cargo run --release -p osculate-bench --example literature -- grokking`, or another of the names below.
//! Each takes minutes on one core.
#![allow(clippy::print_stdout, reason = "an example shows its results")]

mod batch_rate;
mod grokking;
mod label_noise;
mod super_convergence;

use std::error::Error;

type Fallible<T> = Result<T, Box<dyn Error>>;

/// An experiment, by name.
type Experiment = (&'static str, fn() -> Fallible<()>);

const EXPERIMENTS: [Experiment; 4] = [
    ("grokking", grokking::run),
    ("label-noise", label_noise::run),
    ("super-convergence", super_convergence::run),
    ("batch-rate", batch_rate::run),
];

fn main() -> Fallible<()> {
    let asked = std::env::args().nth(1).unwrap_or_default();
    let found = EXPERIMENTS.iter().find(|(name, _)| *name == asked);
    let Some((_, run)) = found else {
        let names = EXPERIMENTS.map(|(name, _)| name).join(", ");
        return Err(format!("experiment {asked:?}: expected one of {names}").into());
    };
    run()
}

/// Mean and standard deviation, in per cent.
fn percent(values: &[f64]) -> String {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let spread = values.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / (n - 1.0).max(1.0);
    format!("{:.1} ± {:.1}", 100.0 * mean, 100.0 * spread.sqrt())
}
