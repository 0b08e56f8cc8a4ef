//! An optimizer of osculate in burn's `Learner`, on the embedded digits: dashboard, metrics,
//! checkpoints.
//!
//! `cargo run --release -p learner -- --optimizer sam`
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program shows its results and errors"
)]

mod args;
mod data;
mod model;
mod training;

use std::error::Error;
use std::process::ExitCode;

use clap::Parser;
use mimalloc::MiMalloc;

use args::Args;

/// Training frees and asks for the same large blocks in every step; glibc gives them back to the system and
/// faults them in again.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<(), Box<dyn Error>> {
    let device = osculate::device::select(args.device.as_deref())?;
    let result = training::train(args, &device)?;
    let stopped = result.interrupted.is_some();
    if let Some(error) = result.error {
        return Err(error.to_string().into());
    }
    // The renderer gives the terminal back when it goes.
    drop(result.renderer);
    let directory = args.directory();
    let directory = directory.display();
    if stopped {
        println!("stopped; --resume goes on from the last whole epoch in {directory}");
    } else {
        println!("logs and checkpoints are in {directory}");
    }
    Ok(())
}
