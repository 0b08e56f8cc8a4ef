//! The program as its user runs it.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

fn learner(directory: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_learner"))
        .args(["--epochs", "3", "--curvature", "0", "--batch-size", "128"])
        .arg("--dir")
        .arg(directory)
        .args(arguments)
        .output()
        .unwrap()
}

fn text(output: &Output) -> String {
    let both = [output.stdout.as_slice(), output.stderr.as_slice()].concat();
    String::from_utf8_lossy(&both).into_owned()
}

fn losses(directory: &Path) -> String {
    fs::read_to_string(directory.join("train/epoch-3/Loss.log")).unwrap()
}

#[test]
fn a_resumed_run_repeats_the_uninterrupted_one() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    let run = learner(directory, &["--optimizer", "sam"]);
    assert!(run.status.success(), "{}", text(&run));
    let straight = losses(directory);
    assert_eq!(straight.lines().count(), 1442_usize.div_ceil(128) + 1);
    assert!(
        directory
            .join("train/epoch-3/Gradient_Evaluations.log")
            .exists()
    );

    let again = learner(directory, &["--optimizer", "sam"]);
    assert!(!again.status.success());
    assert!(text(&again).contains("--resume"), "{}", text(&again));

    // As if the power had gone off in epoch 3.
    for part in ["model", "optim", "scheduler"] {
        fs::remove_file(directory.join(format!("checkpoint/{part}-3.bpk"))).unwrap();
    }
    fs::remove_dir_all(directory.join("train/epoch-3")).unwrap();
    let resumed = learner(directory, &["--optimizer", "sam", "--resume"]);
    assert!(resumed.status.success(), "{}", text(&resumed));
    assert!(text(&resumed).contains("going on from checkpoint 2"));
    assert_eq!(losses(directory), straight);
}

#[test]
fn mistakes_are_explained() {
    let directory = tempfile::tempdir().unwrap();
    for (arguments, expected) in [
        (["--optimizer", "sofia"], "sophia-g"),
        (["--set", "gama=1"], "gamma"),
        (["--settings", "{\"gamma\": 1}"], "write --set gamma=1"),
        (["--settings", "gamma"], "write --set KEY=VALUE"),
        (["--device", "abacus"], "abacus"),
        (["--resume", "--plain"], "no checkpoint"),
        (["--lr", "7"], "earning rate"),
    ] {
        let run = learner(directory.path(), &arguments);
        assert!(!run.status.success());
        assert!(text(&run).contains(expected), "{}", text(&run));
    }
}

/// A signal ends the training after the batch under way; while it trains its folder is its own.
#[cfg(unix)]
#[test]
fn a_signal_ends_a_training_that_shares_its_folder_with_none() {
    use std::process::Stdio;
    use std::time::{Duration, Instant};

    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    let mut child = Command::new(env!("CARGO_BIN_EXE_learner"))
        .args([
            "--epochs",
            "100000",
            "--curvature",
            "0",
            "--batch-size",
            "128",
            "--plain",
        ])
        .args(["--optimizer", "adamw", "--device", "flex", "--dir"])
        .arg(directory)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let until = Instant::now() + Duration::from_secs(60);
    while !directory.join("checkpoint/scheduler-1.crc").exists() {
        assert!(Instant::now() < until && child.try_wait().unwrap().is_none());
        std::thread::sleep(Duration::from_millis(5));
    }
    let second = learner(directory, &["--resume"]);
    assert!(!second.status.success());
    assert!(
        text(&second).contains("another process"),
        "{}",
        text(&second)
    );

    let id = child.id().to_string();
    assert!(
        Command::new("kill")
            .args(["-TERM", &id])
            .status()
            .unwrap()
            .success()
    );
    assert_eq!(child.wait().unwrap().code(), Some(130));
}
