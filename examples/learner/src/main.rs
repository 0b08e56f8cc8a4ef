//! An optimizer of osculate in burn's `Learner`, on the embedded digits: dashboard, metrics,
//! checkpoints.
//!
//! `cargo run --release -p learner -- --optimizer sam`

mod args;
mod data;
mod mistake;
mod model;
mod plain;
mod training;

use std::error::Error;
use std::process::ExitCode;

use clap::Parser;
use mimalloc::MiMalloc;
use osculate_program::{FolderLock, Interrupt, Output, complain, exit};

use args::Args;
use mistake::Mistake;

/// Training frees and asks for the same large blocks in every step; glibc gives them back to the system and
/// faults them in again.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    let out = Output::stdout();
    let code = run(&Args::parse(), &out).unwrap_or_else(|error| {
        complain(format_args!("error: {error}"));
        mistake::exit_code(error.as_ref())
    });
    ExitCode::from(out.end(code))
}

fn run(args: &Args, out: &Output) -> Result<u8, Box<dyn Error>> {
    let device = osculate::device::select(args.device.as_deref())?;
    let directory = args.directory();
    let within = |error: std::io::Error| format!("cannot use {}: {error}", directory.display());
    std::fs::create_dir_all(&directory).map_err(within)?;
    let Some(_alone) = FolderLock::take(&directory).map_err(within)? else {
        let directory = directory.display();
        return Err(Mistake::new(format!("another process is training in {directory}")).into());
    };
    let interrupt = Interrupt::on_signals()?;
    let result = training::train(args, &device, &interrupt, out)?;
    let stopped = result.interrupted.is_some();
    if let Some(error) = result.error {
        return Err(error.to_string().into());
    }
    // The renderer gives the terminal back when it goes.
    drop(result.renderer);
    let directory = directory.display();
    if stopped {
        out.say(format_args!(
            "stopped; --resume goes on from the last whole epoch in {directory}"
        ));
    } else {
        out.say(format_args!("logs and checkpoints are in {directory}"));
    }
    Ok(if interrupt.is_set() {
        exit::INTERRUPTED
    } else {
        0
    })
}
