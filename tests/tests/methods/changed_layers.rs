//! Layers that are forgotten, made anew, wider or of another element type, one by one.

use burn::tensor::{DType, Device};
use osculate_optim::{ClosureOptimizer, StateRecord, StatefulOptimizer, StepPolicy};
use osculate_tests::composed;
use osculate_tests::layered::{Change, Layers, Targets};
use osculate_tests::pack::{entries_of, without};
use osculate_tests::subject::Subject;

type Make = fn(StepPolicy) -> Subject<Layers>;

/// Steps before the change.
const BEFORE: usize = 3;
const LR: f64 = 0.01;

fn bits(values: Vec<f64>) -> Vec<u64> {
    values.into_iter().map(f64::to_bits).collect()
}

/// A parameter that is forgotten starts anew, and no other does.
#[test]
fn forgotten_parameters_start_anew() {
    use osculate_optim::{AdaHessianConfig, Driver, LookSam, MuonConfig, PsgdLraConfig};
    use osculate_tests::subject::{adamw, sgd};

    let muon = MuonConfig::new().init().expect("valid");
    let cases = [
        ("adamw", Driver::from(adamw())),
        ("looksam", LookSam::new(0.05).over(sgd()).expect("valid")),
        ("adahessian", AdaHessianConfig::new().init().expect("valid")),
        ("psgd_lra", PsgdLraConfig::new().init().expect("valid")),
        ("hybrid", muon.for_matrices(adamw()).unwrap()),
        ("momo_shampoo", composed::momo_shampoo()),
        ("schedule_free_soap", composed::schedule_free_soap()),
        ("ema_sam", composed::ema_sam()),
        ("lookahead", composed::lookahead()),
    ];
    let device = Device::flex().autodiff();
    let step = |driver: &mut Driver, model: Layers, number: usize| {
        let batch = Targets::new(&model, number, false);
        let made = driver.step(LR, model, &batch).expect("a step");
        assert_eq!(made.report.fresh(), [], "nothing changed by itself");
        made.model
    };
    for (name, pristine) in cases {
        let loaded = |record: StateRecord| {
            let mut driver = pristine.clone();
            driver.load_record(record).expect("its own record");
            driver
        };
        let (mut driver, mut model) = (pristine.clone(), Layers::new(&device, DType::F32));
        for number in 0..BEFORE {
            model = step(&mut driver, model, number);
        }
        let saved = driver.to_record();
        for path in ["vector", "matrix"] {
            let mut stranger = loaded(without(&saved, &[path]));
            let mut want = model.clone();
            let mut forgetful = [driver.clone(), loaded(saved.clone())];
            let mut got = [model.clone(), model.clone()];
            for driver in &mut forgetful {
                driver.forget(path).expect("it can be forgotten");
                driver.forget(path).expect("nothing is left to forget");
                driver.forget("nowhere").expect("nothing to forget");
                assert_eq!(
                    entries_of(&driver.to_record(), path),
                    Vec::<String>::new(),
                    "{name}"
                );
            }
            for number in BEFORE..BEFORE + 2 {
                want = step(&mut stranger, want, number);
                for (driver, model) in forgetful.iter_mut().zip(&mut got) {
                    *model = step(driver, model.clone(), number);
                    assert_eq!(bits(model.values()), bits(want.values()), "{name}: {path}");
                    assert_eq!(driver.to_record(), stranger.to_record(), "{name}: {path}");
                }
            }
        }
    }
}

