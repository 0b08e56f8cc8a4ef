//! How the system ends studies and searches: full disks and signals. Nothing of what was found is lost.
#![cfg(unix)]

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::program::{osculate, send, small, text};

#[test]
fn a_full_disk_ends_a_study_and_leaves_nothing_half_written() {
    for command in ["study", "tune"] {
        let folder = tempfile::tempdir().unwrap();
        let inner = small(command, folder.path());
        let mut limited = Command::new("bash");
        limited.args(["-c", "trap '' XFSZ; ulimit -f 1; exec \"$@\"", "bash"]);
        limited.arg(inner.get_program()).args(inner.get_args());
        let done = limited.output().unwrap();
        let told = text(&done.stderr);
        assert_eq!(done.status.code(), Some(1), "{told}");
        let errors = told.lines().filter(|line| line.starts_with("error: "));
        assert_eq!(errors.count(), 1, "{told}");
        assert!(!told.contains("panicked"), "{told}");
        assert!(
            !folder
                .path()
                .join("trials/quadratic/adamw/tune-00.json")
                .exists()
        );
        // With room again it goes on.
        let done = small(command, folder.path()).output().unwrap();
        assert!(done.status.success(), "{}", text(&done.stderr));
    }
}

#[test]
fn a_terminated_study_or_search_keeps_its_trials_and_says_what_goes_on() {
    for (command, signal) in [
        ("study", "-TERM"),
        ("study", "-HUP"),
        ("tune", "-INT"),
        ("tune", "-TERM"),
        ("tune", "-HUP"),
    ] {
        if crate::ignored::is_ignored(signal) {
            continue;
        }
        let folder = tempfile::tempdir().unwrap();
        let mut words = vec![command, "--optimizers", "sgd", "--trials", "200"];
        words.extend(match command {
            "study" => ["--workloads", "digits-mlp", "--baseline", "sgd"].as_slice(),
            _ => &["--workload", "digits-mlp"],
        });
        words.extend([
            "--length",
            "0.2",
            "--workers",
            "1",
            "--device",
            "flex",
            "--out",
        ]);
        let mut child = osculate(&words)
            .arg(folder.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let first = folder.path().join("trials/digits-mlp/sgd/tune-00.json");
        let until = Instant::now() + Duration::from_secs(60);
        while !first.exists() {
            assert!(Instant::now() < until && child.try_wait().unwrap().is_none());
            std::thread::sleep(Duration::from_millis(10));
        }
        send(signal, &child);
        let done = child.wait_with_output().unwrap();
        assert_eq!(done.status.code(), Some(130), "{command} {signal}");
        let told = text(&done.stdout);
        assert!(told.contains("goes on with"), "{command} {signal}: {told}");
        let again = format!("osculate {command} ");
        assert!(told.contains(&again), "{command} {signal}: {told}");
        assert!(first.exists());
    }
}
