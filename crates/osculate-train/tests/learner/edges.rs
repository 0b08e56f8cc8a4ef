//! Tasks and trainings of nothing: frozen models, devices without autodiff, no batches, no samples, no steps,
//! states and folders of others. A typed error that says what was expected, never a panic, never a success.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use crate::common::{Net, alone, device, ordered_loader, valid_loader};
use burn::module::Module;
use burn::nn::{Linear, LinearConfig};
use burn::optim::AdamWConfig;
use burn::tensor::{Device, Tensor};
use burn::train::logger::InMemoryMetricLogger;
use burn::train::{Learner, SupervisedTraining};
use osculate_curvature::{Batched, Criterion, CurvatureError, Objective, SupervisedBatch};
use osculate_optim::registry::OptimizerKind;
use osculate_optim::{Driver, Sam, StepErrorCause};
use osculate_problems::digits::DigitsBatch;
use osculate_train::learner::{
    CheckpointError, Checkpoints, CurvatureProbe, LearnerError, Osculate, Quantity, SupervisedModel,
};
use osculate_train::trainer::{
    Batch, BatchAt, Judged, Length, Metrics, Schedule, ScheduleKind, SharpnessKind, Task,
    TaskError, Trainer, TrainerConfig, TrainerError,
};

/// Fits three numbers, or does something wrong.
struct Sums {
    device: Device,
    outputs: usize,
    frozen: bool,
    batches: usize,
    samples: usize,
    drawn_samples: usize,
    sharpness_samples: usize,
    value: f32,
    metric: &'static str,
}

impl Default for Sums {
    fn default() -> Self {
        Self {
            device: device(),
            outputs: 2,
            frozen: false,
            batches: 3,
            samples: 4,
            drawn_samples: 4,
            sharpness_samples: 4,
            value: 0.5,
            metric: "loss",
        }
    }
}

impl Sums {
    fn objective(&self, samples: usize) -> Batch<Linear> {
        let device = self.device.clone().inner();
        let x = Tensor::<2>::full([4, 3], self.value, &device);
        let targets = Tensor::<2>::ones([4, self.outputs], &device);
        let forward = |model: &Linear, x: &Tensor<2>| model.forward(x.clone());
        let loss = SupervisedBatch::new(x, forward, Criterion::mse(targets));
        Batch::new(loss, samples)
    }
}

impl Task for Sums {
    type Model = Linear;

    fn model(&self, seed: u64) -> Result<Linear, TaskError> {
        self.device.seed(seed);
        let model: Linear = LinearConfig::new(3, self.outputs).init(&self.device);
        Ok(if self.frozen { model.no_grad() } else { model })
    }

    fn batches_per_epoch(&self) -> usize {
        self.batches
    }

    fn batch(&self, at: BatchAt) -> Result<Batch<Linear>, TaskError> {
        let drawn = at.epoch >= 1 << 32;
        Ok(self.objective(if drawn {
            self.drawn_samples
        } else {
            self.samples
        }))
    }

    fn evaluate(&self, _: &Linear) -> Result<Metrics, TaskError> {
        Ok(vec![("loss".to_string(), f64::NAN)])
    }

    fn judged(&self) -> Judged {
        Judged::lowest(self.metric)
    }

    fn sharpness_batch(&self, _: u64) -> Result<Batch<Linear>, TaskError> {
        Ok(self.objective(self.sharpness_samples))
    }
}

fn settings(kind: OptimizerKind) -> TrainerConfig {
    let mut config = TrainerConfig::new(kind);
    config.length = Length::Steps(2);
    config.log_every = 1;
    config
}

fn run(task: &Sums, config: &TrainerConfig, out: &Path, resume: bool) -> Result<(), TrainerError> {
    let trainer = Trainer::new(task, config.clone(), out);
    trainer
        .with_progress(false)
        .with_resume(resume)
        .run()
        .map(drop)
}

/// How a run in a folder of its own fails, in words.
fn fails(task: &Sums, config: &TrainerConfig) -> TrainerError {
    let folder = tempfile::tempdir().unwrap();
    let error = run(task, config, folder.path(), false).unwrap_err();
    assert!(!error.to_string().contains('\n'), "{error}");
    error
}

#[test]
fn models_without_a_gradient_end_a_run() {
    let _alone = alone();
    for task in [
        Sums {
            frozen: true,
            ..Sums::default()
        },
        Sums {
            device: Device::flex(),
            ..Sums::default()
        },
    ] {
        for kind in [
            OptimizerKind::ADAMW,
            OptimizerKind::SAM,
            OptimizerKind::SOAP,
        ] {
            let error = fails(&task, &settings(kind));
            let TrainerError::Step { step: 1, cause } = error else {
                panic!("{error}");
            };
            assert!(
                matches!(cause, StepErrorCause::Curvature(CurvatureError::NoGradient)),
                "{cause}"
            );
        }
    }
}

