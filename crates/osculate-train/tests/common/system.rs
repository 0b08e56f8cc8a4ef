//! What the system may do to a trainer: signals, closed pipes, full disks, folders that cannot be written to, two
//! of a kind. Each check is made for every program that trains; the tests of the programs include this file by its
//! path.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::tempdir;

/// Makes the command of a short run that logs every step, in a folder and with more flags.
pub type Run = fn(&Path, &str) -> Command;

pub fn said(output: &Output) -> String {
    let both = [output.stdout.as_slice(), output.stderr.as_slice()].concat();
    String::from_utf8_lossy(&both).into_owned()
}

/// One line on standard error, and no panic.
pub fn complaint(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    let errors = text.lines().filter(|line| line.starts_with("error: "));
    assert_eq!(errors.count(), 1, "{text}");
    assert!(!text.contains("panicked"), "{text}");
    text
}

pub fn wait(child: &mut Child) -> Option<i32> {
    let until = Instant::now() + Duration::from_secs(60);
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status.code();
        }
        if Instant::now() > until {
            child.kill().unwrap();
            panic!("the program did not end");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

pub fn send(child: &Child, signal: &str) {
    let id = child.id().to_string();
    let sent = Command::new("kill").args([signal, &id]).status().unwrap();
    assert!(sent.success());
}

/// Steps in the log, every line of which is whole.
pub fn logged(out: &Path) -> u64 {
    let text = fs::read_to_string(out.join("metrics.jsonl")).unwrap_or_default();
    let lines = text
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines
        .filter_map(|line| line["step"].as_u64())
        .max()
        .unwrap_or(0)
}

fn assert_whole_lines(out: &Path) {
    let text = fs::read_to_string(out.join("metrics.jsonl")).unwrap();
    for line in text.lines() {
        serde_json::from_str::<Value>(line).unwrap();
    }
}

/// Step of the newest checkpoint.
pub fn saved(out: &Path) -> u64 {
    let entries = fs::read_dir(out.join("checkpoints")).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let steps = names.filter_map(|name| name.strip_prefix("step-")?.parse().ok());
    steps.max().unwrap()
}

pub fn begun(child: &mut Child, out: &Path, step: u64) {
    let until = Instant::now() + Duration::from_secs(60);
    while logged(out) < step {
        assert!(child.try_wait().unwrap().is_none(), "it has ended");
        assert!(Instant::now() < until, "it does not begin");
        std::thread::sleep(Duration::from_millis(10));
    }
}

pub fn every_ending_signal_saves_the_last_step(run: Run) {
    for signal in ["-INT", "-TERM", "-HUP"] {
        if crate::ignored::is_ignored(signal) {
            continue;
        }
        let folder = tempdir().unwrap();
        let out = folder.path().join("run");
        let mut child = run(&out, "--steps 100000").spawn().unwrap();
        begun(&mut child, &out, 3);
        send(&child, signal);
        assert_eq!(wait(&mut child), Some(130), "{signal}");
        assert_eq!(saved(&out), logged(&out), "{signal}");
    }
}

pub fn a_closed_pipe_does_not_stop_a_run(run: Run) {
    let folder = tempdir().unwrap();
    let out = folder.path().join("run");
    let mut child = run(&out, "--steps 3").spawn().unwrap();
    // As `| head -1` does.
    let mut line = String::new();
    let mut reader = BufReader::new(child.stdout.take().unwrap());
    reader.read_line(&mut line).unwrap();
    drop(reader);
    let output = child.wait_with_output().unwrap();
    // All may have been said before the reader left.
    let code = output.status.code();
    assert!(matches!(code, Some(0 | 141)), "{code:?}: {}", said(&output));
    assert!(!said(&output).contains("panicked") && !said(&output).contains("error"));
    assert_eq!(saved(&out), 3);

    // As `2>&1 | head -0` does.
    let out = folder.path().join("deaf");
    let mut child = run(&out, "--steps 3").spawn().unwrap();
    drop((child.stdout.take(), child.stderr.take()));
    assert_eq!(wait(&mut child), Some(141));
    assert_eq!(saved(&out), 3);
}

/// `/dev/full` takes nothing.
pub fn a_full_output_is_an_error_of_one_line(run: Run) {
    let folder = tempdir().unwrap();
    let out = folder.path().join("run");
    let full = fs::OpenOptions::new()
        .write(true)
        .open("/dev/full")
        .unwrap();
    let output = run(&out, "--steps 2").stdout(full).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(complaint(&output).contains("standard output"));
    assert_eq!(saved(&out), 2);
}

/// A limit of the size of files stands for a full disk.
pub fn a_full_disk_is_an_error_of_one_line_and_leaves_nothing_half_written(run: Run) {
    let folder = tempdir().unwrap();
    let out = folder.path().join("run");
    let inner = run(&out, "--steps 4 --checkpoint-every 2");
    let limited = |blocks: u32| {
        let mut command = Command::new("bash");
        let script = format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$@\"");
        command.args(["-c", &script, "bash"]);
        command.arg(inner.get_program()).args(inner.get_args());
        command.output().unwrap()
    };
    let output = limited(12);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(complaint(&output).contains("cannot"), "{}", said(&output));
    assert_eq!(fs::read_dir(out.join("checkpoints")).unwrap().count(), 0);
    assert!(!out.join("best.bpk").exists());
    assert_whole_lines(&out);
    // With room again it goes on.
    let output = run(&out, "--resume").output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    assert_eq!(saved(&out), 4);
    // Not even the configuration has room.
    fs::remove_dir_all(&out).unwrap();
    let output = limited(0);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(
        complaint(&output).contains("config.json"),
        "{}",
        said(&output)
    );
    assert!(!out.join("config.json").exists());
}

/// A file stands for a folder that cannot be written to: who runs tests as root may write everywhere.
pub fn a_folder_that_cannot_be_written_to_is_named(run: Run) {
    let file = tempfile::NamedTempFile::new().unwrap();
    let out = file.path().join("run");
    let output = run(&out, "--steps 2").output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(complaint(&output).contains(out.to_str().unwrap()));
}

pub fn two_processes_do_not_share_a_folder(run: Run) {
    let folder = tempdir().unwrap();
    let out = folder.path().join("run");
    let mut child = run(&out, "--steps 100000").spawn().unwrap();
    begun(&mut child, &out, 2);
    for more in ["--resume", "--steps 5 --overwrite", "--steps 5"] {
        let output = run(&out, more).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{more}: {}", said(&output));
        assert!(complaint(&output).contains("another process"), "{more}");
    }
    send(&child, "-TERM");
    assert_eq!(wait(&mut child), Some(130));
    assert_whole_lines(&out);
    let output = run(&out, &format!("--resume --max-gradients {}", saved(&out))).output();
    assert!(output.unwrap().status.success());
}
