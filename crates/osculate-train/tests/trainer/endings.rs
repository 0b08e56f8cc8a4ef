use burn::module::Module;
use burn::store::ModuleRecord;
use osculate_optim::registry::OptimizerKind;
use osculate_train::trainer::{Ending, Length, Line, SharpnessKind, Task};

use crate::task::{BATCHES, DigitsTask, Events, numbers};
use crate::{STEPS, checkpoints, config, log, trainer};

#[test]
fn the_log_tells_what_curvature_was_used() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = config(OptimizerKind::SOPHIA_H);
    config.sharpness.every = 6;
    let task = DigitsTask::new(Events::default());
    trainer(&task, &config, folder.path()).run().unwrap();
    let (lines, _) = log(folder.path());
    let mut used = Vec::new();
    for line in &lines {
        match line {
            Line::Train { curvature, .. } => {
                let curvature = curvature.as_ref().unwrap();
                let why = curvature.fallback.as_deref();
                assert_eq!(why.is_some(), curvature.exact == Some(false));
                assert!(
                    why.is_none_or(|why| why.contains("SupervisedBatch")),
                    "{why:?}"
                );
                used.push((curvature.age, curvature.exact));
            }
            Line::Sharpness {
                exact,
                product_error,
                fallback,
                ..
            } => {
                assert_eq!(exact.unwrap(), product_error.is_none());
                assert_eq!(exact.unwrap(), fallback.is_none());
            }
            Line::Evaluation { .. } => {}
        }
    }
    // Estimated at the first of ten steps, of a closure that keeps its batch to itself; the lines are of
    // the steps 4, 8, 12 and 14.
    let expected = [(3, Some(false)), (7, None), (1, Some(false)), (3, None)];
    assert_eq!(used, expected);
}

#[test]
fn a_run_writes_what_it_promises() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = config(OptimizerKind::SAM);
    config.sharpness.every = 6;
    config.sharpness.kind = Some(SharpnessKind::Sam);
    config.keep_checkpoints = 2;
    let task = DigitsTask::new(Events::default());
    let finished = trainer(&task, &config, folder.path()).run().unwrap();
    let (lines, _) = log(folder.path());

    let mut train = Vec::new();
    let mut evaluated = Vec::new();
    let mut sharpness = Vec::new();
    for line in &lines {
        match line {
            Line::Train {
                step,
                epoch,
                gradient_evaluations,
                loss,
                gradient_norm,
                lr,
                ..
            } => {
                assert_eq!(*gradient_evaluations, 2.0 * *step as f64);
                assert_eq!(*epoch, (step - 1) / BATCHES as u64);
                assert!(loss.unwrap() > 0.0 && gradient_norm.unwrap() > 0.0 && *lr > 0.0);
                train.push(*step);
            }
            Line::Evaluation { step, metrics, .. } => {
                assert!(metrics["loss"].unwrap() > 0.0);
                evaluated.push(*step);
            }
            Line::Sharpness {
                step, sharpness: s, ..
            } => {
                assert!(s.unwrap() > 0.0);
                sharpness.push(*step);
            }
        }
    }
    assert_eq!(train, [4, 8, 12, 14]);
    assert_eq!(evaluated, [5, 10, 14]);
    assert_eq!(sharpness, [6, 12]);
    assert_eq!(checkpoints(folder.path()), [10, 14]);
    for file in [
        "config.json",
        "best.bpk",
        "loss.svg",
        "evaluation.svg",
        "sharpness.svg",
    ] {
        assert!(folder.path().join(file).exists(), "{file}");
    }
    let text = finished.summary.to_string();
    for part in [
        "sam: 14 of 14 steps",
        "28 gradient evaluations",
        "best loss",
        "all steps made",
    ] {
        assert!(text.contains(part), "{text}");
    }
}

#[test]
fn budgets_end_a_run_after_the_step_that_spends_them() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = config(OptimizerKind::SAM);
    config.max_gradients = Some(7.0);
    let task = DigitsTask::new(Events::default());
    let finished = trainer(&task, &config, &folder.path().join("a"))
        .run()
        .unwrap();
    assert_eq!(finished.summary.ending, Ending::OutOfGradients);
    assert_eq!(finished.summary.step, 4);
    assert!(
        !finished.summary.metrics.is_empty(),
        "the last weights are evaluated"
    );

    config.max_gradients = None;
    config.max_seconds = Some(1e-9);
    let finished = trainer(&task, &config, &folder.path().join("b"))
        .run()
        .unwrap();
    assert_eq!(finished.summary.ending, Ending::OutOfTime);
    assert_eq!(finished.summary.step, 0);
}

/// Evaluations, the best weights and the model for inference are those of the average; the training
/// and its checkpoints are not moved by it.
#[test]
fn averaged_weights_are_evaluated() {
    let folder = tempfile::tempdir().unwrap();
    let run = |optimizer: &str| {
        let mut config = config(OptimizerKind::SGD);
        config.optimizer = optimizer.parse().unwrap();
        let out = folder.path().join(optimizer);
        let task = DigitsTask::new(Events::default());
        let finished = trainer(&task, &config, &out).run().unwrap();
        let evaluated = task.evaluate(&finished.evaluation_model.valid()).unwrap();
        assert_eq!(finished.summary.metrics, evaluated, "{optimizer}");
        assert_eq!(finished.summary.optimizer, optimizer);
        let best = ModuleRecord::load(out.join("best.bpk")).unwrap();
        let best = task.model(0).unwrap().try_load_record(best).unwrap();
        let best = task.evaluate(&best.valid()).unwrap();
        assert_eq!(
            best[0].1,
            finished.summary.best.unwrap().value,
            "{optimizer}"
        );
        finished
    };
    let (plain, averaged) = (run("sgd"), run("ema"));
    assert_eq!(numbers(&plain.model), numbers(&plain.evaluation_model));
    assert_eq!(numbers(&averaged.model), numbers(&plain.model));
    assert_ne!(
        numbers(&averaged.evaluation_model),
        numbers(&averaged.model)
    );
    assert_ne!(averaged.summary.metrics, plain.summary.metrics);
}

#[test]
fn a_step_over_all_batches_of_a_pass_counts_as_one() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = config(OptimizerKind::SGD);
    config.accumulate = BATCHES;
    config.length = Length::Epochs(2);
    let task = DigitsTask::new(Events::default());
    let finished = trainer(&task, &config, folder.path()).run().unwrap();
    assert_eq!(finished.summary.step, 2);
    assert_eq!(finished.summary.gradient_evaluations, 2.0);
    assert_eq!(task.made.get(), 2 * BATCHES as u64);
    assert_eq!(finished.summary.passes, 2.0);
}

#[test]
fn epochs_and_steps_are_two_lengths_of_one_run() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = config(OptimizerKind::ADAMW);
    config.length = Length::Epochs(3);
    let task = DigitsTask::new(Events::default());
    let finished = trainer(&task, &config, folder.path()).run().unwrap();
    assert_eq!(finished.summary.steps, 3 * BATCHES as u64);
    assert_ne!(finished.summary.steps, STEPS);
}