#[test]
fn tasks_of_nothing_are_refused_in_words() {
    let _alone = alone();
    let mut sharp = settings(OptimizerKind::ADAMW);
    sharp.sharpness.every = 1;
    let entropy = settings(OptimizerKind::ENTROPY_SGD);
    let adamw = settings(OptimizerKind::ADAMW);
    let task = Sums::default();
    for (task, config, told) in [
        (Sums { batches: 0, ..task }, &adamw, "no batch"),
        (
            Sums {
                samples: 0,
                ..Sums::default()
            },
            &adamw,
            "batch 0 of pass 0 has no sample",
        ),
        (
            Sums {
                drawn_samples: 0,
                ..Sums::default()
            },
            &entropy,
            "has no sample",
        ),
        (
            Sums {
                sharpness_samples: 0,
                ..Sums::default()
            },
            &sharp,
            "for the sharpness has no sample",
        ),
        (
            Sums {
                metric: "accuracy",
                ..Sums::default()
            },
            &adamw,
            "\"accuracy\"",
        ),
    ] {
        let error = fails(&task, config).to_string();
        assert!(error.contains(told), "{told} is not in: {error}");
    }
}

#[test]
fn a_sharpness_of_no_numbers_is_an_error_for_each_kind() {
    let _alone = alone();
    let task = Sums {
        value: f32::NAN,
        ..Sums::default()
    };
    for kind in [
        SharpnessKind::Hessian,
        SharpnessKind::GaussNewton,
        SharpnessKind::Sam,
    ] {
        let mut config = settings(OptimizerKind::ADAMW);
        config.non_finite = osculate_train::trainer::NonFiniteLoss::Continue;
        config.sharpness.every = 1;
        config.sharpness.kind = Some(kind);
        let error = fails(&task, &config);
        assert!(
            matches!(error, TrainerError::Sharpness(_)),
            "{kind:?}: {error}"
        );
    }
}

#[test]
fn the_checkpoint_of_another_model_or_optimizer_is_refused() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let config = settings(OptimizerKind::ADAMW);
    run(&Sums::default(), &config, folder.path(), false).unwrap();
    let mut longer = config.clone();
    longer.length = Length::Steps(4);
    let other = Sums {
        outputs: 3,
        ..Sums::default()
    };
    let error = run(&other, &longer, folder.path(), true).unwrap_err();
    assert!(matches!(error, TrainerError::Checkpoint { .. }), "{error}");
    assert!(error.to_string().contains("step-000000002"), "{error}");
    let soap = settings(OptimizerKind::SOAP);
    let error = run(&Sums::default(), &soap, folder.path(), true).unwrap_err();
    assert!(matches!(error, TrainerError::OtherConfig { .. }), "{error}");
    // Whoever edits the configuration meets the state itself.
    let text = serde_json::to_string(&serde_json::json!({ "trainer": soap })).unwrap();
    fs::write(folder.path().join("config.json"), text).unwrap();
    let error = run(&Sums::default(), &soap, folder.path(), true).unwrap_err();
    assert!(matches!(error, TrainerError::Checkpoint { .. }), "{error}");
    run(&Sums::default(), &longer, folder.path(), true).unwrap_err();
    let nowhere = folder.path().join("nowhere");
    let error = run(&Sums::default(), &config, &nowhere, true).unwrap_err();
    assert!(
        matches!(error, TrainerError::NothingToResume { .. }),
        "{error}"
    );
    assert!(!nowhere.exists());
}

#[test]
fn schedules_give_finite_parts_of_the_peak_for_any_step() {
    for kind in [
        ScheduleKind::Constant,
        ScheduleKind::Cosine,
        ScheduleKind::Linear,
        ScheduleKind::WarmupStableDecay,
        ScheduleKind::OneCycle,
        ScheduleKind::SuperConvergence,
    ] {
        for (step, steps) in [(0, 0), (5, 0), (9, 3), (u64::MAX - 1, 3), (0, u64::MAX)] {
            let factor = Schedule::new(kind).factor(step, steps);
            assert!(
                (0.0..=1.0).contains(&factor),
                "{kind:?} {step} of {steps}: {factor}"
            );
        }
    }
}

/// A training of two epochs on some images.
fn training(directory: &Path, positions: Vec<usize>) -> SupervisedTraining<Net> {
    SupervisedTraining::new(directory, ordered_loader(positions, 8), valid_loader())
        .num_epochs(2)
        .with_metric_logger(InMemoryMetricLogger::new())
        .with_application_logger(None)
}

