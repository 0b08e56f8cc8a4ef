use std::path::Path;

use burn::module::Module;
use burn::store::ModuleRecord;
use osculate_optim::registry::OptimizerKind;
use osculate_train::trainer::{
    Ending, Interrupt, Length, Schedule, ScheduleKind, Task, TrainerError,
};

use crate::task::{DigitsTask, Events, numbers};
use crate::{STEPS, checkpoints, config, log, trainer};

/// Every optimizer of the registry, interrupted in the middle of a pass and between two lines of the
/// log, and resumed: the run that was not interrupted, bit for bit.
#[test]
fn every_method_resumes_bit_for_bit() {
    for method in OptimizerKind::all() {
        let folder = tempfile::tempdir().unwrap();
        let (whole, parted) = (folder.path().join("whole"), folder.path().join("parted"));
        let mut config = config(method);
        config.accumulate = 2;
        config.clip_norm = Some(0.7);
        let task = DigitsTask::new(Events::default());
        let all = trainer(&task, &config, &whole).run().unwrap();
        assert_eq!(all.summary.ending, Ending::Finished, "{method}");

        let interrupt = Interrupt::new();
        let interrupted = DigitsTask::new(Events {
            interrupt: Some((10, interrupt.clone())),
            ..Events::default()
        });
        let first = trainer(&interrupted, &config, &parted)
            .with_interrupt(interrupt)
            .run()
            .unwrap();
        assert_eq!(first.summary.ending, Ending::Interrupted, "{method}");
        // Entropy-SGD draws that many batches in its first step.
        let under_way = if method == OptimizerKind::ENTROPY_SGD {
            1
        } else {
            7
        };
        assert_eq!(
            first.summary.step, under_way,
            "{method}: the step under way is finished"
        );
        let second = trainer(&task, &config, &parted)
            .with_resume(true)
            .run()
            .unwrap();
        assert_eq!(second.summary.step, STEPS, "{method}");
        assert_eq!(numbers(&second.model), numbers(&all.model), "{method}");
        assert_eq!(log(&parted).1, log(&whole).1, "{method}");
        assert_eq!(second.summary.best, all.summary.best, "{method}");
        assert_eq!(
            second.summary.gradient_evaluations, all.summary.gradient_evaluations,
            "{method}"
        );
    }
}

#[test]
fn a_run_that_was_cut_off_before_its_first_checkpoint_starts_anew() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(OptimizerKind::ADAMW);
    let task = DigitsTask::new(Events::default());
    let whole = trainer(&task, &config, folder.path()).run().unwrap();
    std::fs::remove_dir_all(folder.path().join("checkpoints")).unwrap();
    let again = trainer(&task, &config, folder.path())
        .with_resume(true)
        .run()
        .unwrap();
    assert_eq!(numbers(&again.model), numbers(&whole.model));
    assert_eq!(again.summary.step, STEPS);
}

#[test]
fn a_finished_run_has_nothing_left_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(OptimizerKind::SOAP);
    let task = DigitsTask::new(Events::default());
    let whole = trainer(&task, &config, folder.path()).run().unwrap();
    let made = task.made.get();
    let lines = log(folder.path()).1;
    let again = trainer(&task, &config, folder.path())
        .with_resume(true)
        .run()
        .unwrap();
    assert_eq!(task.made.get(), made);
    assert_eq!(log(folder.path()).1, lines);
    assert_eq!(numbers(&again.model), numbers(&whole.model));
    assert_eq!(again.summary.metrics, whole.summary.metrics);
}

