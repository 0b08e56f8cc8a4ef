//! The `osculate` command as a person uses it.

use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

#[cfg(unix)]
use crate::program::{endless_race, send, wait};
use crate::program::{json, osculate, text};
use serde_json::json;

fn run(words: &[&str]) -> Output {
    osculate(words).output().expect("the command starts")
}

#[test]
fn a_race_leaves_a_table_pictures_and_json() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("new/folder");
    let done = run(&[
        "--quick",
        "--optimizers",
        "adamw,sophia-g,sam(soap)",
        "--workloads",
        "digits-mlp",
        "--device",
        "flex",
        "--out",
        out.to_str().unwrap(),
    ]);
    assert!(done.status.success(), "{}", text(&done.stderr));
    let told = text(&done.stdout);
    for part in [
        "adamw",
        "sophia-g",
        "sam-over-soap",
        "last test accuracy",
        "sharpness",
        "Verdict: with 2 seeds nothing can be told from chance",
        "report.html",
        "Next: ",
    ] {
        assert!(told.contains(part), "{part} is missing in\n{told}");
    }
    let svg = std::fs::read_to_string(out.join("digits-mlp-curves.svg")).unwrap();
    assert!(svg.starts_with("<svg") && svg.contains("sophia-g"));
    let page = std::fs::read_to_string(out.join("report.html")).unwrap();
    assert!(page.contains("<svg role") && !page.contains("src="));
    assert!(out.join("report.md").exists());
    let results = json(&out.join("results.json"));
    assert_eq!(results["environment"]["burn"], "0.22.1");
    assert_eq!(results["complete"], true);
    assert_eq!(results["seeds"], json!([0, 1]));
    let workload = &results["workloads"][0];
    assert_eq!(workload["parameters"], 64 * 64 + 64 + 640 + 10);
    let entrants = workload["entrants"].as_array().unwrap();
    let sophia = entrants.iter().find(|e| e["label"] == "sophia-g").unwrap();
    assert_eq!(sophia["settings"]["period"], 10);
    assert_eq!(sophia["settings"]["gamma"], 1.0);
    let composed = |e: &&serde_json::Value| e["label"] == "sam-over-soap";
    let composed = entrants.iter().find(composed).unwrap();
    assert_eq!(composed["method"], "sam(soap)");
    let run = &sophia["runs"][0];
    assert_eq!(run["points"].as_array().unwrap().len(), 47);
    assert!(run["curvature"]["largest"][0].as_f64().unwrap() > 0.0);
}

/// Processes side by side find what one process finds, to the last bit, and leave nothing behind; only the times
/// are others.
#[test]
fn a_race_side_by_side_has_the_same_results() {
    let folder = tempfile::tempdir().unwrap();
    let raced = |workers: &str| {
        let out = folder.path().join(workers);
        let words = "race --quick --workloads digits-mlp,rosenbrock --optimizers adamw,soap,sam --steps 12 --workers";
        let mut words: Vec<&str> = words.split(' ').collect();
        words.extend([workers, "--out", out.to_str().unwrap()]);
        let done = run(&words);
        assert!(done.status.success(), "{}", text(&done.stderr));
        let results = json(&out.join("results.json"));
        let left: Vec<_> = std::fs::read_dir(&out)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name.starts_with("runs-"))
            .collect();
        assert_eq!(left, Vec::<String>::new());
        let mut runs = Vec::new();
        for workload in results["workloads"].as_array().unwrap() {
            for entrant in workload["entrants"].as_array().unwrap() {
                for run in entrant["runs"].as_array().unwrap() {
                    let mut run = run.clone();
                    for point in run["points"].as_array_mut().unwrap() {
                        let point = point.as_object_mut().unwrap();
                        let seconds = point.remove("seconds").unwrap().as_f64().unwrap();
                        point.remove("cpu_seconds");
                        let step = point["step"].as_f64().unwrap();
                        assert_eq!(seconds > 0.0, step > 0.0);
                    }
                    runs.push((
                        entrant["label"].clone(),
                        run["seed"].clone(),
                        run["points"].clone(),
                    ));
                }
            }
        }
        runs.sort_by_key(|run| format!("{run:?}"));
        runs
    };
    let (one, two) = (raced("1"), raced("2"));
    assert_eq!(one.len(), 12);
    assert_eq!(one, two);
}

#[test]
fn a_race_over_several_rates_shows_the_fastest_and_tells_all() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("race");
    let done = run(&[
        "race",
        "--workloads",
        "digits-mlp",
        "--optimizers",
        "adamw,soap",
        "--lr",
        "0.00001,0.02,0.03",
        "--lr",
        "soap=0.01",
        "--seeds",
        "2",
        "--steps",
        "92",
        "--target",
        "0.9",
        "--out",
        out.to_str().unwrap(),
    ]);
    assert!(done.status.success(), "{}", text(&done.stderr));
    let told = text(&done.stdout);
    for part in [
        "8 runs on",
        "| optimizer |   rate |",
        "these runs have chosen it",
    ] {
        assert!(told.contains(part), "{part} is missing in\n{told}");
    }
    let page = std::fs::read_to_string(out.join("report.md")).unwrap();
    assert!(page.contains("All rates") && page.contains("1.00e-5"));
    let results = json(&out.join("results.json"));
    let entrants = results["workloads"][0]["entrants"].as_array().unwrap();
    let find = |label: &str| entrants.iter().find(|e| e["label"] == label).unwrap();
    let adamw = find("adamw");
    let rates = adamw["rates"].as_array().unwrap();
    assert_eq!(rates.len(), 3);
    assert_eq!(rates[0]["reached"]["runs"], 0, "far too slow");
    assert_eq!(adamw["runs"].as_array().unwrap().len(), 2);
    let steps = |one: &serde_json::Value| one["reached"]["steps"]["estimate"].as_f64();
    let fastest = rates.iter().filter_map(steps).reduce(f64::min);
    assert_eq!(steps(adamw), fastest);
    assert!([json!(0.02), json!(0.03)].contains(&adamw["lr"]));
    let soap = find("soap");
    assert!(soap["rates"].is_null() && soap["lr"] == 0.01);
}

