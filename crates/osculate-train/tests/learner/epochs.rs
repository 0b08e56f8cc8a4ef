//! The strategy's loop beside burn's own: accumulation, schedules, stopping, errors and metrics.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use crate::common::{
    IMAGES, Net, ROWS, alone, assert_identical, device, largest_difference, learner, quiet,
    train_loader, valid_loader,
};
use burn::data::dataset::{Dataset, DatasetError};
use burn::lr_scheduler::cosine::CosineAnnealingLrSchedulerConfig;
use burn::lr_scheduler::module_lr_scheduler::{ModuleLearningRate, ModuleLrSchedulerConfig};
use burn::module::{Module, ParamGroup};
use burn::optim::AdamWConfig;
use burn::tensor::TensorReadError;
use burn::train::logger::InMemoryMetricLogger;
use burn::train::metric::store::{Aggregate, Direction, Split};
use burn::train::metric::{
    Adaptor, LossMetric, Metric, MetricMetadata, MetricName, SerializedEntry,
};
use burn::train::{
    ClassificationOutput, ExecutionStrategy, Interrupter, Learner, MetricEarlyStoppingStrategy,
    StoppingCondition, SupervisedTraining, TrainingError, TrainingStrategy,
};
use osculate_curvature::{CurvatureError, Objective};
use osculate_optim::{
    ClosureOptimizer, Driver, Ema, RecordError, SophiaConfig, StateRecord, StatefulOptimizer, Step,
    StepError, StepErrorCause,
};
use osculate_train::learner::{LearnerError, Osculate};

fn adamw() -> Driver {
    Driver::from(AdamWConfig::new().init())
}

/// Counts the items of the training split, and stops the training at one of them.
#[derive(Clone, Default)]
struct Count {
    items: Arc<AtomicUsize>,
    stop: Option<(usize, Interrupter)>,
}

impl Metric for Count {
    type Input = ();

    fn name(&self) -> MetricName {
        Arc::new("Count".to_string())
    }

    fn update(
        &mut self,
        _item: &(),
        _metadata: &MetricMetadata,
    ) -> Result<SerializedEntry, TensorReadError> {
        let items = self.items.fetch_add(1, Ordering::SeqCst) + 1;
        if let Some((at, interrupter)) = &self.stop
            && items == *at
        {
            interrupter.stop(Some("enough"));
        }
        Ok(SerializedEntry::new(String::new(), String::new()))
    }

    fn compute(&mut self) -> Result<SerializedEntry, TensorReadError> {
        Ok(SerializedEntry::new(String::new(), String::new()))
    }

    fn clear(&mut self) {}
}

#[test]
fn accumulation_under_a_schedule_equals_burns_own_loop() {
    let _alone = alone();
    let batches = IMAGES.div_ceil(ROWS);
    // The last window of an epoch is a partial one.
    for accumulation in [1, 2, 3] {
        let train = |strategy: TrainingStrategy<Net>| {
            let directory = tempfile::tempdir().unwrap();
            let count = Count::default();
            let schedule = CosineAnnealingLrSchedulerConfig::new(0.01, 9)
                .init()
                .unwrap();
            let model = Net::plain(&device());
            let result = quiet(directory.path(), 3)
                .grads_accumulation(accumulation)
                .metric_train(count.clone())
                .with_training_strategy(strategy)
                .launch(Learner::new(model, AdamWConfig::new().init(), schedule));
            assert!(result.error.is_none());
            assert_eq!(count.items.load(Ordering::SeqCst), 3 * batches);
            result.model
        };
        let ours = train(Osculate::new(adamw()).into());
        let burns = train(ExecutionStrategy::single(device()).into());
        assert_identical(&ours, &burns);
    }
}

