use std::fs;

use osculate_optim::registry::OptimizerKind;
use osculate_program::FolderLock;
use osculate_train::trainer::{Length, NonFiniteLoss, TrainerConfig, TrainerError};
use serde_json::json;

use crate::task::{DigitsTask, Events};
use crate::{checkpoints, config, log, trainer};

/// While a folder has a holder nobody else resumes, replaces or begins a run in it.
#[test]
fn a_folder_has_one_trainer() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(OptimizerKind::SGD);
    let task = DigitsTask::new(Events::default());
    trainer(&task, &config, folder.path()).run().unwrap();
    let before = log(folder.path()).1;

    let held = FolderLock::take(folder.path()).unwrap().unwrap();
    for (resume, overwrite) in [(true, false), (false, true), (false, false)] {
        let error = trainer(&task, &config, folder.path())
            .with_resume(resume)
            .with_overwrite(overwrite)
            .run()
            .unwrap_err();
        assert!(
            matches!(error, TrainerError::OutputLocked { .. }),
            "{error}"
        );
        assert_eq!(error.exit_code(), 2);
    }
    assert_eq!(log(folder.path()).1, before);
    drop(held);
    trainer(&task, &config, folder.path())
        .with_overwrite(true)
        .run()
        .unwrap();
}

/// The data are known by what they are: settings that say where they lie may change.
#[test]
fn a_run_goes_on_with_its_data_wherever_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = config(OptimizerKind::SGD);
    config.max_gradients = Some(6.0);
    let document = |config: &TrainerConfig, place: &str| json!({ "trainer": config, "data": { "folder": place, "part": 1 } });
    let run = |config: &TrainerConfig, place: &str, data: Option<&str>, resume: bool| {
        let mut task = DigitsTask::new(Events::default());
        task.fingerprint = data.map(str::to_string);
        trainer(&task, config, folder.path())
            .with_document(&document(config, place))?
            .with_free(["data.folder"])
            .with_resume(resume)
            .run()
            .map(|finished| finished.summary.step)
    };
    assert_eq!(run(&config, "/here", Some("60 images"), false).unwrap(), 6);
    config.max_gradients = None;
    let error = run(&config, "/there", Some("61 images"), true).unwrap_err();
    let TrainerError::OtherData { then, now, .. } = &error else {
        panic!("{error}");
    };
    assert_eq!(then, "5 batches a pass of 60 images");
    assert_eq!(now, "5 batches a pass of 61 images");
    let kept = fs::read_to_string(folder.path().join("config.json")).unwrap();
    assert!(kept.contains("/here"), "what is refused changes nothing");
    assert_eq!(run(&config, "/there", Some("60 images"), true).unwrap(), 14);
    // A run of before there were fingerprints has none.
    assert_eq!(run(&config, "/there", None, true).unwrap(), 14);
}

#[test]
fn a_run_that_moves_nothing_is_no_success() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = config(OptimizerKind::ADAMW);
    config.non_finite = NonFiniteLoss::Continue;
    config.length = Length::Steps(1);
    let task = DigitsTask::new(Events {
        poison: Some(0),
        ..Events::default()
    });
    let error = trainer(&task, &config, folder.path()).run().unwrap_err();
    assert!(
        matches!(error, TrainerError::NothingMoved { steps: 1, .. }),
        "{error}"
    );
    assert_eq!(checkpoints(folder.path()), [1], "what there is is saved");
}

/// Files and names in the folder of checkpoints that are none of ours change nothing.
#[test]
fn foreign_names_among_checkpoints_are_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = config(OptimizerKind::SGD);
    config.max_gradients = Some(6.0);
    config.keep_checkpoints = 1;
    let task = DigitsTask::new(Events::default());
    trainer(&task, &config, folder.path()).run().unwrap();
    let at = |name: &str| folder.path().join("checkpoints").join(name);
    fs::create_dir(at("step-+99")).unwrap();
    fs::create_dir(at("step-98")).unwrap();
    fs::create_dir(at("step-")).unwrap();
    fs::write(at("step-000000007"), "a file").unwrap();
    fs::write(at("notes.txt"), "of someone else").unwrap();
    config.max_gradients = None;
    let finished = trainer(&task, &config, folder.path())
        .with_resume(true)
        .run()
        .unwrap();
    assert_eq!(finished.summary.step, 14);
    for name in ["step-+99", "step-98", "step-", "notes.txt"] {
        assert!(at(name).exists(), "{name}");
    }
    assert!(at("step-000000014").is_dir());
}
