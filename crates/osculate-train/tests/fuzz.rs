//! Damaged and foreign files, settings and texts: never a panic, never half a file, and a run that was
//! resumed is the run that was not, or an error. `PROPTEST_CASES` makes it longer.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "common/mutate.rs"]
mod mutate;
#[path = "trainer/task.rs"]
#[allow(dead_code, reason = "a part is used")]
mod task;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use burn::store::ModuleRecord;
use burn::tensor::TensorData;
use burn::train::checkpoint::Checkpointer;
use clap::Parser;
use mutate::{changed, changes};
use osculate_optim::registry::OptimizerKind;
use osculate_train::learner::Checkpoints;
use osculate_train::trainer::{Length, Trainer, TrainerArgs, TrainerConfig, TrainerError};
use proptest::prelude::*;
use serde::{Deserialize, Serialize};
use task::{DigitsTask, Events, numbers};
use tempfile::TempDir;

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    run: TrainerArgs,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Document {
    trainer: TrainerConfig,
}

fn cli(words: &[&str]) -> Result<Cli, clap::Error> {
    Cli::try_parse_from(["program"].iter().chain(words))
}

fn configure(words: &[&str]) -> Result<Document, TrainerError> {
    let default = || Document {
        trainer: TrainerConfig::new(OptimizerKind::ADAMW),
    };
    let cli = cli(words).unwrap();
    cli.run
        .configure(default, |document| cli.run.apply(&mut document.trainer))
}

/// What a person is told is one line.
fn told(error: &TrainerError) {
    let text = error.to_string();
    assert!(!text.is_empty() && text.len() < 20_000, "{text}");
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

fn files(of: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for entry in fs::read_dir(of).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.extend(files(&path));
        } else {
            all.push(path);
        }
    }
    all.sort();
    all
}

fn settings() -> TrainerConfig {
    let mut config = TrainerConfig::new(OptimizerKind::SOAP);
    config.length = Length::Steps(3);
    config.checkpoint_every = 1;
    config.log_every = 1;
    config.evaluate_every = Some(2);
    config
}

fn train(
    out: &Path,
    config: &TrainerConfig,
    resume: bool,
) -> Result<Vec<TensorData>, TrainerError> {
    let task = DigitsTask::new(Events::default());
    let trainer = Trainer::new(&task, config.clone(), out)
        .with_progress(false)
        .with_resume(resume);
    Ok(numbers(&trainer.run()?.model))
}

/// A run that was ended after its second step of three, and what the third makes of it.
static RUN: LazyLock<(TempDir, Vec<TensorData>)> = LazyLock::new(|| {
    let folder = tempfile::tempdir().unwrap();
    let whole = train(&folder.path().join("whole"), &settings(), false).unwrap();
    let mut config = settings();
    config.max_gradients = Some(2.0);
    train(&folder.path().join("run"), &config, false).unwrap();
    (folder, whole)
});

fn words() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z_.0-9]{0,12}=[ -~]{0,16}",
        "(beta_1|beta_2|policy|policy\\.non_finite|weight_decay|epsilon)(\\.[a-z]{1,3})?=(-?[0-9]{1,3}(\\.[0-9]{1,4})?(e[0-9]{1,3})?|null|true|\\[\\]|\\{\\}|NaN|Error|Skip)",
        "\\PC{0,24}",
    ]
}

