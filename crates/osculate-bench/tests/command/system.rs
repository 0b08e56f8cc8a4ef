//! What the system does to the command: closed pipes, signals, full disks, two of a kind.
#![cfg(unix)]

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::program::{endless_race, json, osculate, send, small, text, wait};
use osculate_program::FolderLock;

/// A race of some seconds.
const RACE: [&str; 7] = [
    "--quick",
    "--optimizers",
    "sgd",
    "--workloads",
    "quadratic",
    "--device",
    "flex",
];

fn race(out: &Path) -> Command {
    let mut command = osculate(&RACE);
    command.arg("--out").arg(out);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Reads so many lines of a command's output and goes away.
fn head(command: &mut Command, lines: usize) -> Output {
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut reader = BufReader::new(child.stdout.take().unwrap());
    for _ in 0..lines {
        reader.read_line(&mut String::new()).unwrap();
    }
    drop(reader);
    child.wait_with_output().unwrap()
}

#[test]
fn results_are_kept_before_they_are_shown() {
    for lines in [0, 1] {
        let folder = tempfile::tempdir().unwrap();
        let done = head(&mut race(folder.path()), lines);
        assert_eq!(done.status.code(), Some(141), "{}", text(&done.stderr));
        assert_eq!(text(&done.stderr), "");
        let results = json(&folder.path().join("results.json"));
        assert_eq!(results["complete"], true);
        assert!(folder.path().join("report.html").exists());
    }
}

/// Every command that ends within seconds and keeps nothing, or keeps it in folders that are there: with its output
/// closed or full, results come before output, and what is said is one line at most.
fn quick(folder: &Path) -> Vec<Command> {
    let study = folder.join("study");
    let done = small("study", &study).output().unwrap();
    assert!(done.status.success(), "{}", text(&done.stderr));
    let results = study.join("results.json");
    let mut compare = osculate(&["compare"]);
    compare.args([&results, &results]);
    let mut report = osculate(&["report"]);
    report.arg(&study);
    let words: [&[&str]; 7] = [
        &["list"],
        &["list", "soap"],
        &["list", "--workloads"],
        &["list", "--memory", "8x8"],
        &[
            "lr",
            "--workload",
            "quadratic",
            "--steps",
            "5",
            "--device",
            "flex",
        ],
        &[
            "bench-step",
            "--optimizers",
            "sgd",
            "--shapes",
            "2x2",
            "--rounds",
            "1",
            "--device",
            "flex",
        ],
        &["--help"],
    ];
    let mut all: Vec<Command> = words.into_iter().map(osculate).collect();
    all.extend([
        compare,
        report,
        small("study", &study),
        small("tune", &folder.join("tune")),
    ]);
    all
}

#[test]
fn a_reader_who_leaves_ends_every_command_quietly() {
    let folder = tempfile::tempdir().unwrap();
    for mut command in quick(folder.path()) {
        for lines in [0, 1] {
            let done = head(&mut command, lines);
            assert_eq!(text(&done.stderr), "", "{command:?}");
            // All may have been said before the reader left.
            let code = done.status.code();
            assert!(matches!(code, Some(0 | 141)), "{command:?}: {code:?}");
        }
    }
    assert!(
        folder
            .path()
            .join("tune/trials/quadratic/adamw/tune-00.json")
            .exists()
    );
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_output_is_an_error_of_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let raced = folder.path().join("race");
    let mut all = quick(folder.path());
    // What clap says it says itself.
    all.retain(|command| !command.get_args().any(|word| word == "--help"));
    all.push(race(&raced));
    for mut command in all {
        let full = fs::OpenOptions::new().write(true).open("/dev/full");
        let done = command.stdout(full.unwrap()).output().unwrap();
        assert_eq!(done.status.code(), Some(1), "{command:?}");
        let told = text(&done.stderr);
        let one = told.starts_with("error: ") && told.lines().count() == 1;
        assert!(one, "{command:?}: {told}");
    }
    assert!(raced.join("results.json").exists());
}

/// A file stands for a folder that cannot be written to: who runs tests as root may write everywhere.
#[test]
fn a_folder_that_cannot_be_written_to_is_named() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let out = file.path().join("results");
    let mut report = osculate(&["report"]);
    let folder = tempfile::tempdir().unwrap();
    let study = folder.path().join("study");
    assert!(small("study", &study).output().unwrap().status.success());
    report.arg(&study).arg("--out").arg(&out);
    for mut command in [
        race(&out),
        small("study", &out),
        small("tune", &out),
        report,
    ] {
        let done = command.output().unwrap();
        let told = text(&done.stderr);
        assert!(
            matches!(done.status.code(), Some(1 | 2)),
            "{command:?}: {told}"
        );
        assert!(told.contains(out.to_str().unwrap()), "{command:?}: {told}");
        assert!(told.lines().count() == 1, "{command:?}: {told}");
    }
}

