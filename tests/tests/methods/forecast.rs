//! What optimizers keep is what they said before, and no more than their page says for long vectors and
//! narrow matrices.

use std::time::Instant;

use burn::module::{Module, Param, ParamId};
use burn::optim::{AdamWConfig, SgdConfig};
use burn::tensor::{DType, Device, Tensor};
use osculate_optim::registry::{OptimizerKind, OptimizerSpec};
use osculate_optim::{
    ClosureOptimizer, Driver, Forecast, KlShampooConfig, KlSoapConfig, MuonConfig, ParameterGroup,
    PsgdDenseConfig, Select, ShampooConfig, SoapConfig, StatefulOptimizer, StepErrorCause,
};
use osculate_tests::model::{Batch, Fault, Ranked};
use osculate_tests::single::Single;

fn device() -> Device {
    Device::flex().autodiff()
}

fn check(mut optimizer: Driver, dtype: DType, what: &str) {
    let mut model = Ranked::new(&device(), dtype);
    let forecast = optimizer.forecast(&model).unwrap();
    for step in 0..3 {
        let batch = Batch::new(&model, step, true, Fault::None);
        model = optimizer.step(1e-3, model, &batch).unwrap().model;
    }
    // Scalars that a policy has not used yet are not kept.
    let unused = forecast.state_bytes - optimizer.state_bytes();
    let scalars = if what.contains("momo") { 8 } else { 0 };
    assert!(unused <= scalars, "{what}: {unused} bytes too many");
    assert_eq!(forecast.parameter_bytes, 48 * dtype.size());
    // A step makes it neither larger nor smaller.
    assert_eq!(optimizer.forecast(&model).unwrap(), forecast, "{what}");
}

#[test]
fn every_row_of_the_registry_keeps_what_it_forecasts() {
    for kind in OptimizerKind::all() {
        for dtype in [DType::F32, DType::F64, DType::BF16] {
            let optimizer = OptimizerSpec::new(kind).build(1).unwrap();
            check(optimizer, dtype, &format!("{kind}, {dtype:?}"));
        }
    }
    let muon = MuonConfig::new().init().unwrap();
    let parts = muon.for_matrices(AdamWConfig::new().init()).unwrap();
    check(parts, DType::F32, "parts");
}

#[test]
fn a_forecast_of_groups_that_match_nothing_is_an_error() {
    let sgd = Driver::from(SgdConfig::new().init());
    let nowhere = ParameterGroup::new("nowhere", Select::paths(["nowhere"])).with_lr_factor(0.5);
    let error = sgd
        .with_group(nowhere)
        .unwrap()
        .forecast(&Ranked::new(&device(), DType::F32))
        .unwrap_err();
    assert!(
        matches!(&error, StepErrorCause::EmptyGroup { group, .. } if group == "nowhere"),
        "{error}"
    );
}

/// A parameter that is drawn when it is first used: a forecast does not need its values.
fn lazy<const D: usize>(shape: [usize; D]) -> Single<D> {
    let weight = Tensor::<D>::zeros(shape, &device()).require_grad();
    Single {
        weight: Param::initialized(ParamId::new(), weight),
    }
}

fn times<const D: usize>(optimizer: &Driver, shape: [usize; D]) -> (f64, Forecast) {
    let forecast = optimizer.forecast(&lazy(shape)).unwrap();
    let ratio = forecast.state_bytes as f64 / forecast.parameter_bytes as f64;
    (ratio, forecast)
}

