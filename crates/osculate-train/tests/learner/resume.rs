//! Trainings that go on from a checkpoint end as if they had never stopped, whatever happened to the
//! files.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::common::{Net, alone, assert_identical, device, learner, quiet};
use burn::lr_scheduler::cosine::CosineAnnealingLrSchedulerConfig;
use burn::optim::AdamWConfig;
use burn::train::checkpoint::KeepLastNCheckpoints;
use burn::train::{Learner, LearningResult, TrainingError};
use osculate_optim::registry::{OptimizerKind, OptimizerSpec};
use osculate_train::learner::{CheckpointError, Checkpoints, LearnerError, Monitor, Osculate};

const EPOCHS: usize = 4;

/// The folder of the checkpoints.
fn folder(directory: &Path) -> PathBuf {
    directory.join("checkpoint")
}

struct Outcome {
    result: LearningResult<Net>,
    checkpoints: Checkpoints,
    monitor: Monitor,
}

/// Trains a net with dropout and batch normalisation under a schedule, from a checkpoint on where one
/// is given.
fn train(directory: &Path, method: OptimizerKind, epochs: usize, from: Option<usize>) -> Outcome {
    let checkpoints = Checkpoints::new(folder(directory));
    let optimizer = OptimizerSpec::new(method).make::<Net>(5).unwrap();
    let strategy = Osculate::supervised(optimizer).with_checkpoints(&checkpoints);
    let monitor = strategy.monitor();
    let mut training = quiet(directory, epochs)
        .with_custom_checkpointers(
            checkpoints.model(),
            checkpoints.optimizer(),
            checkpoints.scheduler(),
        )
        .with_checkpointing_strategy(KeepLastNCheckpoints::new(3))
        .with_training_strategy(strategy.into());
    if let Some(epoch) = from {
        training = training.checkpoint(epoch);
    }
    let schedule = CosineAnnealingLrSchedulerConfig::new(0.01, 40)
        .init()
        .unwrap();
    let model = Net::noisy(&device());
    let result = training.launch(Learner::new(model, AdamWConfig::new().init(), schedule));
    Outcome {
        result,
        checkpoints,
        monitor,
    }
}

fn whole(directory: &Path, method: OptimizerKind, epochs: usize, from: Option<usize>) -> Outcome {
    let outcome = train(directory, method, epochs, from);
    assert!(outcome.result.error.is_none(), "{:?}", outcome.result.error);
    outcome
}

#[test]
fn every_method_goes_on_bit_for_bit() {
    let _alone = alone();
    // Entropy-SGD draws further batches in a step, which this loop has not.
    let methods = OptimizerKind::all().into_iter();
    for method in methods.filter(|method| *method != OptimizerKind::ENTROPY_SGD) {
        let (straight, split) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let straight = whole(straight.path(), method, EPOCHS, None);
        whole(split.path(), method, 2, None);
        let resumed = whole(split.path(), method, EPOCHS, Some(2));
        let found = resumed.checkpoints.restored().unwrap();
        assert_eq!((found.epoch, found.damaged.len()), (2, 0), "{method}");
        assert_identical(&straight.result.model, &resumed.result.model);
    }
}

/// What can happen to the files of checkpoint 3.
#[test]
fn a_damaged_checkpoint_is_passed_over_and_named() {
    let _alone = alone();
    let method = OptimizerKind::SOPHIA_H;
    let straight = tempfile::tempdir().unwrap();
    let straight = whole(straight.path(), method, EPOCHS, None);

    type Damage = fn(&Path);
    let cases: [(&str, Damage); 5] = [
        ("optim-3.bpk", |folder| {
            let path = folder.join("optim-3.bpk");
            let bytes = std::fs::read(&path).unwrap();
            std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
        }),
        ("model-3.bpk", |folder| {
            let path = folder.join("model-3.bpk");
            let mut bytes = std::fs::read(&path).unwrap();
            let last = bytes.len() - 1;
            bytes[last] ^= 1;
            std::fs::write(&path, bytes).unwrap();
        }),
        ("scheduler-3.bpk", |folder| {
            std::fs::write(folder.join("scheduler-3.bpk"), []).unwrap();
        }),
        ("optim-3.bpk is missing", |folder| {
            std::fs::remove_file(folder.join("optim-3.bpk")).unwrap();
        }),
        ("model-3.bpk has no checksum in", |folder| {
            std::fs::remove_file(folder.join("model-3.crc")).unwrap();
        }),
    ];
    for (name, damage) in cases {
        let directory = tempfile::tempdir().unwrap();
        whole(directory.path(), method, 3, None);
        damage(&folder(directory.path()));
        let resumed = whole(directory.path(), method, EPOCHS, Some(3));
        let found = resumed.checkpoints.restored().unwrap();
        assert_eq!((found.asked, found.epoch), (3, 2), "{name}");
        assert!(found.to_string().contains(name), "{found}");
        assert_identical(&straight.result.model, &resumed.result.model);
    }
}

