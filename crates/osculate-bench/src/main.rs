//! The `osculate` command.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command talks through its standard streams"
)]

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::{Parser, ValueEnum};
use osculate_bench::accuracy;
use osculate_bench::cli::{Cli, Command, RaceArgs};
use osculate_bench::error::BenchError;
use osculate_bench::memory;
use osculate_bench::race::{prepare_output, race};
use osculate_bench::registry::Method;
use osculate_bench::report;
use tracing_subscriber::EnvFilter;

/// Exit code of a program that was interrupted, as shells count it.
const INTERRUPTED: u8 = 130;

fn main() -> ExitCode {
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::from_default_env())
        .with_writer(std::io::stderr)
        .init();
    let cli = Cli::parse();
    let done = match cli.command {
        None => run_race(&cli.race),
        Some(Command::Race(args)) => run_race(&args),
        Some(Command::List { memory: None }) => {
            list();
            Ok(ExitCode::SUCCESS)
        }
        Some(Command::List {
            memory: Some(shape),
        }) => osculate::device::select(None)
            .map_err(BenchError::from)
            .and_then(|device| memory::measure(&shape, &device))
            .map(|text| {
                print!("{text}");
                ExitCode::SUCCESS
            }),
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

fn run_race(args: &RaceArgs) -> Result<ExitCode, BenchError> {
    let config = args.validate()?;
    let device = osculate::device::select(args.device.as_deref())?;
    prepare_output(&config.out)?;
    let stop = Arc::new(AtomicBool::new(false));
    let flag = stop.clone();
    let handler = ctrlc::set_handler(move || {
        if flag.swap(true, Ordering::Relaxed) {
            std::process::exit(i32::from(INTERRUPTED));
        }
        eprintln!("\nstopping after this step; press Ctrl-C again to leave at once");
    });
    if let Err(error) = handler {
        eprintln!("warning: Ctrl-C will lose the results: {error}");
    }
    println!(
        "Runs: {} optimizers x {} networks x {} seeds, on {device:?}",
        config.entrants.len(),
        config.nets.len(),
        config.seeds.len()
    );
    let results = race(&config, &device, &stop)?;
    println!("\n{}", report::terminal(&results));
    for path in report::write_all(&results, &config.out)? {
        println!("wrote {}", path.display());
    }
    Ok(if results.complete {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(INTERRUPTED)
    })
}

fn list() {
    println!(
        "{:<11} {:<44} {:>9} {:>6} {:>7}  settings",
        "name", "what it does", "gradients", "state", "lr"
    );
    for method in Method::value_variants() {
        let summary = method.summary();
        println!(
            "{:<11} {:<44} {:>9} {:>6} {:>7}  {}",
            summary.name,
            summary.text,
            summary.gradients,
            summary.state,
            summary.lr,
            summary.settings
        );
    }
    println!(
        "\ngradients: evaluations a step; state: numbers kept for each parameter; lr: peak rate in \
         the race"
    );
}