#[test]
fn gauss_newton_methods_accumulate_too() {
    let _alone = alone();
    let directory = tempfile::tempdir().unwrap();
    let strategy = Osculate::supervised(
        SophiaConfig::g()
            .with_gamma(10.0)
            .with_period(1)
            .init()
            .unwrap(),
    );
    let monitor = strategy.monitor();
    let result = quiet(directory.path(), 2)
        .grads_accumulation(2)
        .with_training_strategy(strategy.into())
        .launch(learner(Net::plain(&device()), 0.01));
    assert!(result.error.is_none(), "{:?}", result.error);
    let last = monitor.last().unwrap();
    assert_eq!(last.report.curvature_age(), Some(0));
    assert!(last.report.win_rate().unwrap() > 0.0);
}

#[test]
fn early_stopping_ends_the_training() {
    let _alone = alone();
    let directory = tempfile::tempdir().unwrap();
    let count = Count::default();
    let patience = MetricEarlyStoppingStrategy::new(
        &LossMetric::new(),
        Aggregate::Mean,
        Direction::Lowest,
        Split::Valid,
        StoppingCondition::NoImprovementSince { n_epochs: 2 },
    );
    // Without a learning rate nothing improves after the first epoch.
    let result = quiet(directory.path(), 10)
        .metric_train(count.clone())
        .early_stopping(patience)
        .with_training_strategy(Osculate::new(adamw()).into())
        .launch(learner(Net::plain(&device()), 0.0));
    assert!(result.error.is_none() && result.interrupted.is_none());
    assert_eq!(
        count.items.load(Ordering::SeqCst),
        3 * IMAGES.div_ceil(ROWS)
    );
}

#[test]
fn a_stop_from_outside_ends_the_training() {
    let _alone = alone();
    let directory = tempfile::tempdir().unwrap();
    let training = quiet(directory.path(), 10);
    let count = Count {
        items: Arc::default(),
        stop: Some((7, training.interrupter())),
    };
    let result = training
        .metric_train(count.clone())
        .with_training_strategy(Osculate::new(adamw()).into())
        .launch(learner(Net::plain(&device()), 0.01));
    let interruption = result.interrupted.unwrap();
    assert_eq!(interruption.reason.as_deref(), Some("enough"));
    assert!(result.error.is_none());
    // burn processes items on another thread, which lags behind.
    let items = count.items.load(Ordering::SeqCst);
    assert!((7..12).contains(&items), "{items}");
}

/// An optimizer that fails at one step.
struct FailsAt {
    inner: Driver,
    steps: usize,
    at: usize,
    cause: Option<StepErrorCause>,
}

impl FailsAt {
    fn new(at: usize, cause: impl Into<StepErrorCause>) -> Self {
        Self {
            inner: adamw(),
            steps: 0,
            at,
            cause: Some(cause.into()),
        }
    }
}

impl StatefulOptimizer for FailsAt {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn to_record(&self) -> StateRecord {
        self.inner.to_record()
    }

    fn load_record(&mut self, record: StateRecord) -> Result<(), RecordError> {
        self.inner.load_record(record)
    }

    fn state_bytes(&self) -> usize {
        self.inner.state_bytes()
    }
}

impl<M: Module> ClosureOptimizer<M> for FailsAt {
    fn step_with(
        &mut self,
        lr: ModuleLearningRate,
        model: M,
        objective: &dyn Objective<M>,
    ) -> Result<Step<M>, StepError<M>> {
        self.steps += 1;
        if self.steps == self.at {
            let cause = self.cause.take().unwrap();
            return Err(StepError { model, cause });
        }
        self.inner.step(lr, model, objective)
    }
}

