//! Trains an image classifier; see `cifar --help`.

use std::process::ExitCode;

use cifar::CifarError;
use cifar::config::{Cli, Config};
use cifar::task::{Classification, load_images};
use clap::Parser;
use mimalloc::MiMalloc;
use osculate_program::{Output, complain, log_to_stderr};

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
    log_to_stderr(LOGGED);
    let out = Output::stdout();
    let code = run(&Cli::parse(), &out).unwrap_or_else(|error| {
        complain(format_args!("error: {error}"));
        error.exit_code()
    });
    ExitCode::from(out.end(code))
}

fn run(cli: &Cli, out: &Output) -> Result<u8, CifarError> {
    let config = cli.config()?;
    let device = osculate::device::select(cli.device.as_deref())?;
    if config.data.is_embedded() {
        out.say(EMBEDDED);
    }
    let set = load_images(&config)?;
    let task = Classification::new(&config, set, device)?;
    describe(&config, &task, out)?;
    let trainer = cli.run.trainer(&task, &config.trainer, &config)?;
    let finished = trainer.with_free(Config::FREE).run()?;
    out.say(&finished.summary);
    Ok(finished.summary.ending.exit_code())
}

fn describe(config: &Config, task: &Classification, out: &Output) -> Result<(), CifarError> {
    let (set, shape) = (task.set(), task.set().shape());
    out.say(format_args!(
        "{}: {} training and {} test images of {} x {} x {}, {} classes",
        set.source,
        set.train.len(),
        set.test.len(),
        shape.channels,
        shape.height,
        shape.width,
        set.classes.len()
    ));
    for note in &set.notes {
        out.say(format_args!("note: {note}"));
    }
    let changes = task.augmentation();
    out.say(format_args!(
        "crop {} px, flip {}, cutout {} px; label smoothing {}, label noise {}",
        changes.crop, changes.flip, changes.cutout, config.label_smoothing, config.label_noise
    ));
    out.say(format_args!(
        "{:?} with {} parameters, products in {:?}; batches of {}",
        config.architecture(),
        task.network(0)?.trainable(),
        config.precision,
        config.batch
    ));
    Ok(())
}