/// The last evaluation comes after the checkpoint of the last step where both fall together; it is
/// kept nevertheless.
#[test]
fn the_last_evaluation_is_kept_where_a_checkpoint_was_due() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = config(OptimizerKind::ADAMW);
    config.length = Length::Steps(12);
    config.checkpoint_every = 4;
    let task = DigitsTask::new(Events::default());
    let whole = trainer(&task, &config, folder.path()).run().unwrap();
    let lines = log(folder.path()).1;
    assert!(
        lines
            .iter()
            .any(|line| line["kind"] == "evaluation" && line["step"] == 12)
    );
    let evaluations = task.evaluated.get();
    let again = trainer(&task, &config, folder.path())
        .with_resume(true)
        .run()
        .unwrap();
    assert_eq!(task.evaluated.get(), evaluations);
    assert_eq!(log(folder.path()).1, lines);
    assert_eq!(again.summary.best, whole.summary.best);
    assert_eq!(checkpoints(folder.path()), [4, 8, 12]);
    let left = std::fs::read_dir(folder.path().join("checkpoints")).unwrap();
    assert_eq!(
        left.count(),
        3,
        "nothing is left of the replaced checkpoint"
    );
}

/// Where the learning rate does not depend on the length, the longer run is the one that was as long from the
/// start.
#[test]
fn a_finished_run_is_made_longer() {
    let [part, whole] = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let mut config = config(OptimizerKind::SOAP);
    config.schedule = Schedule::new(ScheduleKind::Constant);
    config.length = Length::Steps(9);
    let task = DigitsTask::new(Events::default());
    let first = trainer(&task, &config, part.path()).run().unwrap();
    assert_eq!(first.summary.ending, Ending::Finished);
    let mut longer = config.clone();
    longer.length = Length::Steps(14);
    let resumed = trainer(&task, &longer, part.path()).with_resume(true).run();
    let resumed = resumed.unwrap();
    let at_once = trainer(&task, &longer, whole.path()).run().unwrap();
    assert_eq!(resumed.summary.step, 14);
    assert_eq!(numbers(&resumed.model), numbers(&at_once.model));
    // What has been made is not unmade.
    let error = trainer(&task, &config, part.path()).with_resume(true).run();
    let error = error.unwrap_err().to_string();
    assert!(error.contains("length = 9 steps is invalid"), "{error}");
}

#[test]
fn a_checkpoint_that_was_being_replaced_is_put_back() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(OptimizerKind::ADAMW);
    let task = DigitsTask::new(Events::default());
    let whole = trainer(&task, &config, folder.path()).run().unwrap();
    let made = task.made.get();
    let at = |name: &str| folder.path().join("checkpoints").join(name);
    std::fs::rename(at("step-000000014"), at(".replaced-step-000000014")).unwrap();
    let again = trainer(&task, &config, folder.path())
        .with_resume(true)
        .run()
        .unwrap();
    assert_eq!(task.made.get(), made);
    assert_eq!(numbers(&again.model), numbers(&whole.model));
}

/// Value of the evaluation of the weights in `best.bpk`.
fn best_value(task: &DigitsTask, out: &Path) -> f64 {
    let record = ModuleRecord::load(out.join("best.bpk")).unwrap();
    let model = task.model(0).unwrap().try_load_record(record).unwrap();
    task.evaluate(&model.valid()).unwrap()[0].1
}

/// The best weights after the checkpoint that a run goes on from are not those of its record.
#[test]
fn the_best_weights_are_those_of_the_record_after_a_resume() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path();
    let mut config = config(OptimizerKind::ADAMW);
    config.evaluate_every = Some(2);
    let task = DigitsTask::new(Events::default());
    let whole = trainer(&task, &config, out).run().unwrap();
    let last = whole.summary.best.unwrap();
    assert!(last.step > 5, "the run is to find better weights later");
    assert_eq!(best_value(&task, out), last.value);

    let resumed = || {
        let interrupt = Interrupt::new();
        interrupt.trigger();
        let trainer = trainer(&task, &config, out).with_interrupt(interrupt);
        trainer.with_resume(true).run().unwrap().summary
    };
    for step in [10, 14] {
        std::fs::remove_dir_all(out.join(format!("checkpoints/step-{step:09}"))).unwrap();
    }
    let summary = resumed();
    let best = summary.best.unwrap();
    assert_eq!(summary.step, 5);
    assert!(best.step < 5 && best.value != last.value);
    assert_eq!(best_value(&task, out), best.value);
    let aside = out.join("best-before-resume.bpk");
    assert!(aside.exists(), "better weights are lost");
    std::fs::remove_file(&aside).unwrap();

    std::fs::remove_dir_all(out.join("checkpoints")).unwrap();
    assert_eq!(resumed().best, None);
    assert!(!out.join("best.bpk").exists() && aside.exists());

    // With nothing in its way, the run finds the same weights again.
    let again = trainer(&task, &config, out).with_resume(true).run();
    assert_eq!(again.unwrap().summary.best, Some(last));
    assert_eq!(best_value(&task, out), last.value);
}

