//! What the steps of a training did, in burn's logs.

use std::fs;
use std::path::Path;

use crate::common::two_devices::{LR, STEPS, halves, sam};
use crate::common::{
    IMAGES, Net, ROWS, alone, assert_identical, device, learner, quiet, train_loader, valid_loader,
};
use burn::optim::{AdamWConfig, SgdConfig};
use burn::train::logger::FileMetricLogger;
use burn::train::{ExecutionStrategy, Learner, MultiDeviceOptim, SupervisedTraining};
use osculate_optim::{Sam, SophiaConfig};
use osculate_train::learner::{CurvatureProbe, InStep, Osculate, Quantity};

/// The values that a metric had in the steps of an epoch.
fn values(directory: &Path, quantity: Quantity, epoch: usize) -> Vec<f64> {
    let name = format!("{}.log", quantity.name().replace(' ', "_"));
    let path = directory.join(format!("train/epoch-{epoch}")).join(name);
    let text = fs::read_to_string(&path).unwrap_or_default();
    let lines = text.lines().filter(|line| !line.contains("final"));
    lines
        .map(|line| line.split(',').next().unwrap().parse().unwrap())
        .collect()
}

#[test]
fn metrics_of_steps_on_two_devices_reach_the_logs() {
    let _alone = alone();
    let directory = tempfile::tempdir().unwrap();
    let model = InStep::new(Net::summed(&device()), sam());
    let devices = vec![device(), device()];
    let result = SupervisedTraining::new(directory.path(), halves(), valid_loader())
        .with_application_logger(None)
        .with_metric_logger(FileMetricLogger::new(directory.path()))
        .metric_train_numeric(model.monitor().metric(Quantity::GradientEvaluations))
        .with_training_strategy(
            ExecutionStrategy::multi(devices, MultiDeviceOptim::OptimMainDevice).into(),
        )
        .launch(Learner::new(model, SgdConfig::new().init(), LR));
    assert!(result.error.is_none(), "{:?}", result.error);
    // Two items a step, each with the cost of the step.
    let costs = values(directory.path(), Quantity::GradientEvaluations, 1);
    assert_eq!(costs, vec![2.0; 2 * STEPS]);
}

#[test]
fn metrics_reach_the_logs() {
    let _alone = alone();
    let directory = tempfile::tempdir().unwrap();
    let strategy = Osculate::supervised(SophiaConfig::g().init().unwrap())
        .with_curvature(CurvatureProbe::every(4));
    let monitor = strategy.monitor();
    let mut training = SupervisedTraining::new(directory.path(), train_loader(), valid_loader())
        .num_epochs(2)
        .with_application_logger(None)
        .with_metric_logger(FileMetricLogger::new(directory.path()));
    for quantity in Quantity::ALL {
        training = training.metric_train_numeric(monitor.metric(quantity));
    }
    let result = training
        .with_training_strategy(strategy.into())
        .launch(learner(Net::plain(&device()), 0.01));
    assert!(result.error.is_none());

    let batches = IMAGES / ROWS;
    let values = |quantity, epoch| values(directory.path(), quantity, epoch);
    for epoch in [1, 2] {
        let norms = values(Quantity::GradientNorm, epoch);
        assert_eq!(norms.len(), batches);
        assert!(norms.iter().all(|norm| *norm > 0.0 && norm.is_finite()));
        let rates = values(Quantity::WinRate, epoch);
        assert!(rates.len() == batches && rates.iter().all(|rate| (0.0..=1.0).contains(rate)));
        assert_eq!(
            values(Quantity::SkippedParameters, epoch),
            vec![0.0; batches]
        );
        assert_eq!(values(Quantity::SolverFailures, epoch), vec![0.0; batches]);
    }
    // Sophia estimates the curvature at the first of ten steps.
    assert_eq!(values(Quantity::CurvatureAge, 1), [0.0, 1.0, 2.0, 3.0, 4.0]);
    assert_eq!(values(Quantity::CurvatureAge, 2), [5.0, 6.0, 7.0, 8.0, 9.0]);
    let costs = values(Quantity::GradientEvaluations, 1);
    assert_eq!(costs.len(), batches);
    assert!(costs[0] > 1.5 && costs[1..] == [1.0; 4], "{costs:?}");
    // Measured at the steps 0, 4 and 8.
    for (epoch, measured) in [(1, 2), (2, 1)] {
        let sharpness = values(Quantity::Sharpness, epoch);
        let trace = values(Quantity::Trace, epoch);
        assert_eq!((sharpness.len(), trace.len()), (measured, measured));
        assert!(sharpness.iter().zip(&trace).all(|(s, t)| *s > 0.0 && t > s));
    }
    let last = monitor.last().unwrap();
    assert_eq!(last.report.cost().gradient_evaluations(), 1.0);
}

#[test]
fn metrics_tell_how_products_were_made() {
    let _alone = alone();
    let sophia = || SophiaConfig::h().init().unwrap();
    // One step of the epoch makes a product, of a batch that is handed over or of a training step of
    // which nothing is recorded.
    for (strategy, expected) in [
        (Osculate::supervised(sophia()), 1.0),
        (Osculate::new(sophia()), 0.0),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let monitor = strategy.monitor();
        let quantity = Quantity::ExactProducts;
        let result = SupervisedTraining::new(directory.path(), train_loader(), valid_loader())
            .with_application_logger(None)
            .with_metric_logger(FileMetricLogger::new(directory.path()))
            .metric_train_numeric(monitor.metric(quantity))
            .with_training_strategy(strategy.into())
            .launch(learner(Net::plain(&device()), 0.01));
        assert!(result.error.is_none());
        assert_eq!(values(directory.path(), quantity, 1), [expected]);
    }
}

#[test]
fn the_probe_leaves_the_training_alone() {
    let _alone = alone();
    let train = |strategy: Osculate<Net>| {
        let directory = tempfile::tempdir().unwrap();
        let result = quiet(directory.path(), 2)
            .with_training_strategy(strategy.into())
            .launch(learner(Net::noisy(&device()), 0.01));
        assert!(result.error.is_none());
        result.model
    };
    let sam = || Sam::new(0.05).over(AdamWConfig::new().init()).unwrap();
    let probed = train(Osculate::new(sam()).with_curvature(CurvatureProbe::every(3)));
    assert_identical(&probed, &train(Osculate::new(sam())));
}
