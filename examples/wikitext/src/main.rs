//! The `wikitext` command.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command talks through its standard streams"
)]

use std::process::ExitCode;

use clap::Parser;
use mimalloc::MiMalloc;
use tracing_subscriber::EnvFilter;
use wikitext::cli::Cli;

/// Training frees and asks for the same large blocks in every step; glibc gives them back to the system and
/// faults them in again.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// What is logged where `RUST_LOG` does not say: the run's progress where there is no terminal.
const LOGGED: &str = "warn,osculate_train=info,wikitext=info";

fn main() -> ExitCode {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(LOGGED));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
    match Cli::parse().train() {
        Ok(outcome) => {
            println!("{}", outcome.text);
            ExitCode::from(outcome.code)
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
