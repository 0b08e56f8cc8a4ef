//! The `osculate` command.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command talks through its standard streams"
)]

mod list;
mod progress;
mod race;
mod study;

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::Parser;
use tracing_subscriber::EnvFilter;

use crate::accuracy;
use crate::analysis::Results;
use crate::bench_step::bench_steps;
use crate::cli::{BenchStepArgs, Cli, Command, CompareArgs, ListArgs};
use crate::compare::compare;
use crate::entrant::Entrant;
use crate::error::{BenchError, INTERRUPTED};
use crate::memory;
use crate::report::{self, Notation};
use crate::trial::Watch;
use crate::workload::Workloads;

/// Runs the program with these workloads, and those whose folders its options name.
pub fn run(workloads: Workloads) -> ExitCode {
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::from_default_env())
        .with_writer(std::io::stderr)
        .init();
    let cli = Cli::parse();
    let done = match &cli.command {
        None => race::run(&cli.race, workloads),
        Some(Command::Race(args)) => race::run(args, workloads),
        Some(Command::Study(args)) => study::study(args, workloads),
        Some(Command::Tune(args)) => study::tune(args, workloads),
        Some(Command::Report(args)) => study::report(args, workloads),
        Some(Command::Compare(args)) => comparison(args),
        Some(Command::BenchStep(args)) => step_times(args),
        Some(Command::List(args)) => listing(args, &workloads),
        Some(Command::Accuracy) => accuracy::measure().map(|(text, within)| {
            print!("{text}");
            if within {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            }
        }),
    };
    done.unwrap_or_else(|error| {
        eprintln!("error: {error}");
        ExitCode::from(error.exit_code())
    })
}

fn listing(args: &ListArgs, workloads: &Workloads) -> Result<ExitCode, BenchError> {
    match &args.memory {
        Some(shape) => print!(
            "{}",
            memory::measure(shape, &osculate::device::select(None)?)?
        ),
        None if args.workloads => list::workloads(workloads),
        None => list::optimizers()?,
    }
    Ok(ExitCode::SUCCESS)
}

fn step_times(args: &BenchStepArgs) -> Result<ExitCode, BenchError> {
    let device = osculate::device::select(args.device.as_deref())?;
    let texts = args.optimizers.iter();
    let entrants: Vec<Entrant> = texts.map(|text| text.parse()).collect::<Result<_, _>>()?;
    let stop = stop_flag();
    let watch = Watch {
        stop: &stop,
        ..Watch::default()
    };
    let grid = bench_steps(&entrants, &args.shapes, args.rounds, &device, &watch)?;
    println!(
        "{}\nA step on one matrix whose loss costs next to nothing, and its ratio to that of the first, on \
         {device:?}: medians of {} rounds, in which all take turns.",
        grid.write(Notation::Terminal),
        args.rounds
    );
    Ok(ExitCode::SUCCESS)
}

fn comparison(args: &CompareArgs) -> Result<ExitCode, BenchError> {
    let found = compare(&Results::read(&args.before)?, &Results::read(&args.after)?);
    for warning in &found.warnings {
        eprintln!("warning: {warning}");
    }
    println!("{}", found.table().write(Notation::Terminal));
    for name in found.missing.iter().chain(&found.new) {
        println!("{name}");
    }
    println!(
        "change: mean over the seeds that both have, with the p-value of the permutation test; step time: over \
         the baseline's in the same results"
    );
    let worse = args.fail_at.map_or(0, |p| found.regressions(p).len());
    let missing = args.fail_at.map_or(0, |_| found.missing.len());
    Ok(if worse + missing > 0 {
        println!("{worse} worse by more than chance or no longer finished, {missing} missing");
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

/// Prints the table of every workload, and the standings where there are some.
fn print_results(results: &Results) {
    for one in &results.workloads {
        let table = report::brief(one);
        println!(
            "\n{} ({} parameters, {} steps)\n{}",
            one.about.title,
            one.parameters,
            one.steps,
            table.write(Notation::Terminal)
        );
    }
    if !results.standings.is_empty() {
        println!("\n{}", report::standings(results).write(Notation::Terminal));
    }
    if !results.complete {
        println!("Partial: interrupted, and unfinished runs count as they stood.");
    }
    if results.has_several_rates() {
        println!(
            "Each optimizer at the rate that took it to the target in the fewest steps, or else to the best end; \
             these runs have chosen it."
        );
    }
    println!(
        "Mean over {} seeds [95 % interval of the bootstrap]; to the target: censored median. The report says \
         how to read the columns.",
        results.seeds.len()
    );
}

/// The command as it was typed, under the program's usual name.
fn typed() -> String {
    let plain = |word: &String| {
        word.chars()
            .all(|c| c.is_ascii_alphanumeric() || "-_=.,/:".contains(c))
    };
    let words = std::env::args().skip(1).map(|word| {
        if plain(&word) {
            word
        } else {
            format!("'{}'", word.replace('\'', "'\\''"))
        }
    });
    std::iter::once("osculate".to_string())
        .chain(words)
        .collect::<Vec<_>>()
        .join(" ")
}

/// A flag that an interrupt sets; a second interrupt ends the program at once.
fn stop_flag() -> Arc<AtomicBool> {
    let stop = Arc::new(AtomicBool::new(false));
    let flag = stop.clone();
    let handler = ctrlc::set_handler(move || {
        if flag.swap(true, Ordering::Relaxed) {
            std::process::exit(i32::from(INTERRUPTED));
        }
        eprintln!("\nstopping after this step; press Ctrl-C again to leave at once");
    });
    if let Err(error) = handler {
        eprintln!("warning: Ctrl-C will end the program at once: {error}");
    }
    stop
}
