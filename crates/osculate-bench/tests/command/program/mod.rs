//! Starting the `osculate` command.

use std::path::Path;
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use serde_json::Value;

pub fn osculate(words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_osculate"));
    // Whatever backends the tests are built with.
    command.args(words).env("BURN_DEVICE", "flex");
    command
}

/// A study of some seconds in a folder, by one of the commands that make one.
#[cfg(unix)]
pub fn small(command: &str, out: &Path) -> Command {
    let mut words = vec![command, "--optimizers", "adamw", "--trials", "1"];
    words.extend(match command {
        "study" => ["--workloads", "quadratic", "--seeds", "1"].as_slice(),
        _ => &["--workload", "quadratic"],
    });
    words.extend(["--length", "0.05", "--workers", "0", "--device", "flex"]);
    let mut made = osculate(&words);
    made.arg("--out").arg(out);
    made
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

pub fn json(path: &Path) -> Value {
    let bytes = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_slice(&bytes).expect("valid JSON")
}

/// A race that only a signal ends.
#[cfg(unix)]
pub fn endless_race(out: &Path) -> Command {
    let mut made = osculate(&["race", "--optimizers", "sgd", "--workloads", "digits-mlp"]);
    made.args(["--seeds", "1", "--steps", "10000000", "--device", "flex"]);
    made.arg("--out").arg(out);
    made
}

/// Sends a signal, `-INT` for what Ctrl-C sends.
#[cfg(unix)]
pub fn send(signal: &str, child: &Child) {
    let sent = Command::new("kill")
        .args([signal, &child.id().to_string()])
        .status()
        .expect("kill runs");
    assert!(sent.success());
}

/// Waits for the end of a process, and fails where it does not come in time.
#[cfg(unix)]
pub fn wait(child: &mut Child, until: Instant) -> ExitStatus {
    loop {
        if let Some(status) = child.try_wait().expect("the process can be waited for") {
            return status;
        }
        if Instant::now() > until {
            child.kill().expect("the process can be ended");
            panic!("the process did not end in time");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}
