//! The `osculate` command.
mod list;
mod lr;
mod progress;
mod race;
mod study;

use std::process::ExitCode;

use clap::Parser;
use osculate_program::{Interrupt, Output, complain, exit, log_to_stderr};

use crate::accuracy;
use crate::analysis::Results;
use crate::bench_step::bench_steps;
use crate::cli::{BenchStepArgs, Cli, Command, CompareArgs, ListArgs};
use crate::compare::compare;
use crate::entrant::Entrant;
use crate::error::BenchError;
use crate::memory;
use crate::report::{self, Notation};
use crate::trial::Watch;
use crate::workload::Workloads;

/// Runs the program with these workloads, and those whose folders its options name.
pub fn run(workloads: Workloads) -> ExitCode {
    log_to_stderr("error");
    let cli = Cli::parse();
    let out = Output::stdout();
    let done = match &cli.command {
        None => race::run(&cli.race, workloads, &out),
        Some(Command::Race(args)) => race::run(args, workloads, &out),
        Some(Command::Study(args)) => study::study(args, workloads, &out),
        Some(Command::Tune(args)) => study::tune(args, workloads, &out),
        Some(Command::Report(args)) => study::report(args, workloads, &out),
        Some(Command::Compare(args)) => comparison(args, &out),
        Some(Command::BenchStep(args)) => step_times(args, &out),
        Some(Command::Lr(args)) => lr::run(args, workloads, &out),
        Some(Command::List(args)) => listing(args, &workloads, &out),
        Some(Command::Accuracy) => accuracy::measure().map(|(text, within)| {
            out.say(text.trim_end());
            if within { 0 } else { exit::FAILURE }
        }),
    };
    let code = done.unwrap_or_else(|error| {
        complain(format_args!("error: {error}"));
        error.exit_code()
    });
    ExitCode::from(out.end(code))
}

fn listing(args: &ListArgs, workloads: &Workloads, out: &Output) -> Result<u8, BenchError> {
    match &args.memory {
        Some(shape) => {
            let table = memory::measure(shape, &osculate::device::select(None)?)?;
            out.say(table.trim_end());
        }
        None if args.workloads => list::workloads(workloads, out),
        None => list::optimizers(out)?,
    }
    Ok(0)
}

fn step_times(args: &BenchStepArgs, out: &Output) -> Result<u8, BenchError> {
    let device = osculate::device::select(args.device.as_deref())?;
    let texts = args.optimizers.iter();
    let entrants: Vec<Entrant> = texts.map(|text| text.parse()).collect::<Result<_, _>>()?;
    let stop = interrupt()?;
    let watch = Watch {
        stop: stop.flag(),
        ..Watch::default()
    };
    let grid = bench_steps(&entrants, &args.shapes, args.rounds, &device, &watch)?;
    out.say(format_args!(
        "{}\nA step on one matrix whose loss costs next to nothing, and its ratio to that of the first, on \
         {device:?}: medians of {} rounds, in which all take turns.",
        grid.write(Notation::Terminal),
        args.rounds
    ));
    Ok(0)
}

fn comparison(args: &CompareArgs, out: &Output) -> Result<u8, BenchError> {
    let found = compare(&Results::read(&args.before)?, &Results::read(&args.after)?);
    for warning in &found.warnings {
        complain(format_args!("warning: {warning}"));
    }
    out.say(found.table().write(Notation::Terminal));
    for name in found.missing.iter().chain(&found.new) {
        out.say(name);
    }
    out.say(
        "change: mean over the seeds that both have, with the p-value of the permutation test; step time: over \
         the baseline's in the same results",
    );
    let worse = args.fail_at.map_or(0, |p| found.regressions(p).len());
    let missing = args.fail_at.map_or(0, |_| found.missing.len());
    Ok(if worse + missing > 0 {
        out.say(format_args!(
            "{worse} worse by more than chance or no longer finished, {missing} missing"
        ));
        exit::FAILURE
    } else {
        0
    })
}

/// Prints the table of every workload, and the standings where there are some.
fn print_results(results: &Results, out: &Output) {
    for one in &results.workloads {
        let table = report::brief(one);
        out.say(format_args!(
            "\n{} ({} parameters, {} steps)\n{}",
            one.about.title,
            one.parameters,
            one.steps,
            table.write(Notation::Terminal)
        ));
    }
    if !results.standings.is_empty() {
        let table = report::standings(results).write(Notation::Terminal);
        out.say(format_args!("\n{table}"));
    }
    if !results.complete {
        out.say("Partial: interrupted, and unfinished runs count as they stood.");
    }
    if results.has_several_rates() {
        out.say(
            "Each optimizer at the rate that took it to the target in the fewest steps, or else to the best end; \
             these runs have chosen it.",
        );
    }
    out.say(format_args!(
        "Mean over {} seeds [95 % interval of the bootstrap]; to the target: censored median. The report says \
         how to read the columns.",
        results.seeds.len()
    ));
}

/// The command as it was typed, under the program's usual name.
fn typed() -> String {
    let plain = |word: &String| {
        word.chars()
            .all(|c| c.is_ascii_alphanumeric() || "-_=.,/:".contains(c))
    };
    let words = std::env::args_os().skip(1).map(|word| {
        let word = word.to_string_lossy().into_owned();
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

/// What the signals that end a process set.
fn interrupt() -> Result<Interrupt, BenchError> {
    Interrupt::on_signals().map_err(BenchError::Signals)
}
