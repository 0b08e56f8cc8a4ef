//! The `wikitext` command.

use std::process::ExitCode;

use clap::Parser;
use mimalloc::MiMalloc;
use osculate_program::{Output, complain, log_to_stderr};
use wikitext::cli::Cli;

/// Training frees and asks for the same large blocks in every step; glibc gives them back to the system and
/// faults them in again.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// What is logged where `RUST_LOG` does not say: the run's progress where there is no terminal.
const LOGGED: &str = "warn,osculate_train=info,wikitext=info";

fn main() -> ExitCode {
    log_to_stderr(LOGGED);
    let out = Output::stdout();
    let code = match Cli::parse().train() {
        Ok(outcome) => {
            out.say(outcome.text);
            outcome.code
        }
        Err(error) => {
            complain(format_args!("error: {error}"));
            error.exit_code()
        }
    };
    ExitCode::from(out.end(code))
}