#[test]
fn mistakes_are_told_before_any_training() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let beneath_a_file = file.path().join("results");
    let beneath_a_file = beneath_a_file.to_str().unwrap();
    let cases: [(&[&str], &str); 12] = [
        (&["--out", beneath_a_file], beneath_a_file),
        (&["race", "--optimizers", "adamv"], "adamw"),
        (&["race", "--workloads", "digit"], "digits-mlp"),
        (&["race", "--workloads", "cifar"], "--cifar DIR"),
        (&["race", "--cifar", "/nowhere"], "/nowhere"),
        (&["race", "--lr", "sgd=0"], "sgd=0"),
        (&["race", "--lr", "asam=0.1"], "not among"),
        (&["race", "--device", "abacus"], "abacus"),
        (&["race", "--device", "cuda:x"], "cuda"),
        (
            &["study", "--optimizers", "sgd", "--out", beneath_a_file],
            "--baseline",
        ),
        (&["report", "/nowhere"], "holds no study"),
        (
            &["compare", "/nowhere/a.json", "/nowhere/b.json"],
            "/nowhere/a.json",
        ),
    ];
    for (words, part) in cases {
        let done = run(words);
        let told = text(&done.stderr);
        assert!(told.contains(part), "{words:?}: {told}");
        assert!(!told.contains("panicked"), "{words:?}: {told}");
        assert!(
            matches!(done.status.code(), Some(1 | 2)),
            "{words:?}: {told}"
        );
    }
    let done = osculate(&["race"])
        .env("BURN_DEVICE", "abacus")
        .output()
        .unwrap();
    assert_eq!(done.status.code(), Some(2));
    assert!(text(&done.stderr).contains("BURN_DEVICE=abacus"));
}

#[test]
fn optimizers_and_workloads_are_listed() {
    let told = text(&run(&["list"]).stdout);
    for name in [
        "adamw",
        "sgd",
        "sam",
        "gsam",
        "looksam",
        "adahessian",
        "muon",
    ] {
        let cell = format!("| {name} ");
        let lines = told.lines().filter(|line| line.starts_with(&cell));
        assert_eq!(lines.count(), 1, "{name} is missing in\n{told}");
    }
    let told = text(&run(&["list", "sam(soap)"]).stdout);
    for part in [
        "rho=0.05",
        "base.soap.beta_1=",
        "rate to start from",
        "--set",
    ] {
        assert!(told.contains(part), "{part} is missing in\n{told}");
    }
    let told = text(&run(&["list", "soap"]).stdout);
    assert!(told.contains("start higher"), "{told}");
    let told = text(&run(&["list", "--workloads"]).stdout);
    for name in ["digits-noise", "char-lm", "delayed-xor", "pinn", "--cifar"] {
        assert!(told.contains(name), "{name} is missing in\n{told}");
    }
}

#[test]
fn memory_and_step_times_are_measured() {
    let done = run(&["list", "--memory", "32x16"]);
    let told = text(&done.stdout);
    assert!(done.status.success(), "{}", text(&done.stderr));
    let row = |name: &str| {
        let line = told
            .lines()
            .find(|line| line.contains(&format!(" {name} ")));
        line.unwrap_or_default().to_string()
    };
    assert!(
        row("adamw").contains("2.00") && row("sam").contains("1.00"),
        "{told}"
    );
    assert!(told.contains("muon-half_momentum"), "{told}");
    let words = [
        "bench-step",
        "--optimizers",
        "adamw,muon",
        "--shapes",
        "16x8",
        "--rounds",
        "2",
    ];
    let done = run(&words);
    assert!(done.status.success(), "{}", text(&done.stderr));
    assert!(
        text(&done.stdout).contains("1.00x"),
        "{}",
        text(&done.stdout)
    );
}

/// An interrupt ends the race after the step under way and keeps what there is.
#[cfg(unix)]
#[test]
fn an_interrupt_keeps_the_results() {
    let folder = tempfile::tempdir().unwrap();
    let mut child = endless_race(folder.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    std::thread::sleep(Duration::from_secs(4));
    send("-INT", &child);
    let status = wait(&mut child, Instant::now() + Duration::from_secs(60));
    assert_eq!(status.code(), Some(130));
    let results = json(&folder.path().join("results.json"));
    assert_eq!(results["complete"], false);
    let run = &results["workloads"][0]["entrants"][0]["runs"][0];
    assert_eq!(run["outcome"], "interrupted");
}
