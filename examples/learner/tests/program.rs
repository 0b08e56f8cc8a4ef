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
        (["--settings", "{\"gama\": 1}"], "gamma"),
        (["--settings", "gamma"], "JSON"),
        (["--device", "abacus"], "abacus"),
        (["--resume", "--plain"], "no checkpoint"),
        (["--lr", "7"], "earning rate"),
    ] {
        let run = learner(directory.path(), &arguments);
        assert!(!run.status.success());
        assert!(text(&run).contains(expected), "{}", text(&run));
    }
}