/// A limit of the size of files stands for a full disk.
#[test]
fn a_full_disk_loses_the_files_and_not_the_table() {
    let folder = tempfile::tempdir().unwrap();
    let inner = race(folder.path());
    let mut command = Command::new("bash");
    command.args(["-c", "trap '' XFSZ; ulimit -f 4; exec \"$@\"", "bash"]);
    command.arg(inner.get_program()).args(inner.get_args());
    let done = command.output().unwrap();
    let told = text(&done.stderr);
    assert_eq!(done.status.code(), Some(1), "{told}");
    assert!(
        told.contains("results.json") && !told.contains("panicked"),
        "{told}"
    );
    assert!(text(&done.stdout).contains("sgd"), "the table is shown");
    let left: Vec<_> = fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(left, [".lock"]);
}

#[test]
fn a_terminated_race_keeps_its_results() {
    for signal in ["-TERM", "-HUP"] {
        if crate::ignored::is_ignored(signal) {
            continue;
        }
        let folder = tempfile::tempdir().unwrap();
        let mut child = endless_race(folder.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_secs(3));
        send(signal, &child);
        let status = wait(&mut child, Instant::now() + Duration::from_secs(60));
        assert_eq!(status.code(), Some(130), "{signal}");
        assert_eq!(json(&folder.path().join("results.json"))["complete"], false);
    }
}

#[test]
fn a_folder_in_use_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let held = FolderLock::take(folder.path()).unwrap();
    let done = race(folder.path()).output().unwrap();
    assert_eq!(done.status.code(), Some(2));
    assert!(text(&done.stderr).contains("another process"));
    assert!(!folder.path().join("results.json").exists());
    drop(held);
    fs::write(folder.path().join("study.json"), "{}").unwrap();
    let done = race(folder.path()).output().unwrap();
    assert_eq!(done.status.code(), Some(2));
    assert!(text(&done.stderr).contains("holds a study"));
}

#[test]
fn paths_need_not_be_utf_8() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join(OsStr::from_bytes(b"r\xFFce"));
    let done = race(&out).output().unwrap();
    assert!(done.status.success(), "{}", text(&done.stderr));
    assert_eq!(json(&out.join("results.json"))["complete"], true);

    let out = folder.path().join(OsStr::from_bytes(b"st\xFFdy"));
    let done = osculate(&[
        "study",
        "--optimizers",
        "adamw",
        "--workloads",
        "quadratic",
        "--trials",
        "1",
        "--seeds",
        "1",
        "--length",
        "0.05",
        "--workers",
        "1",
        "--device",
        "flex",
        "--out",
    ])
    .arg(&out)
    .output()
    .unwrap();
    assert!(done.status.success(), "{}", text(&done.stderr));
    assert_eq!(json(&out.join("results.json"))["complete"], true);
}

/// Images of one size, as CIFAR-10's binary files.
fn images(folder: &Path, shade: u8) {
    fs::create_dir_all(folder).unwrap();
    for (file, count) in [("data_batch_1.bin", 80), ("test_batch.bin", 20)] {
        let mut bytes = Vec::new();
        for image in 0..count {
            bytes.push(image % 10);
            bytes.extend((0..3072_u32).map(|at| (at / 12) as u8 ^ image ^ shade));
        }
        fs::write(folder.join(file), bytes).unwrap();
    }
}

#[test]
fn a_study_knows_its_data_by_what_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    images(&at("images"), 0);
    images(&at("others"), 1);
    let study = |data: &str, more: &[&str]| {
        let mut command = osculate(&["study", "--workers", "0", "--device", "flex", "--out"]);
        command
            .arg(at("study"))
            .arg("--cifar")
            .arg(at(data))
            .args(more);
        command.output().unwrap()
    };
    let what = [
        "--optimizers",
        "adamw",
        "--workloads",
        "cifar",
        "--trials",
        "1",
        "--seeds",
        "0",
        "--length",
        "0.002",
    ];
    let done = study("images", &what);
    assert!(done.status.success(), "{}", text(&done.stderr));
    fs::rename(at("images"), at("moved")).unwrap();
    assert!(study("moved", &[]).status.success());
    for more in [&[][..], &what] {
        let done = study("others", more);
        assert_eq!(done.status.code(), Some(2));
        let told = text(&done.stderr);
        assert!(told.contains("data of cifar"), "{told}");
    }
}
