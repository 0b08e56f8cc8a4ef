//! The program as its user runs it.

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

/// What the system does to the program.
#[cfg(unix)]
mod system {
    use std::path::Path;
    use std::process::{Command, Stdio};
    use std::time::{Duration, Instant};

    use super::{learner, text};

    fn program(directory: &Path, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_learner"));
        command.args(["--curvature", "0", "--batch-size", "128", "--plain"]);
        command.args(["--optimizer", "adamw", "--device", "flex", "--dir"]);
        command.arg(directory).args(arguments);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// A signal ends the training after the batch under way; while it trains its folder is its own.
    #[test]
    fn a_signal_ends_a_training_that_shares_its_folder_with_none() {
        for signal in ["-INT", "-TERM", "-HUP"] {
            if crate::ignored::is_ignored(signal) {
                continue;
            }
            let directory = tempfile::tempdir().unwrap();
            let directory = directory.path();
            let mut child = program(directory, &["--epochs", "100000"])
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
            assert_eq!(second.status.code(), Some(2));
            let told = text(&second);
            assert!(told.contains("another process"), "{told}");

            let id = child.id().to_string();
            let sent = Command::new("kill").args([signal, &id]).status().unwrap();
            assert!(sent.success());
            assert_eq!(child.wait().unwrap().code(), Some(130), "{signal}");
            let rest = learner(directory, &["--resume", "--plain", "--epochs", "1"]);
            assert_ne!(rest.status.code(), Some(101), "{}", text(&rest));
        }
    }

    #[test]
    fn a_closed_pipe_loses_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let mut child = program(directory.path(), &["--epochs", "2"])
            .spawn()
            .unwrap();
        drop((child.stdout.take(), child.stderr.take()));
        assert_eq!(child.wait().unwrap().code(), Some(141));
        assert!(directory.path().join("checkpoint/model-2.bpk").exists());
    }

    /// A limit of the size of files stands for a full disk.
    #[test]
    fn a_full_disk_is_an_error_of_one_line() {
        let directory = tempfile::tempdir().unwrap();
        let inner = program(directory.path(), &["--epochs", "2"]);
        let mut command = Command::new("bash");
        command.args(["-c", "trap '' XFSZ; ulimit -f 4; exec \"$@\"", "bash"]);
        command.arg(inner.get_program()).args(inner.get_args());
        let output = command.output().unwrap();
        let told = text(&output);
        assert_eq!(output.status.code(), Some(1), "{told}");
        assert!(!told.contains("panicked"), "{told}");
        let errors = told.lines().filter(|line| line.starts_with("error: "));
        assert_eq!(errors.count(), 1, "{told}");
        // What has no room is not there; burn writes the parts of a checkpoint one by one.
        for part in ["model", "optim"] {
            let path = format!("checkpoint/{part}-1.bpk");
            assert!(!directory.path().join(path).exists(), "{told}");
        }
    }

    #[test]
    fn a_folder_that_cannot_be_written_to_is_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let directory = file.path().join("run");
        let output = program(&directory, &[]).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        let told = text(&output);
        assert!(told.contains(directory.to_str().unwrap()), "{told}");
    }
}
