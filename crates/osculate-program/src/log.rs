//! The log.

use tracing_subscriber::EnvFilter;

/// Sends the events of `tracing` to standard error: what `RUST_LOG` says, or else what `usual` says.
/// Without colours, which are noise in a file. A log that cannot be written, since who read it went
/// away, does not end the program.
pub fn log_to_stderr(usual: &str) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(usual));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(false)
        .log_internal_errors(false)
        .with_writer(std::io::stderr)
        .init();
}