#[test]
fn damaged_best_weights_make_a_damaged_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path();
    let config = config(OptimizerKind::ADAMW);
    let task = DigitsTask::new(Events::default());
    trainer(&task, &config, out).run().unwrap();
    let newest = out.join("checkpoints/step-000000014");
    assert!(newest.join("best.bpk").exists());
    std::fs::write(newest.join("best.bpk"), "").unwrap();
    let again = trainer(&task, &config, out).with_resume(true).run();
    let best = again.unwrap().summary.best.unwrap();
    assert_eq!(best_value(&task, out), best.value);
    assert!(out.join("checkpoints/damaged-step-000000014").exists());
}

/// As where someone takes `best.bpk` away during a run, before its last checkpoint.
#[test]
fn a_checkpoint_without_best_weights_has_no_record_of_them() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path();
    let config = config(OptimizerKind::ADAMW);
    let task = DigitsTask::new(Events::default());
    trainer(&task, &config, out).run().unwrap();
    let newest = out.join("checkpoints/step-000000014");
    std::fs::remove_file(newest.join("best.bpk")).unwrap();
    let manifest = newest.join("manifest.json");
    let text = std::fs::read_to_string(&manifest).unwrap();
    let mut listed: serde_json::Value = serde_json::from_str(&text).unwrap();
    let files = listed["files"].as_array_mut().unwrap();
    files.retain(|file| file["name"] != "best.bpk");
    std::fs::write(&manifest, listed.to_string()).unwrap();

    let again = trainer(&task, &config, out).with_resume(true).run();
    assert_eq!(again.unwrap().summary.best, None);
    assert!(!out.join("best.bpk").exists());
}

#[test]
fn other_data_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(OptimizerKind::ADAMW);
    let mut task = DigitsTask::new(Events::default());
    trainer(&task, &config, folder.path()).run().unwrap();
    task.batches -= 1;
    let error = trainer(&task, &config, folder.path())
        .with_resume(true)
        .run()
        .unwrap_err();
    assert!(matches!(error, TrainerError::OtherData { .. }), "{error}");
}

#[test]
fn other_settings_are_refused_and_budgets_are_not() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = config(OptimizerKind::ADAMW);
    config.max_gradients = Some(6.0);
    let task = DigitsTask::new(Events::default());
    let first = trainer(&task, &config, folder.path()).run().unwrap();
    assert_eq!(first.summary.ending, Ending::OutOfGradients);
    assert_eq!(first.summary.step, 6);

    let mut other = config.clone();
    other.lr = Some(0.5);
    let error = trainer(&task, &other, folder.path())
        .with_resume(true)
        .run()
        .unwrap_err();
    assert!(matches!(error, TrainerError::OtherConfig { .. }), "{error}");
    assert!(
        error.to_string().contains("trainer.lr: null, now 0.5"),
        "{error}"
    );

    config.max_gradients = None;
    let rest = trainer(&task, &config, folder.path())
        .with_resume(true)
        .run()
        .unwrap();
    assert_eq!(rest.summary.ending, Ending::Finished);
    assert_eq!(checkpoints(folder.path()), [6, 10, 14]);
}
