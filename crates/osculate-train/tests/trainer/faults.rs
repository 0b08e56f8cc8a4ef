use std::fs;

use osculate_optim::registry::OptimizerKind;
use osculate_train::trainer::{Length, NonFiniteLoss, TrainerError};
use serde_json::json;

use crate::task::{DigitsTask, Events, numbers};
use crate::{checkpoints, config, log, trainer};

/// A task whose seventh batch holds no numbers.
fn poisoned() -> DigitsTask {
    DigitsTask::new(Events {
        poison: Some(6),
        ..Events::default()
    })
}

#[test]
fn a_failing_program_leaves_a_checkpoint_of_its_last_step() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(OptimizerKind::SOAP);
    let failing = DigitsTask::new(Events {
        fail: Some(8),
        ..Events::default()
    });
    let error = trainer(&failing, &config, folder.path()).run().unwrap_err();
    assert!(matches!(error, TrainerError::Task { .. }), "{error}");
    assert!(error.to_string().contains("the disk is gone"), "{error}");
    assert_eq!(checkpoints(folder.path()), [5, 8]);

    let task = DigitsTask::new(Events::default());
    let rest = trainer(&task, &config, folder.path())
        .with_resume(true)
        .run()
        .unwrap();
    let other = tempfile::tempdir().unwrap();
    let whole = trainer(&task, &config, other.path()).run().unwrap();
    assert_eq!(numbers(&rest.model), numbers(&whole.model));
}

/// The evaluation of a step, and what follows it, is made up for when the run goes on: the log has
/// every line, once.
#[test]
fn a_failed_evaluation_is_made_up_for() {
    let folder = tempfile::tempdir().unwrap();
    let (whole, parted) = (folder.path().join("whole"), folder.path().join("parted"));
    let mut config = config(OptimizerKind::ADAMW);
    config.sharpness.every = 5;
    let task = DigitsTask::new(Events::default());
    trainer(&task, &config, &whole).run().unwrap();
    // At a step with a checkpoint of its own, and at the end, beyond the last interval.
    for failing in [1, 2] {
        let events = Events {
            fail_evaluation: Some(failing),
            ..Events::default()
        };
        let failing = DigitsTask::new(events);
        let error = trainer(&failing, &config, &parted)
            .with_overwrite(true)
            .run()
            .unwrap_err();
        assert!(error.to_string().contains("images are gone"), "{error}");
        trainer(&task, &config, &parted)
            .with_resume(true)
            .run()
            .unwrap();
        assert_eq!(log(&parted).1, log(&whole).1);
    }
}

#[test]
fn a_batch_without_samples_is_named() {
    for accumulate in [1, 2] {
        let folder = tempfile::tempdir().unwrap();
        let mut config = config(OptimizerKind::ADAMW);
        config.accumulate = accumulate;
        let task = DigitsTask::new(Events {
            empty: Some(3),
            ..Events::default()
        });
        let error = trainer(&task, &config, folder.path()).run().unwrap_err();
        assert!(matches!(error, TrainerError::TaskInvalid { .. }), "{error}");
        assert!(
            error.to_string().starts_with("batch 3 of pass 0"),
            "{error}"
        );
    }
}

#[test]
fn a_loss_that_is_not_finite_ends_the_run_before_it_is_saved() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = config(OptimizerKind::ADAMW);
    config.checkpoint_every = 1;
    let poisoned = poisoned();
    let error = trainer(&poisoned, &config, folder.path())
        .run()
        .unwrap_err();
    assert!(
        matches!(error, TrainerError::LossNotFinite { step: 7, .. }),
        "{error}"
    );
    assert_eq!(checkpoints(folder.path()).last(), Some(&6));
}

#[test]
fn a_run_that_goes_on_counts_what_it_left_out() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = config(OptimizerKind::ADAMW);
    config.non_finite = NonFiniteLoss::Continue;
    let poisoned = poisoned();
    let finished = trainer(&poisoned, &config, folder.path()).run().unwrap();
    assert!(finished.summary.skipped > 0);
    let (lines, _) = log(folder.path());
    assert!(lines.len() >= 4);
    assert!(finished.summary.to_string().contains("not finite"));
}

#[test]
fn a_step_that_fails_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = config(OptimizerKind::ADAMW);
    config.non_finite = NonFiniteLoss::Continue;
    let overrides = json!({ "policy": { "non_finite": "Error" } });
    config.optimizer = config.optimizer.with_overrides(&overrides).unwrap();
    let poisoned = poisoned();
    let error = trainer(&poisoned, &config, folder.path())
        .run()
        .unwrap_err();
    assert!(
        matches!(error, TrainerError::Step { step: 7, .. }),
        "{error}"
    );
    assert_eq!(checkpoints(folder.path()), [5, 6]);
}

#[test]
fn damaged_checkpoints_are_left_out() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(OptimizerKind::MUON);
    let task = DigitsTask::new(Events::default());
    let whole = trainer(&task, &config, folder.path()).run().unwrap();
    let at = |step: u64, name: &str| {
        folder
            .path()
            .join(format!("checkpoints/step-{step:09}/{name}"))
    };
    let bytes = fs::read(at(14, "optimizer.bpk")).unwrap();
    fs::write(at(14, "optimizer.bpk"), &bytes[..bytes.len() / 2]).unwrap();
    fs::remove_file(at(10, "model.bpk")).unwrap();
    let again = trainer(&task, &config, folder.path())
        .with_resume(true)
        .run()
        .unwrap();
    assert_eq!(numbers(&again.model), numbers(&whole.model));
    let aside = fs::read_dir(folder.path().join("checkpoints")).unwrap();
    let aside = aside.filter(|entry| {
        let name = entry.as_ref().unwrap().file_name();
        name.to_string_lossy().starts_with("damaged-")
    });
    assert_eq!(aside.count(), 2);

    for step in checkpoints(folder.path()) {
        fs::write(at(step, "manifest.json"), "").unwrap();
    }
    let error = trainer(&task, &config, folder.path())
        .with_resume(true)
        .run()
        .unwrap_err();
    let TrainerError::NoUsableCheckpoint { reasons, .. } = &error else {
        panic!("{error}");
    };
    assert_eq!(reasons.len(), checkpoints(folder.path()).len());
}

#[test]
fn settings_out_of_range_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let task = DigitsTask::new(Events::default());
    type Change = fn(&mut osculate_train::trainer::TrainerConfig);
    let wrong: [(&str, Change); 8] = [
        ("lr", |config| config.lr = Some(f64::NAN)),
        ("lr", |config| config.lr = Some(-1.0)),
        ("length", |config| config.length = Length::Steps(0)),
        ("accumulate", |config| config.accumulate = 0),
        ("log_every", |config| config.log_every = 0),
        ("evaluate_every", |config| config.evaluate_every = Some(0)),
        ("clip_norm", |config| config.clip_norm = Some(0.0)),
        ("schedule.warmup", |config| {
            config.schedule.warmup = Some(2.0)
        }),
    ];
    for (name, change) in wrong {
        let mut config = config(OptimizerKind::ADAMW);
        change(&mut config);
        let error = trainer(&task, &config, folder.path()).run().unwrap_err();
        assert!(matches!(error, TrainerError::Setting { .. }), "{error}");
        assert!(error.to_string().starts_with(name), "{error}");
    }
    assert!(
        fs::read_dir(folder.path()).unwrap().next().is_none(),
        "nothing is written"
    );
}
