//! What happens to a run of the program from outside.
#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Output, Stdio};

const SMALL: &str = "--width 16 --layers 1 --heads 2 --length 32 --batch 8 --evaluate-sequences 4 \
    --optimizer sgd --device flex --no-progress --sample 20";
const TEXT: &str = "the quick brown fox jumps over the lazy dog, and the dog sleeps on\n";

fn wikitext(out: &Path, more: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wikitext"));
    command.args(SMALL.split_whitespace());
    command.args(more.split_whitespace()).arg("--out").arg(out);
    command.env_remove("RUST_LOG");
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn said(output: &Output) -> String {
    let both = [output.stdout.as_slice(), output.stderr.as_slice()].concat();
    String::from_utf8_lossy(&both).into_owned()
}

fn texts(folder: &Path, text: &str) {
    fs::create_dir_all(folder).unwrap();
    for part in ["train", "valid", "test"] {
        fs::write(folder.join(format!("wiki.{part}.tokens")), text.repeat(20)).unwrap();
    }
}

#[test]
fn a_closed_pipe_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let mut child = wikitext(&out, "--steps 2").spawn().unwrap();
    let mut reader = BufReader::new(child.stdout.take().unwrap());
    reader.read_line(&mut String::new()).unwrap();
    drop((reader, child.stderr.take()));
    let code = child.wait().unwrap().code();
    // All may have been said before the reader left.
    assert!(matches!(code, Some(0 | 141)), "{code:?}");
    assert!(out.join("checkpoints/step-000000002").is_dir());

    let out = folder.path().join("deaf");
    let mut child = wikitext(&out, "--steps 2").spawn().unwrap();
    drop((child.stdout.take(), child.stderr.take()));
    assert_eq!(child.wait().unwrap().code(), Some(141));
    assert!(out.join("checkpoints/step-000000002").is_dir());
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
