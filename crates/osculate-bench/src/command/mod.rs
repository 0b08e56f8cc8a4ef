//! The `osculate` command.
mod list;
mod lr;
mod progress;
mod race;
mod study;

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;
use osculate_program::{Interrupt, Output, complain, exit, log_to_stderr};

use crate::accuracy;
use crate::analysis::{Results, verdict};
use crate::bench_step::bench_steps;
use crate::cli::{BenchStepArgs, Cli, Command, CompareArgs, ListArgs};
use crate::compare::compare;
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
        Some(Command::Accuracy) => accuracy::measure().map(|rows| {
            out.say(accuracy::table(&rows).write(Notation::of(&out)));
            out.tell(accuracy::note());
            let within = rows.iter().all(accuracy::Row::accepted);
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
            let grid = memory::measure(shape, &osculate::device::select(None)?)?;
            out.say(grid.write(Notation::of(out)));
            out.tell(format_args!(
                "Bytes of state over bytes of parameters on one f32 matrix of {shape}."
            ));
        }
        None if args.workloads => list::workloads(workloads, out),
        None => match &args.name {
            Some(name) => list::optimizer(name, out)?,
            None => list::optimizers(out)?,
        },
    }
    Ok(0)
}

fn step_times(args: &BenchStepArgs, out: &Output) -> Result<u8, BenchError> {
    let device = osculate::device::select(args.device.as_deref())?;
    let entrants = args.entrants()?;
    let stop = interrupt()?;
    let watch = Watch {
        stop: stop.flag(),
        ..Watch::default()
    };
    let grid = bench_steps(&entrants, &args.shapes, args.rounds, &device, &watch)?;
    out.say(grid.write(Notation::of(out)));
    out.tell(format_args!(
        "A step on one matrix whose loss costs next to nothing, and its ratio to that of the first, on {device:?}: \
         medians of {} rounds, in which all take turns.",
        args.rounds
    ));
    Ok(0)
}

fn comparison(args: &CompareArgs, out: &Output) -> Result<u8, BenchError> {
    let found = compare(&Results::read(&args.before)?, &Results::read(&args.after)?);
    for warning in &found.warnings {
        complain(format_args!("warning: {warning}"));
    }
    out.say(found.table().write(Notation::of(out)));
    for name in found.missing.iter().chain(&found.new) {
        out.say(name);
    }
    out.tell(
        "change: mean over the seeds that both have, with the p-value of the permutation test, and none where chance \
         explains it; step time: over the baseline's in the same results",
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

/// Prints what came of every workload, its verdict last, and the standings where there are some.
fn print_results<W: Write>(results: &Results, out: &Output<W>) {
    for one in &results.workloads {
        out.say("");
        out.tell(format_args!(
            "{} ({} parameters, {} steps)",
            one.about.title, one.parameters, one.steps
        ));
        if let Some(columns) = out.columns()
            && let Some(chart) = report::chart(one, results, columns, out.is_coloured())
        {
            out.say(chart);
        }
        out.say(report::brief(one).write(Notation::of(out)));
        if let Some(verdict) = verdict(one, results) {
            out.tell(format_args!("Verdict: {}", verdict.headline));
            for detail in verdict.details {
                out.item(detail);
            }
        }
    }
    if !results.standings.is_empty() {
        let table = report::standings(results).write(Notation::of(out));
        out.say(format_args!("\n{table}"));
    }
    out.say("");
    if !results.complete {
        out.tell("Partial: interrupted, and unfinished runs count as they stood.");
    }
    if results.has_several_rates() {
        out.tell(
            "Each optimizer at the rate that took it to the target in the fewest steps, or else to the best end; \
             these runs have chosen it.",
        );
    }
    out.tell(format_args!(
        "Mean over {} seeds [95 % interval of the bootstrap]; to the target: censored median. The report says \
         how to read the columns.",
        results.seeds.len()
    ));
}

/// What the signals that end a process set.
fn interrupt() -> Result<Interrupt, BenchError> {
    Interrupt::on_signals().map_err(BenchError::Signals)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::example::race;

    /// What a race shows, wherever it is shown.
    #[test]
    fn results_fit_where_they_are_shown() {
        let results = race(
            6,
            &[
                ("adamw", 0.9, 1.0),
                ("soap", 0.8, 3.0),
                ("muon", 0.8, 1.5),
                ("sgd", 0.95, 0.9),
            ],
        );
        for columns in [80, 100, 140] {
            let mut text = Vec::new();
            let out = Output::new(&mut text).with_columns(columns);
            print_results(&results, &out);
            assert_eq!(out.end(0), 0);
            let text = String::from_utf8(text).unwrap();
            let widest = text.lines().map(|line| line.chars().count()).max();
            assert!(widest <= Some(columns), "{text}");
            insta::assert_snapshot!(format!("race-{columns}"), text);
        }
        let mut text = Vec::new();
        let out = Output::new(&mut text);
        print_results(&results, &out);
        assert_eq!(out.end(0), 0);
        insta::assert_snapshot!("race-piped", String::from_utf8(text).unwrap());
    }
}