/// Methods with matrix factors fit a layer that becomes wider as any other.
#[test]
fn a_wider_layer_is_trained() {
    use osculate_tests::subject;

    let cases: [(&str, Make); 6] = [
        ("psgd_kron", subject::psgd_kron as _),
        ("psgd_lra", subject::psgd_lra as _),
        ("psgd_dense", subject::psgd_dense as _),
        ("psgd_diagonal", subject::psgd_diagonal as _),
        ("shampoo", subject::shampoo as _),
        ("soap", subject::soap as _),
    ];
    let device = Device::flex().autodiff();
    for (name, make) in cases {
        let mut optimizer = make(StepPolicy::new());
        let mut model = Layers::new(&device, DType::F32);
        for number in 0..12 {
            let batch = Targets::new(&model, number, false);
            model = optimizer.step(LR, model, &batch).expect("a step").model;
        }
        // One batch from here on: what is left of its loss is that of a layer that does not move.
        model = model.changed(Change::Wider);
        let start = model.values_at("matrix");
        let mut losses = Vec::new();
        for _ in 0..60 {
            let batch = Targets::new(&model, 12, false);
            let step = optimizer.step(0.02, model, &batch).expect("a step");
            assert_eq!(step.report.skipped(), [], "{name}");
            losses.push(step.report.loss());
            model = step.model;
        }
        let (first, last) = (losses[0], losses[59]);
        assert!(last < 0.5 * first, "{name}: {first} to {last}");
        let ended = model.values_at("matrix");
        let moved = start.iter().zip(&ended).filter(|(a, b)| a != b).count();
        assert_eq!(moved, 36, "{name}: elements that moved");
    }
}

/// Whatever identities burn deals out, a layer that was made anew resumes.
#[test]
fn a_run_with_a_new_layer_resumes_twenty_times() {
    use burn::nn::{Linear, LinearConfig};
    use burn::optim::AdamWConfig;
    use burn::tensor::Tensor;
    use osculate_optim::Driver;

    let device = Device::flex().autodiff();
    let x = Tensor::<2>::from_data([[1.0, -2.0, 0.5], [0.3, 0.7, -1.0]], &device);
    let loss = |model: &Linear| model.forward(x.clone()).square().mean();
    let step = |optimizer: &mut Driver, model: Linear| {
        optimizer.step(0.01, model, &loss).expect("a step").model
    };
    let layer = || LinearConfig::new(3, 2).with_bias(false).init(&device);
    for round in 0..20 {
        let new = || Driver::from(AdamWConfig::new().init());
        let mut optimizer = new();
        let mut model = layer();
        for _ in 0..5 {
            model = step(&mut optimizer, model);
        }
        model = layer();
        for _ in 0..5 {
            model = step(&mut optimizer, model);
        }
        let mut resumed = new();
        let record = StateRecord::from_bytes(optimizer.to_record().to_bytes().expect("a record"))
            .expect("a record");
        resumed.load_record(record).expect("its own record");
        let want = step(&mut optimizer, model.clone());
        let got = step(&mut resumed, model);
        assert_eq!(got.weight.to_data(), want.weight.to_data(), "round {round}");
    }
}

/// A layer of another element type is another layer.
#[test]
fn another_element_type_is_fresh_state() {
    use burn::module::{Module, Param, ParamId};
    use burn::tensor::Tensor;

    /// One weight, of the type that it is made in.
    #[derive(Module, Debug)]
    struct Weight {
        weight: Param<Tensor<1>>,
    }

    let device = Device::flex().autodiff();
    let id = ParamId::new();
    let at = |dtype: DType| {
        let tensor = Tensor::<1>::from_data([1.0, -2.0, 3.0], (&device, dtype));
        let weight = Param::initialized(id, tensor.require_grad());
        Weight { weight }
    };
    let loss = |model: &Weight| model.weight.val().square().sum();
    let cases: [fn(StepPolicy) -> Subject<Weight>; 4] = [
        osculate_tests::subject::first_order_adamw,
        osculate_tests::subject::asam,
        osculate_tests::subject::soap,
        osculate_tests::subject::sophia_h,
    ];
    for make in cases {
        let mut optimizer = make(StepPolicy::new());
        optimizer.step(LR, at(DType::F32), &loss).expect("a step");
        let step = optimizer.step(LR, at(DType::F64), &loss).expect("a step");
        let fresh = step.report.fresh();
        assert_eq!(fresh.len(), 1, "{}", optimizer.name());
        assert_eq!(fresh[0].path, "weight");
        let change = &fresh[0].change;
        assert!(change.contains("F32") && change.contains("F64"), "{change}");
        assert!(step.report.skipped().is_empty());
        assert_eq!(step.model.weight.val().dtype(), DType::F64);
    }
}
