//! The `osculate` command as a person uses it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on fails"
)]

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

fn osculate(words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_osculate"));
    command.args(words).env_remove("BURN_DEVICE");
    command
}

fn run(words: &[&str]) -> Output {
    osculate(words).output().expect("the command starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn results(folder: &Path) -> Value {
    let file = std::fs::File::open(folder.join("results.json")).expect("results.json");
    serde_json::from_reader(file).expect("valid JSON")
}

#[test]
fn a_race_leaves_a_table_pictures_and_json() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("new/folder");
    let done = run(&[
        "--quick",
        "--optimizers",
        "adamw,sophia-g",
        "--models",
        "mlp",
        "--device",
        "flex",
        "--out",
        out.to_str().unwrap(),
    ]);
    assert!(done.status.success(), "{}", text(&done.stderr));
    let told = text(&done.stdout);
    for part in ["adamw", "sophia-g", "best accuracy", "sharpness", "wrote"] {
        assert!(told.contains(part), "{part} is missing in\n{told}");
    }
    for picture in ["mlp-steps.svg", "mlp-seconds.svg"] {
        let svg = std::fs::read_to_string(out.join(picture)).unwrap();
        assert!(svg.starts_with("<svg") && svg.contains("sophia-g"));
    }
    assert!(out.join("summary.md").exists());
    let results = results(&out);
    assert_eq!(results["burn_version"], "0.22.1");
    assert_eq!(results["complete"], true);
    assert_eq!(results["seeds"], serde_json::json!([0]));
    assert_eq!(results["models"][0]["parameters"], 64 * 64 + 64 + 640 + 10);
    let run = &results["models"][0]["runs"][1];
    assert_eq!(run["optimizer"], "sophia-g");
    assert_eq!(run["settings"]["period"], 10);
    assert!(run["points"].as_array().unwrap().len() >= 2);
    assert!(run["sharpness"].as_f64().unwrap() > 0.0);
}

#[test]
fn mistakes_are_told_before_any_training() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let beneath_a_file = file.path().join("results");
    let beneath_a_file = beneath_a_file.to_str().unwrap();
    let cases: [(&[&str], &str); 6] = [
        (&["--out", beneath_a_file], beneath_a_file),
        (&["race", "--optimizers", "adamv"], "adamw"),
        (&["race", "--lr", "sgd=0"], "sgd=0"),
        (&["race", "--lr", "asam=0.1"], "not among"),
        (&["race", "--device", "abacus"], "abacus"),
        (&["race", "--device", "cuda:x"], "cuda"),
    ];
    for (words, part) in cases {
        let done = run(words);
        let told = text(&done.stderr);
        assert_eq!(done.status.code(), Some(2), "{words:?}: {told}");
        assert!(told.contains(part), "{words:?}: {told}");
        assert!(!told.contains("panicked"), "{words:?}: {told}");
    }
    let done = osculate(&["race"])
        .env("BURN_DEVICE", "abacus")
        .output()
        .unwrap();
    assert_eq!(done.status.code(), Some(2));
    assert!(text(&done.stderr).contains("BURN_DEVICE=abacus"));
}

#[test]
fn every_optimizer_is_listed_on_a_line() {
    let done = run(&["list"]);
    let told = text(&done.stdout);
    for name in [
        "adamw",
        "sgd",
        "sam",
        "asam",
        "gsam",
        "looksam",
        "adahessian",
    ] {
        let lines = told.lines().filter(|line| line.starts_with(name));
        assert!(lines.count() >= 1, "{name} is missing in\n{told}");
    }
}

/// An interrupt ends the race after the step under way and keeps what there is.
#[cfg(unix)]
#[test]
fn an_interrupt_keeps_the_results() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().to_str().unwrap();
    let mut child = osculate(&[
        "race",
        "--optimizers",
        "sgd",
        "--models",
        "mlp",
        "--seeds",
        "1",
        "--epochs",
        "100000",
        "--device",
        "flex",
        "--out",
        out,
    ])
    .stdout(Stdio::piped())
    .stderr(Stdio::piped())
    .spawn()
    .unwrap();
    std::thread::sleep(Duration::from_secs(4));
    let interrupt = Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status()
        .unwrap();
    assert!(interrupt.success());
    let asked = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if asked.elapsed() > Duration::from_secs(60) {
            child.kill().unwrap();
            panic!("the race did not stop");
        }
        std::thread::sleep(Duration::from_millis(50));
    };
    assert_eq!(status.code(), Some(130));
    let results = results(folder.path());
    assert_eq!(results["complete"], false);
    let run = &results["models"][0]["runs"][0];
    assert_eq!(run["outcome"], "interrupted");
}
