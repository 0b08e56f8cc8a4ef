//! What the system does to a program: signals, closed pipes, full disks, two of a kind.
#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "../../../crates/osculate-train/tests/common/hang_up.rs"]
mod hang_up;

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::tempdir;

/// Flags of a run of some seconds.
const FLAGS: &str = "--no-progress --device flex --batch 8 --train-images 40 --test-images 20 --seed 4 \
    --optimizer sgd --log-every 1 --crop 0";

fn cifar(out: &Path, more: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cifar"));
    command.args(FLAGS.split_whitespace());
    command.args(more.split_whitespace()).arg("--out").arg(out);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn said(output: &Output) -> String {
    let both = [output.stdout.as_slice(), output.stderr.as_slice()].concat();
    String::from_utf8_lossy(&both).into_owned()
}

/// One line on standard error, and no panic.
fn complaint(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    let errors = text.lines().filter(|line| line.starts_with("error: "));
    assert_eq!(errors.count(), 1, "{text}");
    assert!(!text.contains("panicked"), "{text}");
    text
}

fn wait(child: &mut Child) -> Option<i32> {
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

fn send(child: &Child, signal: &str) {
    let id = child.id().to_string();
    let sent = Command::new("kill").args([signal, &id]).status().unwrap();
    assert!(sent.success());
}

/// Steps in the log.
fn logged(out: &Path) -> u64 {
    let text = fs::read_to_string(out.join("metrics.jsonl")).unwrap_or_default();
    let lines = text
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines
        .filter_map(|line| line["step"].as_u64())
        .max()
        .unwrap_or(0)
}

/// Step of the newest checkpoint.
fn saved(out: &Path) -> u64 {
    let entries = fs::read_dir(out.join("checkpoints")).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let steps = names.filter_map(|name| name.strip_prefix("step-")?.parse().ok());
    steps.max().unwrap()
}

fn begun(child: &mut Child, out: &Path, step: u64) {
    let until = Instant::now() + Duration::from_secs(60);
    while logged(out) < step {
        assert!(child.try_wait().unwrap().is_none(), "it has ended");
        assert!(Instant::now() < until, "it does not begin");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn every_ending_signal_saves_the_last_step() {
    for signal in ["-INT", "-TERM", "-HUP"] {
        if signal == "-HUP" && hang_up::is_ignored() {
            continue;
        }
        let folder = tempdir().unwrap();
        let out = folder.path().join("run");
        let mut child = cifar(&out, "--steps 100000").spawn().unwrap();
        begun(&mut child, &out, 3);
        send(&child, signal);
        assert_eq!(wait(&mut child), Some(130), "{signal}");
        assert_eq!(saved(&out), logged(&out), "{signal}");
    }
}

/// `SIGHUP` comes twice where a terminal is closed.
#[test]
fn a_second_signal_that_is_no_interrupt_does_not_hurry() {
    if hang_up::is_ignored() {
        return;
    }
    let folder = tempdir().unwrap();
    let out = folder.path().join("run");
    let mut child = cifar(&out, "--steps 100000").spawn().unwrap();
    begun(&mut child, &out, 2);
    send(&child, "-HUP");
    send(&child, "-HUP");
    assert_eq!(wait(&mut child), Some(130));
    assert_eq!(saved(&out), logged(&out));
}

#[cfg(target_os = "linux")]
#[test]
fn what_nohup_ignores_is_ignored() {
    let folder = tempdir().unwrap();
    let out = folder.path().join("run");
    let inner = cifar(&out, "--steps 12");
    let mut command = Command::new("sh");
    command.args(["-c", "trap '' HUP; exec \"$@\"", "sh"]);
    command.arg(inner.get_program()).args(inner.get_args());
    let command = command.stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    begun(&mut child, &out, 1);
    send(&child, "-HUP");
    assert_eq!(wait(&mut child), Some(0));
    assert_eq!(saved(&out), 12);
}

#[test]
fn a_closed_pipe_does_not_stop_a_run() {
    let folder = tempdir().unwrap();
    let out = folder.path().join("run");
    let mut child = cifar(&out, "--steps 3").spawn().unwrap();
    // As `| head -1` does.
    let mut line = String::new();
    let mut reader = BufReader::new(child.stdout.take().unwrap());
    reader.read_line(&mut line).unwrap();
    drop(reader);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(141), "{}", said(&output));
    assert!(!said(&output).contains("panicked") && !said(&output).contains("error"));
    assert_eq!(saved(&out), 3);

    // As `2>&1 | head -0` does.
    let out = folder.path().join("deaf");
    let mut child = cifar(&out, "--steps 3").spawn().unwrap();
    drop((child.stdout.take(), child.stderr.take()));
    assert_eq!(wait(&mut child), Some(141));
    assert_eq!(saved(&out), 3);
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_output_is_an_error_of_one_line() {
    let folder = tempdir().unwrap();
    let out = folder.path().join("run");
    let full = fs::OpenOptions::new()
        .write(true)
        .open("/dev/full")
        .unwrap();
    let output = cifar(&out, "--steps 2").stdout(full).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(complaint(&output).contains("standard output"));
    assert_eq!(saved(&out), 2);
}

/// A limit of the size of files stands for a full disk.
#[test]
fn a_full_disk_is_an_error_of_one_line_and_leaves_nothing_half_written() {
    let folder = tempdir().unwrap();
    let out = folder.path().join("run");
    let inner = cifar(&out, "--steps 4 --checkpoint-every 2");
    let limited = |blocks: u32, more: &[&str]| {
        let mut command = Command::new("bash");
        let script = format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$@\"");
        command.args(["-c", &script, "bash"]);
        command
            .arg(inner.get_program())
            .args(inner.get_args())
            .args(more);
        command.output().unwrap()
    };
    let output = limited(64, &[]);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(complaint(&output).contains("cannot"), "{}", said(&output));
    assert_eq!(fs::read_dir(out.join("checkpoints")).unwrap().count(), 0);
    assert!(!out.join("best.bpk").exists());
    for line in fs::read_to_string(out.join("metrics.jsonl"))
        .unwrap()
        .lines()
    {
        serde_json::from_str::<Value>(line).unwrap();
    }
    // With room again it goes on.
    let output = cifar(&out, "--resume").output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    assert_eq!(saved(&out), 4);
    // Not even the configuration has room.
    fs::remove_dir_all(&out).unwrap();
    let output = limited(0, &[]);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(
        complaint(&output).contains("config.json"),
        "{}",
        said(&output)
    );
    assert!(!out.join("config.json").exists());
}

#[test]
fn a_folder_that_cannot_be_written_to_is_named() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let out = file.path().join("run");
    let output = cifar(&out, "--steps 2").output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(complaint(&output).contains(out.to_str().unwrap()));
}

#[test]
fn two_processes_do_not_share_a_folder() {
    let folder = tempdir().unwrap();
    let out = folder.path().join("run");
    let mut child = cifar(&out, "--steps 100000").spawn().unwrap();
    begun(&mut child, &out, 2);
    for more in ["--resume", "--steps 5 --overwrite", "--steps 5"] {
        let output = cifar(&out, more).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{more}: {}", said(&output));
        assert!(complaint(&output).contains("another process"), "{more}");
    }
    send(&child, "-TERM");
    assert_eq!(wait(&mut child), Some(130));
    for line in fs::read_to_string(out.join("metrics.jsonl"))
        .unwrap()
        .lines()
    {
        serde_json::from_str::<Value>(line).unwrap();
    }
    let output = cifar(&out, &format!("--resume --max-gradients {}", saved(&out))).output();
    assert!(output.unwrap().status.success());
}

/// Two classes of images of one size, as PNG.
fn images(folder: &Path, shift: u8) {
    for part in ["train", "test"] {
        for (class, name) in ["cat", "dog"].into_iter().enumerate() {
            let at = folder.join(part).join(name);
            fs::create_dir_all(&at).unwrap();
            for number in 0..6_u8 {
                let image = image::GrayImage::from_fn(8, 8, |x, y| {
                    image::Luma([(x * 20 + y * 3) as u8 + 40 * class as u8 + number + shift])
                });
                image.save(at.join(format!("{number}.png"))).unwrap();
            }
        }
    }
}

#[test]
fn data_are_known_by_what_they_are() {
    let folder = tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    images(&at("pictures"), 0);
    images(&at("others"), 1);
    let run = |from: &Path, more: &str| {
        let command = cifar(&at("run"), more).current_dir(from).output();
        command.unwrap()
    };
    // A folder named from here, and gone on with from elsewhere.
    let output = run(
        folder.path(),
        "--data pictures --steps 4 --max-gradients 2 --model resnet8",
    );
    assert!(output.status.success(), "{}", said(&output));
    let output = run(Path::new("/"), "--resume --max-gradients 3");
    assert!(output.status.success(), "{}", said(&output));

    fs::rename(at("pictures"), at("moved")).unwrap();
    let output = run(folder.path(), "--resume --max-gradients 0");
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    assert!(complaint(&output).contains("name it with --data"));
    let output = run(folder.path(), "--resume --data others --max-gradients 0");
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    assert!(complaint(&output).contains("other data"));
    let output = run(folder.path(), "--resume --data moved --max-gradients 0");
    assert!(output.status.success(), "{}", said(&output));
    assert_eq!(saved(&at("run")), 4);
    // The new place is kept.
    let output = run(Path::new("/"), "--resume");
    assert!(output.status.success(), "{}", said(&output));
}

#[test]
fn paths_need_not_be_utf_8() {
    let folder = tempdir().unwrap();
    let strange = folder.path().join(OsStr::from_bytes(b"r\xFFn"));
    let output = cifar(&strange, "--steps 1").output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    assert_eq!(saved(&strange), 1);
    // A configuration is text: a folder of data that it cannot name is refused before the training.
    let data = folder.path().join(OsStr::from_bytes(b"d\xFFta"));
    images(&data, 0);
    let out = folder.path().join("run");
    let mut command = cifar(&out, "--steps 1 --model resnet8");
    let output = command.arg("--data").arg(&data).output().unwrap();
    assert_ne!(output.status.code(), Some(101), "{}", said(&output));
    assert!(complaint(&output).contains("UTF-8"), "{}", said(&output));
}