#[test]
fn a_failed_step_stops_with_its_reason_and_keeps_the_model() {
    let _alone = alone();
    let batches = IMAGES / ROWS;
    let directory = tempfile::tempdir().unwrap();
    let paths = vec!["head.weight".to_string()];
    let cause = StepErrorCause::NonFiniteGradient { paths };
    let strategy = Osculate::new(FailsAt::new(batches + 1, cause));
    let monitor = strategy.monitor();
    let result = quiet(directory.path(), 3)
        .with_training_strategy(strategy.into())
        .launch(learner(Net::plain(&device()), 0.01));
    assert!(result.interrupted.is_none());
    match result.error.as_deref() {
        Some(TrainingError::Workers(failures)) => {
            assert!(failures[0].message.contains("head.weight"), "{failures:?}");
        }
        other => panic!("expected the step's error, got {other:?}"),
    }
    let error = monitor.error().unwrap();
    assert!(matches!(
        error.as_ref(),
        LearnerError::Step {
            epoch: 2,
            iteration: 1,
            cause: StepErrorCause::NonFiniteGradient { .. },
        }
    ));

    let one_epoch = quiet(directory.path(), 1)
        .with_training_strategy(Osculate::new(adamw()).into())
        .launch(learner(Net::plain(&device()), 0.01));
    assert_identical(&result.model, &one_epoch.model);
}

/// Positions of images, one of which cannot be read.
struct Broken;

impl Dataset<usize> for Broken {
    fn get(&self, index: usize) -> Result<usize, DatasetError> {
        if index == 2 * ROWS + 1 {
            return Err(DatasetError::new(std::io::Error::other("image 49 is gone")));
        }
        Ok(index)
    }

    fn len(&self) -> usize {
        IMAGES
    }
}

#[test]
fn data_that_cannot_be_read_stop_the_training() {
    let _alone = alone();
    let train = |strategy: TrainingStrategy<Net>| {
        let directory = tempfile::tempdir().unwrap();
        let loader = crate::common::loader(Broken, ROWS);
        let result = SupervisedTraining::new(directory.path(), loader, valid_loader())
            .num_epochs(2)
            .with_metric_logger(InMemoryMetricLogger::new())
            .with_application_logger(None)
            .with_training_strategy(strategy)
            .launch(learner(Net::plain(&device()), 0.01));
        match result.error.as_deref() {
            Some(TrainingError::Dataset(error)) => {
                assert!(error.to_string().contains("image 49"), "{error}");
            }
            other => panic!("expected the data set's error, got {other:?}"),
        }
        result.model
    };
    // Two batches were trained on before.
    let ours = train(Osculate::new(adamw()).into());
    assert_identical(&ours, &train(ExecutionStrategy::single(device()).into()));
}

/// The error of a training that cannot make its first step.
fn refused(
    strategy: Osculate<Net>,
    training: SupervisedTraining<Net>,
    learner: Learner<Net>,
) -> Arc<LearnerError> {
    let monitor = strategy.monitor();
    let result = training
        .with_training_strategy(strategy.into())
        .launch(learner);
    assert!(result.error.is_some());
    assert_identical(&result.model, &Net::plain(&device()));
    monitor.error().unwrap()
}

#[test]
fn what_cannot_work_is_refused_with_its_reason() {
    let _alone = alone();
    let directory = tempfile::tempdir().unwrap();
    let training = || quiet(directory.path(), 1);
    let plain = |lr| learner(Net::plain(&device()), lr);
    let sophia = || SophiaConfig::g().init().unwrap();

    let error = refused(Osculate::new(sophia()), training(), plain(0.01));
    assert!(matches!(
        error.as_ref(),
        LearnerError::NotSupervised {
            epoch: 1,
            iteration: 1,
            ..
        }
    ));
    assert!(error.to_string().contains("SupervisedModel"), "{error}");

    let accumulated = training().grads_accumulation(2);
    let what = "a Gauss-Newton product";
    let cause = CurvatureError::NotSupervised { what };
    let gauss_newton = FailsAt::new(1, cause);
    let error = refused(Osculate::supervised(gauss_newton), accumulated, plain(0.01));
    assert!(matches!(
        error.as_ref(),
        LearnerError::Accumulated { batches: 2, .. }
    ));

    // Objectives that a `Learner` does not take are no advice.
    let exact = || FailsAt::new(1, CurvatureError::NotRecordable);
    let error = refused(Osculate::new(exact()), training(), plain(0.01));
    assert!(error.to_string().contains("SupervisedModel"), "{error}");
    let accumulated = training().grads_accumulation(2);
    let error = refused(Osculate::supervised(exact()), accumulated, plain(0.01));
    assert!(matches!(
        error.as_ref(),
        LearnerError::Accumulated { batches: 2, .. }
    ));

    let error = refused(Osculate::new(adamw()), training(), plain(-1.0));
    assert!(matches!(
        error.as_ref(),
        LearnerError::Step {
            cause: StepErrorCause::LearningRate { .. },
            ..
        }
    ));
}

