//! A run that is killed at a random moment and resumed is the run that was not.

#[path = "../../../../crates/osculate-train/tests/common/kill.rs"]
mod kill;

use std::path::{Path, PathBuf};
use std::process::Command;

use kill::{assert_same, finish, kill, weights};

/// A run over the ends of epochs, with augmentation and evaluations, in which the matrix methods
/// refresh their roots twice.
const FLAGS: &str = "--steps 24 --batch 8 --train-images 40 --test-images 20 --cutout 2 \
    --label-noise 0.1 --checkpoint-every 3 --evaluate-every 5 --log-every 3 --seed 4";

fn cifar(out: &Path, flags: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cifar"));
    command.args(["--no-progress", "--device", "flex", "--out"]);
    command.arg(out).args(flags);
    command
}

fn last_checkpoint(out: &Path) -> [PathBuf; 2] {
    let folder = out.join("checkpoints/step-000000024");
    ["model.bpk", "optimizer.bpk"].map(|name| folder.join(name))
}

fn has_checkpoint(out: &Path) -> bool {
    let Ok(entries) = std::fs::read_dir(out.join("checkpoints")) else {
        return false;
    };
    let mut names = entries.map(|entry| entry.unwrap().file_name());
    names.any(|name| name.to_string_lossy().starts_with("step-"))
}

const METHODS: [&str; 12] = [
    "sgd",
    "adamw",
    "sam",
    "adahessian",
    "sophia-h",
    "sophia-g",
    "shampoo",
    "soap",
    "kl-shampoo",
    "psgd-kron",
    "psgd-lra",
    "muon",
];

fn killed_and_resumed_is_uninterrupted(methods: &[&str]) {
    for &optimizer in methods {
        let folder = tempfile::tempdir().unwrap();
        let (whole, killed) = (folder.path().join("whole"), folder.path().join("killed"));
        let mut flags = vec!["--optimizer", optimizer];
        flags.extend(FLAGS.split_whitespace());

        let (_, time) = finish(&mut cifar(&whole, &flags));
        let ready = || has_checkpoint(&killed);
        kill(&mut cifar(&killed, &flags), &killed, ready, time);
        let (said, _) = finish(cifar(&killed, &["--resume"]).env_remove("RUST_LOG"));
        assert!(said.contains("going on from"), "{said}");

        let (a, b) = (last_checkpoint(&whole), last_checkpoint(&killed));
        assert_same([&a[0], &a[1]], [&b[0], &b[1]], optimizer);
        let best = |out: &Path| weights(&out.join("best.bpk"));
        assert!(
            best(&whole) == best(&killed),
            "{optimizer}: the best weights differ"
        );
    }
}

// Two tests use two cores.
#[test]
fn one_half_of_the_methods() {
    killed_and_resumed_is_uninterrupted(&METHODS[..6]);
}

#[test]
fn the_other_half() {
    killed_and_resumed_is_uninterrupted(&METHODS[6..]);
}