proptest! {
    #[test]
    fn any_set_is_taken_or_refused(texts in proptest::collection::vec(words(), 0..4), method in proptest::sample::select(OptimizerKind::all())) {
        let mut line = vec!["--optimizer", method.name()];
        let texts: Vec<String> = texts.iter().map(|text| format!("--set={text}")).collect();
        line.extend(texts.iter().map(String::as_str));
        match configure(&line) {
            Ok(document) => {
                let again = serde_json::to_string(&document).unwrap();
                prop_assert!(serde_json::from_str::<Document>(&again).is_ok(), "{again}");
            }
            Err(error) => told(&error),
        }
    }

    #[test]
    fn any_file_of_an_optimizer_is_taken_or_refused(changes in changes(), any in "\\PC{0,60}") {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("recipe.toml");
        let text = b"optimizer = \"soap\"\nlr = 0.003\n[settings]\nbeta_2 = 0.9\n[settings.policy]\nnon_finite = \"Skip\"\n";
        for bytes in [changed(text, &changes), any.into_bytes()] {
            fs::write(&path, bytes).unwrap();
            if let Err(error) = configure(&["--optimizer-file", path.to_str().unwrap()]) {
                told(&error);
            }
        }
    }

    #[test]
    fn any_configuration_is_taken_or_refused(changes in changes()) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.json");
        let text = serde_json::to_string_pretty(&Document { trainer: settings() }).unwrap();
        fs::write(&path, changed(text.as_bytes(), &changes)).unwrap();
        match configure(&["--config", path.to_str().unwrap()]) {
            Ok(document) => {
                let _ = document.trainer.validate();
            }
            Err(error) => {
                told(&error);
                prop_assert!(error.to_string().contains("config.json") || matches!(error, TrainerError::Optimizer(_)));
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases.div_ceil(16), ..ProptestConfig::default() })]

    /// A damaged folder is gone on with as if nothing had been, from an older checkpoint where it must
    /// be, or refused.
    #[test]
    fn a_damaged_run_is_the_run_or_an_error(which in any::<prop::sample::Index>(), changes in changes()) {
        let (folder, whole) = &*RUN;
        let out = tempfile::tempdir().unwrap();
        copy(&folder.path().join("run"), out.path());
        let all = files(out.path());
        let path = &all[which.index(all.len())];
        let bytes = fs::read(path).unwrap();
        let damaged = changed(&bytes, &changes);
        fs::write(path, &damaged).unwrap();
        match train(out.path(), &settings(), true) {
            Ok(numbers) => prop_assert_eq!(&numbers, whole, "{}", path.display()),
            Err(error) => {
                told(&error);
                let config = path.ends_with("config.json");
                prop_assert!(config, "{}: {error}", path.display());
            }
        }
        let left: Vec<_> = files(out.path()).into_iter().filter(|path| {
            path.to_string_lossy().contains(".writing")
        }).collect();
        prop_assert!(left.is_empty(), "{left:?}");
    }

    /// A folder may have any name.
    #[cfg(unix)]
    #[test]
    fn a_run_is_gone_on_with_in_any_folder(name in mutate::name(), beside in mutate::name()) {
        let (folder, whole) = &*RUN;
        let at = tempfile::tempdir().unwrap();
        let out = at.path().join(name);
        copy(&folder.path().join("run"), &out);
        for within in [out.clone(), out.join("checkpoints")] {
            let _ = fs::write(within.join(&beside), "of someone else");
        }
        prop_assert_eq!(&train(&out, &settings(), true).unwrap(), whole);
    }

    /// Damaged checkpoints of a `Learner` are passed over, and an older one is found.
    #[test]
    fn damaged_checkpoints_of_a_learner_are_passed_over(part in 0..3_usize, beside in any::<bool>(), changes in changes()) {
        let folder = tempfile::tempdir().unwrap();
        let checkpoints = Checkpoints::new(folder.path());
        let record = || {
            let (run, _) = &*RUN;
            ModuleRecord::load(run.path().join("whole/best.bpk")).unwrap()
        };
        for epoch in [1, 2] {
            for store in [checkpoints.model(), checkpoints.scheduler()] {
                Checkpointer::<ModuleRecord>::save(&store, epoch, record()).unwrap();
            }
            // The optimizer's part has a file like the others; its state is made by the strategy.
            for ending in ["bpk", "crc"] {
                let at = |part: &str| folder.path().join(format!("{part}-{epoch}.{ending}"));
                fs::copy(at("model"), at("optim")).unwrap();
            }
        }
        let part = ["model", "optim", "scheduler"][part];
        let path = folder.path().join(format!("{part}-2.{}", if beside { "crc" } else { "bpk" }));
        let bytes = fs::read(&path).unwrap();
        let damaged = changed(&bytes, &changes);
        fs::write(&path, &damaged).unwrap();
        let found = checkpoints.latest().unwrap().unwrap();
        prop_assert_eq!(found.epoch, if damaged == bytes { 2 } else { 1 });
        prop_assert_eq!(found.damaged.is_empty(), damaged == bytes);
    }
}