#[test]
fn grouped_learning_rates_equal_burns_own_loop() {
    let _alone = alone();
    let train = |strategy: TrainingStrategy<Net>, factor: f64| {
        let directory = tempfile::tempdir().unwrap();
        let schedule = ModuleLrSchedulerConfig::new(0.01.into())
            .with_group(ParamGroup::from_path("head.bias"), factor)
            .init()
            .unwrap();
        let model = Net::plain(&device());
        let result = quiet(directory.path(), 2)
            .with_training_strategy(strategy)
            .launch(Learner::new(model, AdamWConfig::new().init(), schedule));
        assert!(result.error.is_none(), "{:?}", result.error);
        result.model
    };
    let ours = train(Osculate::new(adamw()).into(), 0.1);
    let burns = train(ExecutionStrategy::single(device()).into(), 0.1);
    assert_identical(&ours, &burns);
    let alike = train(Osculate::new(adamw()).into(), 1.0);
    assert!(largest_difference(&ours, &alike) > 1e-3);
}

/// Collects the losses of the validation split.
#[derive(Clone, Default)]
struct Losses(Arc<Mutex<Vec<f64>>>);

/// A loss of the validation split.
struct Validated(f64);

impl Adaptor<Validated> for ClassificationOutput {
    fn adapt(&self) -> Validated {
        Validated(f64::from(self.loss.clone().into_scalar::<f32>()))
    }
}

impl Metric for Losses {
    type Input = Validated;

    fn name(&self) -> MetricName {
        Arc::new("Losses".to_string())
    }

    fn update(
        &mut self,
        item: &Validated,
        _metadata: &MetricMetadata,
    ) -> Result<SerializedEntry, TensorReadError> {
        self.0.lock().unwrap().push(item.0);
        self.compute()
    }

    fn compute(&mut self) -> Result<SerializedEntry, TensorReadError> {
        Ok(SerializedEntry::new(String::new(), String::new()))
    }

    fn clear(&mut self) {}
}

#[test]
fn averaged_weights_are_validated_and_returned() {
    let _alone = alone();
    let optimizer = || Ema::new(0.9).over(AdamWConfig::new().init()).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let losses = Losses::default();
    let result = quiet(directory.path(), 2)
        .metric_valid(losses.clone())
        .with_training_strategy(Osculate::new(optimizer()).into())
        .launch(learner(Net::plain(&device()), 0.01));
    assert!(result.error.is_none(), "{:?}", result.error);

    let (mut model, mut by_hand) = (Net::plain(&device()), optimizer());
    let (train, valid) = (train_loader().to_device(&device()), valid_loader());
    let mut expected = Vec::new();
    for _ in 0..2 {
        for batch in train.iter() {
            let batch = batch.unwrap();
            let loss = |net: &Net| net.classify(batch.clone()).loss;
            model = by_hand.step(0.01, model, &loss).unwrap().model;
        }
        let averaged = by_hand.evaluation_model(&model).unwrap().valid();
        for batch in valid.to_device(&device().inner()).iter() {
            expected.push(Adaptor::<Validated>::adapt(&averaged.classify(batch.unwrap())).0);
        }
    }
    assert_eq!(*losses.0.lock().unwrap(), expected);
    let averaged = by_hand.evaluation_model(&model).unwrap();
    assert_identical(&result.model, &averaged.valid());
    assert!(largest_difference(&averaged, &model) > 1e-3);
}
