//! A study survives being killed, is shared by processes, and mends its files.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant, SystemTime};

use crate::program::{json, osculate, text};
#[cfg(unix)]
use crate::program::{send, wait};

/// Two optimizers on two workloads: 2 x (2 x (2 + 2) + 1) jobs of fractions of a second.
const WHAT: [&str; 12] = [
    "study",
    "--optimizers",
    "adamw,sgd",
    "--workloads",
    "digits-mlp,factorisation",
    "--trials",
    "2",
    "--seeds",
    "2",
    "--length",
    "0.5",
    "--device",
];
const JOBS: usize = 18;

fn start(out: &Path, workers: &str) -> Child {
    let out = out.to_str().unwrap();
    let words = [&WHAT[..], &["flex", "--workers", workers, "--out", out]].concat();
    osculate(&words)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(120)
}

/// The results with their dates.
fn trials(out: &Path) -> BTreeMap<PathBuf, SystemTime> {
    let mut found = BTreeMap::new();
    let mut folders = vec![out.join("trials")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|end| end == "json") {
                let date = entry.metadata().unwrap().modified().unwrap();
                found.insert(path, date);
            }
        }
    }
    found
}

/// What the workers of all processes have said.
fn logs(out: &Path) -> Vec<String> {
    let files = fs::read_dir(out)
        .unwrap()
        .flatten()
        .map(|entry| entry.path());
    let logs = files.filter(|path| path.extension().is_some_and(|end| end == "log"));
    logs.map(|path| fs::read_to_string(path).unwrap()).collect()
}

/// Waits until so many results are there.
fn wait_for(out: &Path, count: usize, child: &mut Child) {
    let until = soon();
    while trials(out).len() < count {
        assert!(
            Instant::now() < until,
            "there are only {} results",
            trials(out).len()
        );
        assert!(
            child.try_wait().unwrap().is_none(),
            "the study ended too early"
        );
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// What is the same however often a study was stopped: measurements, not times.
fn measured(out: &Path) -> Vec<String> {
    let results = json(&out.join("results.json"));
    let mut found = Vec::new();
    for workload in results["workloads"].as_array().unwrap() {
        let mut entrants = workload["entrants"].as_array().unwrap().clone();
        entrants.sort_by_key(|entrant| entrant["label"].to_string());
        for entrant in entrants {
            let runs = entrant["runs"].as_array().unwrap();
            let points = runs
                .iter()
                .flat_map(|run| run["points"].as_array().unwrap().clone());
            let metrics: Vec<String> = points.map(|point| point["metric"].to_string()).collect();
            found.push(format!(
                "{} {} {metrics:?}",
                entrant["label"], entrant["lr"]
            ));
        }
    }
    found
}

#[test]
fn a_study_that_is_killed_again_and_again_ends_as_one_that_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let (whole, killed) = (folder.path().join("whole"), folder.path().join("killed"));
    let done = start(&whole, "0").wait_with_output().unwrap();
    assert!(done.status.success(), "{}", text(&done.stderr));
    assert_eq!(trials(&whole).len(), JOBS);
    for file in ["report.html", "report.md", "profiles.svg"] {
        assert!(whole.join(file).exists(), "{file}");
    }

    for count in [1, 4, 9, 13] {
        let mut child = start(&killed, "0");
        wait_for(&killed, count, &mut child);
        child.kill().unwrap();
        child.wait().unwrap();
        let kept = trials(&killed);
        assert!(kept.len() >= count);
        // What there was stays as it was: the next start runs none of it again.
        let mut again = start(&killed, "0");
        wait_for(&killed, kept.len() + 1, &mut again);
        again.kill().unwrap();
        again.wait().unwrap();
        let later = trials(&killed);
        assert!(
            kept.iter()
                .all(|(path, date)| later.get(path) == Some(date))
        );
    }
    let done = start(&killed, "0").wait_with_output().unwrap();
    assert!(done.status.success(), "{}", text(&done.stderr));
    assert_eq!(trials(&killed).len(), JOBS);
    assert_eq!(measured(&killed), measured(&whole));
}

#[test]
fn processes_share_a_folder_without_losing_or_repeating_trials() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("shared");
    // Two studies with two workers each begin at once.
    let both = [start(&out, "2"), start(&out, "2")];
    for child in both {
        let done = child.wait_with_output().unwrap();
        assert!(done.status.success(), "{}", text(&done.stderr));
    }
    assert_eq!(trials(&out).len(), JOBS);
    let mut done: Vec<String> = logs(&out)
        .iter()
        .flat_map(|log| log.lines())
        .filter(|line| line.starts_with("done: "))
        .map(String::from)
        .collect();
    assert_eq!(done.len(), JOBS, "{done:?}");
    done.sort();
    done.dedup();
    assert_eq!(done.len(), JOBS);
    let results = json(&out.join("results.json"));
    assert_eq!(results["complete"], true);
}

#[test]
fn a_corrupt_file_is_told_kept_aside_and_run_again() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("study");
    assert!(
        start(&out, "0")
            .wait_with_output()
            .unwrap()
            .status
            .success()
    );
    let before = measured(&out);
    let cut = out.join("trials/digits-mlp/sgd/run-s1.json");
    let text_of_it = fs::read_to_string(&cut).unwrap();
    fs::write(&cut, &text_of_it[..text_of_it.len() / 2]).unwrap();
    let other = out.join("trials/digits-mlp/sgd/tune-00.json");
    fs::copy(out.join("trials/digits-mlp/adamw/tune-00.json"), &other).unwrap();
    let done = start(&out, "0").wait_with_output().unwrap();
    assert!(done.status.success(), "{}", text(&done.stderr));
    let told = text(&done.stderr);
    assert!(told.contains("digits-mlp · sgd · seed 1"), "{told}");
    assert!(told.contains("the result of other settings"), "{told}");
    assert!(cut.with_extension("corrupt-0").exists());
    assert_eq!(trials(&out).len(), JOBS);
    assert_eq!(measured(&out), before);
}

#[cfg(unix)]
#[test]
fn an_interrupt_stops_the_workers_and_the_report_is_partial() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("study");
    let mut child = start(&out, "2");
    wait_for(&out, 2, &mut child);
    send("-INT", &child);
    let status = wait(&mut child, soon());
    assert_eq!(status.code(), Some(130));
    let there = trials(&out).len();
    assert!(there < JOBS);
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(trials(&out).len(), there, "a worker went on");
    assert_eq!(json(&out.join("results.json"))["complete"], false);
}

#[cfg(unix)]
#[test]
fn workers_stop_where_the_process_that_started_them_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("study");
    let mut child = start(&out, "2");
    wait_for(&out, 1, &mut child);
    child.kill().unwrap();
    child.wait().unwrap();
    // The trial under way is given up after its step.
    std::thread::sleep(Duration::from_millis(700));
    let there = trials(&out).len();
    std::thread::sleep(Duration::from_millis(700));
    assert_eq!(trials(&out).len(), there, "a worker went on");
    assert!(there < JOBS);
    let done = start(&out, "2").wait_with_output().unwrap();
    assert!(done.status.success(), "{}", text(&done.stderr));
    assert_eq!(trials(&out).len(), JOBS);
}