/// The error that a training under a strategy ends with.
fn ends(model: Net, strategy: Osculate<Net>, positions: Vec<usize>) -> Option<Arc<LearnerError>> {
    let folder = tempfile::tempdir().unwrap();
    let monitor = strategy.monitor();
    let training = training(folder.path(), positions).with_training_strategy(strategy.into());
    let result = training.launch(Learner::new(model, AdamWConfig::new().init(), 0.01));
    assert_eq!(result.error.is_some(), monitor.error().is_some());
    monitor.error()
}

fn adamw() -> Driver {
    Driver::from(AdamWConfig::new().init())
}

fn sam() -> Driver {
    Sam::new(0.1).over(adamw()).unwrap()
}

#[test]
fn trainings_that_cannot_move_end_with_an_error() {
    let _alone = alone();
    for optimizer in [adamw as fn() -> Driver, sam] {
        let frozen = Net::plain(&device()).no_grad();
        let error = ends(frozen, Osculate::new(optimizer()), (0..16).collect()).unwrap();
        assert!(
            matches!(
                &*error,
                LearnerError::Step {
                    epoch: 1,
                    iteration: 1,
                    cause: StepErrorCause::Curvature(CurvatureError::NoGradient),
                }
            ),
            "{error}"
        );
        let plain = || Net::plain(&device());
        let error = ends(plain(), Osculate::new(optimizer()), Vec::new()).unwrap();
        assert!(
            matches!(&*error, LearnerError::NoStep { epochs: 2, .. }),
            "{error}"
        );
        // On a device with autodiff the weights of another are constants.
        let model = Net::plain(&Device::flex());
        let error = ends(model, Osculate::new(optimizer()), (0..16).collect()).unwrap();
        assert!(
            error.to_string().contains("no parameter has a gradient"),
            "{error}"
        );
    }
}

#[test]
fn a_probe_of_nothing_is_left_out() {
    let _alone = alone();
    let probe = CurvatureProbe {
        iterations: 0,
        probes: 0,
        ..CurvatureProbe::every(0)
    };
    let strategy = Osculate::new(adamw()).with_curvature(probe);
    let monitor = strategy.monitor();
    let _metric = monitor.metric(Quantity::Sharpness);
    assert!(ends(Net::plain(&device()), strategy, (0..16).collect()).is_none());
    let last = monitor.last().unwrap();
    assert!(last.sharpness.is_none() && last.trace.is_none());
}

/// A net whose supervised form knows nothing of its weights.
#[derive(Module, Debug)]
struct Blind {
    net: Net,
}

impl burn::train::TrainStep for Blind {
    type Input = DigitsBatch;
    type Output = burn::train::ClassificationOutput;

    fn step(&self, batch: DigitsBatch) -> burn::train::TrainOutput<Self::Output> {
        let output = self.net.classify(batch);
        burn::train::TrainOutput::new(self, output.loss.backward(), output)
    }
}

impl burn::train::InferenceStep for Blind {
    type Input = DigitsBatch;
    type Output = burn::train::ClassificationOutput;

    fn step(&self, batch: DigitsBatch) -> Self::Output {
        self.net.classify(batch)
    }
}

impl SupervisedModel for Blind {
    fn supervised(batch: &DigitsBatch) -> Box<dyn Objective<Self>> {
        let forward = |net: &Blind, images: &Tensor<2>| {
            let outputs = net.net.forward(images.clone()).detach();
            let bias = net.net.offset();
            (outputs + bias).sum()
        };
        Box::new(Batched::new(batch.images.clone(), forward))
    }
}

#[test]
fn a_supervised_form_of_fewer_parameters_is_infinitely_far() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let strategy = Osculate::supervised(adamw());
    let monitor = strategy.monitor();
    let loader = ordered_loader((0..16).collect(), 8);
    let training = SupervisedTraining::new(folder.path(), loader, valid_loader())
        .with_metric_logger(InMemoryMetricLogger::new())
        .with_application_logger(None)
        .with_training_strategy(strategy.into());
    let blind = Blind {
        net: Net::plain(&device()),
    };
    let result = training.launch(Learner::new(blind, AdamWConfig::new().init(), 0.01));
    assert!(result.error.is_none(), "{:?}", result.error);
    assert_eq!(monitor.supervised_distance(), Some(f64::INFINITY));
}

#[test]
fn folders_without_checkpoints_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let nowhere = folder.path().join("nowhere");
    let checkpoints = Checkpoints::new(&nowhere);
    assert_eq!(checkpoints.latest(), Ok(None));
    assert_eq!(checkpoints.restored(), None);
    let error = checkpoints.find(3).unwrap_err();
    assert!(matches!(error, CheckpointError::Missing { epoch: 3, .. }));
    assert!(error.to_string().contains("nowhere"), "{error}");
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    for at in [file.clone(), file.join("within")] {
        let error = Checkpoints::new(&at).latest().unwrap_err();
        assert!(matches!(error, CheckpointError::File { .. }), "{error}");
        assert!(error.to_string().contains("file"), "{error}");
    }
}
