//! The `wikitext` command as a person uses it.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use wikitext::corpus::{Corpus, Part};

/// Flags of a model that is trained in a moment.
const SMALL: &str = "--width 16 --layers 1 --heads 2 --length 32 --batch 8 --steps 3 \
    --evaluate-sequences 4 --device flex --no-progress";

fn wikitext(out: &Path, flags: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_wikitext"))
        .args(flags.split_whitespace())
        .arg("--out")
        .arg(out)
        .output()
        .unwrap()
}

fn said(output: &Output) -> String {
    assert!(output.status.success(), "{}", complaint(output));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn complaint(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn write_parts(folder: &Path, parts: &[&str]) {
    for part in parts {
        let text = format!(" = {part} = \n \n The lobster , the European lobster . \n").repeat(30);
        fs::write(folder.join(format!("wiki.{part}.tokens")), text).unwrap();
    }
}

#[test]
fn without_data_it_learns_the_embedded_text_and_samples() {
    let folder = tempfile::tempdir().unwrap();
    let run = |name: &str| {
        said(&wikitext(
            &folder.path().join(name),
            &format!("{SMALL} --sample 15"),
        ))
    };
    let first = run("a");
    for part in [
        "soap: 3 of 3 steps",
        "bits_per_byte",
        "test part",
        "--- a sample ---\nThe ",
    ] {
        assert!(first.contains(part), "{first}");
    }
    let sample = |text: &str| text.split("--- a sample ---").nth(1).map(str::to_string);
    assert_eq!(sample(&run("b")), sample(&first), "a seed gives one sample");
}

#[test]
fn a_trained_tokenizer_is_kept_for_the_resumed_run() {
    let folder = tempfile::tempdir().unwrap();
    write_parts(folder.path(), &["train", "valid"]);
    let out = folder.path().join("run");
    let data = folder.path().display();
    let flags = format!(
        "{SMALL} --data {data} --tokenizer bpe --vocab 270 --length 8 --batch 2 --sample 5"
    );
    let flags = flags.replace("--length 32 --batch 8", "");
    let first = said(&wikitext(&out, &flags));
    let kept = fs::read(out.join("tokenizer.json")).unwrap();
    let again = said(&wikitext(&out, "--resume --sample 5 --device flex"));
    assert_eq!(fs::read(out.join("tokenizer.json")).unwrap(), kept);
    let sample = |text: &str| text.split("--- a sample ---").nth(1).map(str::to_string);
    assert_eq!(sample(&again), sample(&first));

    // A tokenizer that is damaged, or another one, is not taken for the run's.
    fs::write(out.join("tokenizer.json"), &kept[..kept.len() / 2]).unwrap();
    let output = wikitext(&out, "--resume --device flex");
    assert!(
        complaint(&output).contains("tokenizer.json"),
        "{}",
        complaint(&output)
    );
    wikitext::tokenizer::Tokenizer::train_bpe(" = lobster = \n", 260)
        .unwrap()
        .save(&out)
        .unwrap();
    let output = wikitext(&out, "--resume --device flex");
    assert!(
        complaint(&output).contains("tokenizer is not the one"),
        "{}",
        complaint(&output)
    );
    fs::write(out.join("tokenizer.json"), &kept).unwrap();

    // Another text under the same name is not the run's text.
    write_parts(folder.path(), &["train"]);
    let train = folder.path().join("wiki.train.tokens");
    let longer = fs::read_to_string(&train).unwrap() + " more \n";
    fs::write(&train, longer).unwrap();
    let output = wikitext(&out, "--resume --device flex");
    assert_eq!(output.status.code(), Some(2));
    assert!(
        complaint(&output).contains("started on other data"),
        "{}",
        complaint(&output)
    );
}

#[test]
fn what_is_missing_or_wrong_is_said() {
    let folder = tempfile::tempdir().unwrap();
    write_parts(folder.path(), &["valid", "test"]);
    let out = folder.path().join("run");
    let data = folder.path().display();
    let fails = |flags: &str, with: &str| {
        let output = wikitext(&out, &format!("{SMALL} {flags}"));
        assert!(!output.status.success(), "{flags}");
        assert!(complaint(&output).contains(with), "{}", complaint(&output));
    };
    fails(&format!("--data {data}"), "--train-part valid");
    fails("--vocab 300", "--tokenizer bpe");
    fails("--optimizer abacus", "psgd-kron");
    fails("--set betta=1", "betta");
    fails("--dropout 1.5", "dropout = 1.5");
    fails("--temperature NaN", "temperature = NaN");
    fails("--train-part valid", "--data");
    fails("--set policy.seed=3", "--seed");
    fails("--schedule constant --floor 0.1", "schedule.floor");
    fails("--config nowhere.json", "nowhere.json");
    fails("--tokenizer nowhere.json", "nowhere.json");
    let wide = SMALL.replace("--width 16", "--width 17");
    let output = wikitext(&out, &wide);
    assert!(
        complaint(&output).contains("width = 17"),
        "{}",
        complaint(&output)
    );
    assert!(!out.exists(), "nothing is written");

    let flags = format!("{SMALL} --data {data} --train-part valid --sample 0");
    assert!(said(&wikitext(&out, &flags)).contains("bits_per_byte"));
    let output = wikitext(&out, &flags);
    assert!(
        complaint(&output).contains("--resume"),
        "{}",
        complaint(&output)
    );
}

/// WikiText-2's own files, where they are beside the checkout.
#[test]
fn published_files_are_read() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/wikitext-2");
    if !folder.exists() {
        println!("skipped: {} is not there", folder.display());
        return;
    }
    let corpus = Corpus::from_folder(&folder, Part::Valid).unwrap();
    assert_eq!(
        (corpus.train.len(), corpus.valid.len()),
        (1_121_681, 1_256_449)
    );
    assert!(corpus.train.contains(" = Homarus gammarus = "));
}
