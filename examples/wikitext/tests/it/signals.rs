//! What happens to a run of the program from outside.
#![cfg(unix)]

#[path = "../../../../crates/osculate-train/tests/common/system.rs"]
mod system;

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use system::said;

const SMALL: &str = "--width 16 --layers 1 --heads 2 --length 32 --batch 8 --evaluate-sequences 4 \
    --optimizer sgd --device flex --no-progress --sample 20 --log-every 1";
const TEXT: &str = "the quick brown fox jumps over the lazy dog, and the dog sleeps on\n";

fn wikitext(out: &Path, more: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wikitext"));
    command.args(SMALL.split_whitespace());
    command.args(more.split_whitespace()).arg("--out").arg(out);
    command.env_remove("RUST_LOG");
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn texts(folder: &Path, text: &str) {
    fs::create_dir_all(folder).unwrap();
    for part in ["train", "valid", "test"] {
        fs::write(folder.join(format!("wiki.{part}.tokens")), text.repeat(20)).unwrap();
    }
}

/// Checks that are the same for all programs.
#[test]
fn every_ending_signal_saves_the_last_step() {
    system::every_ending_signal_saves_the_last_step(wikitext);
}

#[test]
fn a_closed_pipe_does_not_stop_a_run() {
    system::a_closed_pipe_does_not_stop_a_run(wikitext);
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_output_is_an_error_of_one_line() {
    system::a_full_output_is_an_error_of_one_line(wikitext);
}

#[test]
fn a_full_disk_is_an_error_of_one_line_and_leaves_nothing_half_written() {
    system::a_full_disk_is_an_error_of_one_line_and_leaves_nothing_half_written(wikitext);
}

#[test]
fn a_folder_that_cannot_be_written_to_is_named() {
    system::a_folder_that_cannot_be_written_to_is_named(wikitext);
}

#[test]
fn two_processes_do_not_share_a_folder() {
    system::two_processes_do_not_share_a_folder(wikitext);
}

#[test]
fn logs_have_no_colours() {
    let folder = tempfile::tempdir().unwrap();
    let output = wikitext(&folder.path().join("run"), "--steps 1")
        .output()
        .unwrap();
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        log.contains("tokens to train on") && !log.contains('\u{1b}'),
        "{log}"
    );
}

#[test]
fn texts_and_tokenizers_are_known_by_what_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    texts(&at("texts"), TEXT);
    texts(&at("others"), &TEXT.replace("fox", "cat"));
    let run = |from: &Path, more: &str| {
        let command = wikitext(&at("run"), more).current_dir(from).output();
        command.unwrap()
    };
    let output = run(
        folder.path(),
        "--data texts --tokenizer bpe --vocab 270 --steps 4 --max-gradients 2",
    );
    assert!(output.status.success(), "{}", said(&output));
    let output = run(Path::new("/"), "--resume --max-gradients 3");
    assert!(output.status.success(), "{}", said(&output));

    fs::rename(at("texts"), at("moved")).unwrap();
    for (more, told) in [
        ("--resume --max-gradients 0", "name it with --data"),
        ("--resume --data others --max-gradients 0", "other data"),
    ] {
        let output = run(folder.path(), more);
        assert_eq!(output.status.code(), Some(2), "{}", said(&output));
        assert!(said(&output).contains(told), "{}", said(&output));
    }
    let output = run(folder.path(), "--resume --data moved --max-gradients 0");
    assert!(output.status.success(), "{}", said(&output));
    assert!(at("run").join("checkpoints/step-000000004").is_dir());
}

#[test]
fn what_may_be_wrong_with_a_text_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    texts(&at("texts"), TEXT);
    fs::write(
        at("texts").join("wiki.train.tokens"),
        TEXT.repeat(20).trim_end(),
    )
    .unwrap();
    let data = at("texts");
    let output = wikitext(&at("run"), "--steps 1")
        .arg("--data")
        .arg(data)
        .output();
    let output = output.unwrap();
    assert!(output.status.success(), "{}", said(&output));
    assert!(
        said(&output).contains("may be cut off"),
        "{}",
        said(&output)
    );
}
