//! The `osculate` command.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command talks through its standard streams"
)]

mod progress;
mod study;

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::Parser;
use tracing_subscriber::EnvFilter;

use crate::cli::{Cli, Command};
use crate::error::{BenchError, INTERRUPTED};
use crate::workload::Workloads;

/// Runs the program with these workloads, and those whose folders its options name.
pub fn run(workloads: Workloads) -> ExitCode {
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::from_default_env())
        .with_writer(std::io::stderr)
        .init();
    let cli = Cli::parse();
    let done = match cli.command {
        Some(Command::Study(args)) => study::study(&args, workloads),
        Some(Command::Tune(args)) => study::tune(&args, workloads),
        _ => Ok(ExitCode::SUCCESS),
    };
    done.unwrap_or_else(|error| {
        eprintln!("error: {error}");
        ExitCode::from(error.exit_code())
    })
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