#[test]
fn long_axes_have_no_dense_factor() {
    let matrix_methods = [
        ("shampoo", ShampooConfig::new().init().unwrap()),
        ("google", ShampooConfig::google().init().unwrap()),
        ("soap", SoapConfig::new().init().unwrap()),
        ("kl-shampoo", KlShampooConfig::new().init().unwrap()),
        ("kl-soap", KlSoapConfig::new().init().unwrap()),
    ];
    for (name, optimizer) in &matrix_methods {
        let limit = |vector| match (*name, vector) {
            // In blocks of 128.
            ("google", true) => 132.0,
            ("google", false) => 24.0,
            // Blocks of 1024 x 128 have both factors.
            ("shampoo", false) => 12.0,
            _ => 6.0,
        };
        for n in [1025, 100_000, 5_000_000] {
            let (ratio, forecast) = times(optimizer, [n]);
            assert!(ratio <= limit(true), "{name}: {ratio} for a vector of {n}");
            assert!(
                *name == "google" || forecast.refresh < 1e6,
                "{name}: {forecast:?}"
            );
        }
        // Embeddings, the second as long as SOAP's longest axis allows.
        for shape in [[50_257, 8], [8192, 128], [128, 8192]] {
            let (ratio, forecast) = times(optimizer, shape);
            assert!(ratio <= limit(false), "{name}: {ratio} for {shape:?}");
            assert!(forecast.refresh < 1e11, "{name}: {forecast:?}");
            assert_eq!(forecast.largest.as_deref(), Some("weight"));
        }
        // Matrices of usual shapes have both factors.
        let (_, forecast) = times(optimizer, [768, 3072]);
        assert!(forecast.refresh > 0.0, "{name}");
    }
    // As its authors have it, vectors of up to 1024 are whole.
    let (ratio, _) = times(&ShampooConfig::adagrad().init().unwrap(), [1024]);
    assert!(ratio > 1000.0, "{ratio}");
    let (ratio, _) = times(&PsgdDenseConfig::new().init().unwrap(), [1024, 1024]);
    assert!((512.0..515.0).contains(&ratio), "{ratio}");
}

/// Steps on a vector; the time of the second, in seconds.
fn seconds(optimizer: &mut Driver, n: usize) -> f64 {
    let mut model = lazy([n]);
    let loss = |model: &Single<1>| model.weight.val().add_scalar(1.0).square().mean();
    let mut last = 0.0;
    for _ in 0..2 {
        let start = Instant::now();
        let step = optimizer.step(1e-3, model, &loss).unwrap();
        step.report.loss();
        last = start.elapsed().as_secs_f64();
        model = step.model;
    }
    last
}

#[test]
fn a_long_vector_is_kept_and_stepped_in_proportion() {
    let n = 300_000;
    for (name, mut optimizer) in [
        ("shampoo", ShampooConfig::new().init().unwrap()),
        ("soap", SoapConfig::new().init().unwrap()),
    ] {
        let forecast = optimizer.forecast(&lazy([n])).unwrap();
        seconds(&mut optimizer, n);
        assert_eq!(optimizer.state_bytes(), forecast.state_bytes, "{name}");
        assert!(
            forecast.state_bytes < 5 * forecast.parameter_bytes,
            "{name}"
        );
    }
}

/// Prints memory and time for vectors of up to five million elements.
#[test]
#[ignore = "measures: run it alone, with --nocapture"]
fn long_vectors_measured() {
    for n in [100_000, 1_000_000, 5_000_000] {
        for (name, mut optimizer) in [
            ("adamw", Driver::from(AdamWConfig::new().init())),
            ("shampoo", ShampooConfig::new().init().unwrap()),
            ("soap", SoapConfig::new().init().unwrap()),
            ("kl-shampoo", KlShampooConfig::new().init().unwrap()),
        ] {
            let time = seconds(&mut optimizer, n);
            let ratio = optimizer.state_bytes() as f64 / (4 * n) as f64;
            println!("{name}, {n} elements: {ratio:.2} of the parameters, {time:.3} s a step");
        }
    }
}

#[derive(Module, Debug)]
struct Frozen {
    first: Param<Tensor<1>>,
    second: Param<Tensor<2>>,
}

#[test]
fn frozen_parameters_and_other_parts_are_not_counted() {
    let mut model = Frozen {
        first: lazy([10]).weight,
        second: lazy([3, 4]).weight,
    };
    let adamw = || AdamWConfig::new().init();
    let hybrid = MuonConfig::new()
        .init()
        .unwrap()
        .for_matrices(adamw())
        .unwrap();
    let forecast = hybrid.forecast(&model).unwrap();
    assert_eq!(forecast.parameter_bytes, 4 * 22);
    // A momentum, and two moments.
    assert_eq!(forecast.state_bytes, 4 * (12 + 2 * 10));
    model.first = model.first.set_require_grad(false);
    let forecast = hybrid.forecast(&model).unwrap();
    assert_eq!(forecast.parameter_bytes, 4 * 12);
    assert_eq!(forecast.state_bytes, 4 * 12);
}
