//! Files of saved state: what comes back, and what is refused.

use burn::module::{Module, Param};
use burn::optim::{AdamWConfig, SgdConfig};
use burn::tensor::{DType, Device, Tensor};
use osculate_optim::{
    ClosureOptimizer, Driver, RecordError, Sam, StateRecord, StatefulOptimizer, StepErrorCause,
    StepPolicy,
};
use osculate_tests::for_each_optimizer;
use osculate_tests::model::{Batch, Fault, Ranked};
use osculate_tests::subject::Subject;

fn device() -> Device {
    Device::flex().autodiff()
}

fn trained(make: fn(StepPolicy) -> Subject, supervised: bool) -> Subject {
    let mut optimizer = make(StepPolicy::new());
    let mut model = Ranked::new(&device(), DType::F32);
    for step in 0..2 {
        let batch = Batch::new(&model, step, supervised, Fault::None);
        model = optimizer.step(0.01, model, &batch).expect("a step").model;
    }
    optimizer
}

/// A file comes back as it was, replaces an older one, and damage to it is noticed.
fn files(make: fn(StepPolicy) -> Subject, supervised: bool) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("state.bpk");
    let optimizer = trained(make, supervised);
    make(StepPolicy::new()).save(&path).expect("a file");
    optimizer.save(&path).expect("the file again");
    let mut other = make(StepPolicy::new());
    other.load(&path).expect("its own file");
    assert_eq!(other.to_record(), optimizer.to_record());
    assert_eq!(other.state_bytes(), optimizer.state_bytes());
    let left = std::fs::read_dir(folder.path()).expect("a folder").count();
    assert_eq!(left, 1, "a temporary file was left behind");

    let whole = std::fs::read(&path).expect("a file");
    for keep in [0, 10, whole.len() / 2, whole.len() - 1] {
        std::fs::write(&path, &whole[..keep]).expect("a file");
        let before = other.to_record();
        match other.load(&path) {
            Err(error) => assert!(!error.to_string().is_empty()),
            // Without tensors only padding may be missing.
            Ok(()) => assert_eq!(optimizer.state_bytes(), 0, "a truncated file was read"),
        }
        assert_eq!(other.to_record(), before, "a failed load changed the state");
    }
    let missing = folder.path().join("missing.bpk");
    let error = other.load(&missing).expect_err("no file").to_string();
    assert!(error.contains("missing.bpk"), "{error}");
}

/// A model whose parameters have other names than those of the saved state.
#[derive(Module, Debug)]
struct Renamed {
    first: Param<Tensor<1>>,
}

/// State of parameters that the model does not have is refused by name.
fn renamed(
    make: fn(StepPolicy) -> Subject,
    make_other: fn(StepPolicy) -> Subject<Renamed>,
    supervised: bool,
) {
    let record = trained(make, supervised).to_record();
    if record.tensor_names().next().is_none() {
        // Without state there is nothing to lose.
        return;
    }
    let mut optimizer = make_other(StepPolicy::new());
    optimizer.load_record(record).expect("the same optimizer");
    let weight = Tensor::<1>::ones([3], &device()).require_grad();
    let model = Renamed {
        first: Param::initialized(burn::module::ParamId::new(), weight),
    };
    let loss = |model: &Renamed| model.first.val().square().sum();
    let error = optimizer.step(0.1, model, &loss).expect_err("other names");
    let StepErrorCause::State(RecordError::Mismatch { path, .. }) = &error.cause else {
        panic!("{error:?}");
    };
    assert!(path.starts_with("rank"), "{path}");
}

macro_rules! suite {
    ($name:ident, $make:path, $supervised:literal) => {
        mod $name {
            #[test]
            fn files() {
                super::files($make, $supervised);
            }

            #[test]
            fn renamed() {
                super::renamed($make, $make, $supervised);
            }
        }
    };
}

for_each_optimizer!(suite);

#[test]
fn records_of_other_optimizers_are_refused() {
    let record = Driver::from(AdamWConfig::new().init()).to_record();
    let mut sam = Sam::new(0.05).over(SgdConfig::new().init()).expect("valid");
    let error = sam.load_record(record).expect_err("another optimizer");
    assert!(
        matches!(&error, RecordError::WrongOptimizer { expected, found }
            if expected == "sam" && found == "first-order"),
        "{error}"
    );
    let error = StateRecord::from_bytes(b"not a record".to_vec()).expect_err("no record");
    assert!(!error.to_string().is_empty());
}

/// burn would round the state of an `F64` model; it is refused instead.
#[test]
fn a_lossy_reload_is_refused() {
    let base = || Driver::from(AdamWConfig::new().init());
    let mut optimizer: Subject = Box::new(base());
    let model = Ranked::new(&device(), DType::F64);
    let batch = Batch::new(&model, 0, false, Fault::None);
    optimizer.step(0.01, model, &batch).expect("a step");
    let error = base()
        .load_record(optimizer.to_record())
        .expect_err("F64 becomes F32");
    assert!(
        matches!(&error, RecordError::DtypeLost { saved: DType::F64, name, .. }
            if name.contains("rank")),
        "{error}"
    );
}
