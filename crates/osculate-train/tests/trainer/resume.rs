use osculate_optim::catalogue::Method;
use osculate_train::trainer::{Ending, Interrupt, TrainerError};

use crate::task::{DigitsTask, Events, numbers};
use crate::{STEPS, checkpoints, config, log, trainer};

/// Every method of the catalogue, interrupted in the middle of a pass and between two lines of the
/// log, and resumed: the run that was not interrupted, bit for bit.
#[test]
fn every_method_resumes_bit_for_bit() {
    for method in Method::ALL {
        let folder = tempfile::tempdir().unwrap();
        let (whole, parted) = (folder.path().join("whole"), folder.path().join("parted"));
        let mut config = config(*method);
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
        assert_eq!(
            first.summary.step, 7,
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
    let config = config(Method::AdamW);
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
    let config = config(Method::Soap);
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

#[test]
fn other_settings_are_refused_and_budgets_are_not() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = config(Method::AdamW);
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
