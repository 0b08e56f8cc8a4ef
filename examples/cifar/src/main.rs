//! Trains an image classifier; see `cifar --help`.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program shows its results"
)]

use std::process::ExitCode;

use cifar::CifarError;
use cifar::config::{Cli, Config};
use cifar::task::{Classification, load_images};
use clap::Parser;
use mimalloc::MiMalloc;
use tracing_subscriber::EnvFilter;

/// Training frees and asks for the same large blocks in every step; glibc gives them back to the system and
/// faults them in again.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// What is logged where `RUST_LOG` does not say: the run's progress where there is no terminal.
const LOGGED: &str = "warn,osculate_train=info,cifar=info";

/// What is printed where the program was started without images.
const EMBEDDED: &str = "\
##############################################################################
##                                                                          ##
##   N O   D A T A   F O L D E R   G I V E N                                ##
##                                                                          ##
##   TRAINING ON 1442 EMBEDDED DIGITS OF 8 x 8 PIXELS, NOT ON CIFAR.        ##
##   FOR CIFAR: --data FOLDER, OR --download cifar-10. MORE: --help         ##
##                                                                          ##
##############################################################################
";

fn main() -> ExitCode {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(LOGGED));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
    match run(&Cli::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: &Cli) -> Result<ExitCode, CifarError> {
    let config = cli.config()?;
    let device = osculate::device::select(cli.device.as_deref())?;
    if config.data.is_embedded() {
        println!("{EMBEDDED}");
    }
    let set = load_images(&config)?;
    let task = Classification::new(&config, set, device)?;
    describe(&config, &task)?;
    let finished = cli.run.trainer(&task, &config.trainer, &config)?.run()?;
    println!("{}", finished.summary);
    Ok(ExitCode::from(finished.summary.ending.exit_code()))
}

fn describe(config: &Config, task: &Classification) -> Result<(), CifarError> {
    let (set, shape) = (task.set(), task.set().shape());
    println!(
        "{}: {} training and {} test images of {} x {} x {}, {} classes",
        set.source,
        set.train.len(),
        set.test.len(),
        shape.channels,
        shape.height,
        shape.width,
        set.classes.len()
    );
    for note in &set.notes {
        println!("note: {note}");
    }
    let changes = task.augmentation();
    println!(
        "crop {} px, flip {}, cutout {} px; label smoothing {}, label noise {}",
        changes.crop, changes.flip, changes.cutout, config.label_smoothing, config.label_noise
    );
    println!(
        "{:?} with {} parameters, products in {:?}; batches of {}",
        config.architecture(),
        task.network(0)?.trainable(),
        config.precision,
        config.batch
    );
    Ok(())
}