/// A run that writes over another's checkpoint is killed in between.
#[test]
fn files_of_two_trainings_are_no_checkpoint() {
    let _alone = alone();
    let (directory, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    whole(directory.path(), OptimizerKind::ADAMW, 2, None);
    whole(other.path(), OptimizerKind::ADAMW, 2, None);
    for name in ["optim-2.bpk", "optim-2.crc"] {
        let (from, to) = (folder(other.path()), folder(directory.path()));
        std::fs::copy(from.join(name), to.join(name)).unwrap();
    }
    let checkpoints = Checkpoints::new(folder(directory.path()));
    let found = checkpoints.latest().unwrap().unwrap();
    assert_eq!((found.asked, found.epoch), (2, 1));
    assert!(found.to_string().contains("several trainings"), "{found}");
}

#[test]
fn what_is_not_there_is_said() {
    let _alone = alone();
    let directory = tempfile::tempdir().unwrap();
    let checkpoints = Checkpoints::new(folder(directory.path()));
    assert_eq!(checkpoints.latest(), Ok(None));

    whole(directory.path(), OptimizerKind::ADAMW, 2, None);
    assert_eq!(checkpoints.latest().unwrap().unwrap().epoch, 2);
    let missing = checkpoints.find(7).unwrap_err();
    assert!(
        matches!(&missing, CheckpointError::Missing { epoch: 7, available, .. } if available == &[1, 2])
    );
    assert!(missing.to_string().contains("it has 1, 2"), "{missing}");

    for epoch in [1, 2] {
        let path = folder(directory.path()).join(format!("model-{epoch}.bpk"));
        std::fs::write(path, b"nothing").unwrap();
    }
    let damaged = checkpoints.latest().unwrap_err();
    assert!(matches!(&damaged, CheckpointError::Damaged { damaged, .. } if damaged.len() == 2));
}

#[test]
fn the_state_of_another_optimizer_stops_the_training() {
    let _alone = alone();
    let directory = tempfile::tempdir().unwrap();
    let first = whole(directory.path(), OptimizerKind::SAM, 1, None);
    let other = train(directory.path(), OptimizerKind::SOPHIA_H, 2, Some(1));
    assert!(matches!(
        other.result.error.as_deref(),
        Some(TrainingError::Checkpoint(_))
    ));
    let error = other.monitor.error().unwrap();
    assert!(matches!(
        error.as_ref(),
        LearnerError::State { epoch: 1, .. }
    ));
    assert!(error.to_string().contains("sam"), "{error}");
    assert_identical(&first.result.model, &other.result.model);
}

#[test]
fn burns_own_checkpointers_are_refused() {
    let _alone = alone();
    let directory = tempfile::tempdir().unwrap();
    let strategy = || {
        Osculate::new(
            OptimizerSpec::new(OptimizerKind::ADAMW)
                .make::<Net>(0)
                .unwrap(),
        )
    };
    let checkpoints = Checkpoints::new(folder(directory.path()));
    for strategy in [strategy(), strategy().with_checkpoints(&checkpoints)] {
        let monitor = strategy.monitor();
        let result = quiet(directory.path(), 1)
            .with_default_checkpointers()
            .with_training_strategy(strategy.into())
            .launch(learner(Net::plain(&device()), 0.01));
        assert!(result.error.is_some());
        let error = monitor.error().unwrap();
        assert!(matches!(
            error.as_ref(),
            LearnerError::Checkpoint(CheckpointError::Detached)
        ));
    }
}

/// Names the folder for [`in_a_child`].
const CHILD: &str = "OSCULATE_TEST_CHILD";
const LONG: usize = 40;

/// The program that is killed. Does nothing when it runs as a test.
#[test]
fn in_a_child() {
    if let Some(directory) = std::env::var_os(CHILD) {
        whole(Path::new(&directory), OptimizerKind::SAM, LONG, None);
    }
}

#[test]
fn a_killed_training_goes_on_bit_for_bit() {
    let _alone = alone();
    let straight = tempfile::tempdir().unwrap();
    let straight = whole(straight.path(), OptimizerKind::SAM, LONG, None);
    for delay in [3_u64, 17, 41] {
        let directory = tempfile::tempdir().unwrap();
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "resume::in_a_child"])
            .env(CHILD, directory.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // A kill before the first checkpoint would begin anew, which proves less.
        let checkpoints = Checkpoints::new(folder(directory.path()));
        let begun = Instant::now();
        while !matches!(checkpoints.latest(), Ok(Some(_))) {
            assert!(
                begun.elapsed() < Duration::from_secs(60),
                "no checkpoint came"
            );
            sleep(Duration::from_millis(1));
        }
        sleep(Duration::from_millis(delay));
        child.kill().unwrap();
        child.wait().unwrap();

        let found = checkpoints.latest().unwrap().unwrap();
        assert!(found.epoch < LONG, "the child had finished");
        let resumed = whole(
            directory.path(),
            OptimizerKind::SAM,
            LONG,
            Some(found.asked),
        );
        assert_identical(&straight.result.model, &resumed.result.model);
    }
}
