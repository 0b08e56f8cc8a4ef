//! What papers claim, tried small: the numbers of `docs/literature.md`.
//!
//! Each study is minutes of two cores: `cargo run --release -p osculate-bench --example literature -- momo`.

mod batch_size;
mod grokking;
mod momo;
mod neighbours;
mod one_cycle;
mod runs;
mod workloads;
mod wrong_labels;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use mimalloc::MiMalloc;
use osculate_bench::error::BenchError;
use osculate_program::{Output, complain};

use crate::runs::Context;

/// As in the command `osculate`.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// Tries small what papers claim of optimizers.
#[derive(Debug, Parser)]
#[command(name = "literature")]
struct Cli {
    #[command(subcommand)]
    study: Study,
    /// Seeds of the reported runs; each study has a number of its own where nothing is said.
    #[arg(long, global = true)]
    seeds: Option<u64>,
    /// Runs at a time.
    #[arg(long, global = true, default_value_t = 2)]
    workers: usize,
}

/// A study.
#[derive(Debug, Subcommand)]
enum Study {
    /// MoMo and its bases over two decades of rates.
    Momo,
    /// Modular addition: does the network come to the rule, and when.
    Grokking,
    /// The flatness family on 40 % wrong labels.
    WrongLabels,
    /// One-cycle against constant rates and a cosine, in runs of several lengths.
    OneCycle,
    /// The rate from the noise of batches against a sweep.
    BatchSize,
    /// What neighbours' users mix in, over the bases: MARS, Prodigy, Hyperball, NorMuon.
    Neighbours {
        /// What is trained, as `osculate list --workloads` has them.
        #[arg(long, default_value = "autoencoder")]
        workload: String,
    },
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let out = Output::stdout();
    let code = match run(&cli, &out) {
        Ok(()) => 0,
        Err(error) => {
            complain(format_args!("error: {error}"));
            error.exit_code()
        }
    };
    ExitCode::from(out.end(code))
}

fn run(cli: &Cli, out: &Output) -> Result<(), BenchError> {
    let context = Context {
        device: osculate::device::select(None)?,
        workers: cli.workers.max(1),
        seeds: cli.seeds,
        out,
    };
    match &cli.study {
        Study::Momo => momo::run(&context),
        Study::Grokking => grokking::run(&context),
        Study::WrongLabels => wrong_labels::run(&context),
        Study::OneCycle => one_cycle::run(&context),
        Study::BatchSize => batch_size::run(&context),
        Study::Neighbours { workload } => neighbours::run(&context, workload),
    }
}
