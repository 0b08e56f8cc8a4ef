//! What the system does to a program: signals, closed pipes, full disks, two of a kind.
#![cfg(unix)]

#[path = "../../../../crates/osculate-train/tests/common/system.rs"]
mod system;

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::{Command, Stdio};

use system::{begun, complaint, logged, said, saved, send, wait};
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

/// Checks that are the same for all programs.
#[test]
fn every_ending_signal_saves_the_last_step() {
    system::every_ending_signal_saves_the_last_step(cifar);
}

#[test]
fn a_closed_pipe_does_not_stop_a_run() {
    system::a_closed_pipe_does_not_stop_a_run(cifar);
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_output_is_an_error_of_one_line() {
    system::a_full_output_is_an_error_of_one_line(cifar);
}

#[test]
fn a_full_disk_is_an_error_of_one_line_and_leaves_nothing_half_written() {
    system::a_full_disk_is_an_error_of_one_line_and_leaves_nothing_half_written(cifar);
}

#[test]
fn a_folder_that_cannot_be_written_to_is_named() {
    system::a_folder_that_cannot_be_written_to_is_named(cifar);
}

#[test]
fn two_processes_do_not_share_a_folder() {
    system::two_processes_do_not_share_a_folder(cifar);
}

/// `SIGHUP` comes twice where a terminal is closed.
#[test]
fn a_second_signal_that_is_no_interrupt_does_not_hurry() {
    if crate::ignored::is_ignored("-HUP") {
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
