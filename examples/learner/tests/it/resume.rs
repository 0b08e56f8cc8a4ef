//! A training that is killed at a random moment and resumed is the training that was not.

#[path = "../../../../crates/osculate-train/tests/common/kill.rs"]
mod kill;

use std::path::{Path, PathBuf};
use std::process::Command;

use kill::{assert_same, finish, kill};
use osculate::optim::registry::OptimizerKind;

const EPOCHS: usize = 5;

fn learner(directory: &Path, optimizer: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_learner"));
    command.args(["--optimizer", optimizer, "--epochs", &EPOCHS.to_string()]);
    command.args(["--batch-size", "128", "--curvature", "0"]);
    command.args(["--plain", "--device", "flex", "--dir"]);
    command.arg(directory);
    command
}

/// Files of weights and optimizer state after an epoch.
fn checkpoint(directory: &Path, epoch: usize) -> [PathBuf; 2] {
    ["model", "optim"].map(|part| directory.join(format!("checkpoint/{part}-{epoch}.bpk")))
}

/// Whether every file of a checkpoint has its checksum, which is written after it; burn writes the
/// files side by side.
fn is_whole(directory: &Path, epoch: usize) -> bool {
    ["model", "optim", "scheduler"].iter().all(|part| {
        directory
            .join(format!("checkpoint/{part}-{epoch}.crc"))
            .exists()
    })
}

/// Of every second method, from this one on.
fn killed_and_resumed_is_uninterrupted(from: usize) {
    // Entropy-SGD draws further batches in a step, which this loop has not.
    let methods = OptimizerKind::all().into_iter();
    let methods = methods.filter(|method| *method != OptimizerKind::ENTROPY_SGD);
    for method in methods.skip(from).step_by(2) {
        let optimizer = method.name();
        let folder = tempfile::tempdir().unwrap();
        let (whole, killed) = (folder.path().join("whole"), folder.path().join("killed"));
        let (_, time) = finish(&mut learner(&whole, optimizer));

        let ready = || (1..=EPOCHS).any(|epoch| is_whole(&killed, epoch));
        kill(&mut learner(&killed, optimizer), &killed, ready, time);
        let (said, _) = finish(learner(&killed, optimizer).arg("--resume"));
        assert!(said.contains("going on from checkpoint"), "{said}");

        let (a, b) = (checkpoint(&whole, EPOCHS), checkpoint(&killed, EPOCHS));
        assert_same([&a[0], &a[1]], [&b[0], &b[1]], optimizer);
    }
}

// Two tests use two cores.
#[test]
fn one_half_of_the_methods() {
    killed_and_resumed_is_uninterrupted(0);
}

#[test]
fn the_other_half() {
    killed_and_resumed_is_uninterrupted(1);
}
