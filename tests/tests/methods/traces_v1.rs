//! The weights and reports of every optimizer along six steps are those of commit b67a7b1, bit for bit.
//!
//! `data/traces_v1.json` was written there, on flex, by
//! `OSCULATE_WRITE_TRACES=1 cargo test -p osculate-tests --test methods traces_v1 -- --ignored`.

use std::path::PathBuf;

use burn::tensor::{DType, Device};
use osculate_optim::ClosureOptimizer;
use osculate_optim::StepPolicy;
use osculate_tests::fixture::{Fixture, bits, folder, from_bits};
use osculate_tests::for_each_optimizer;
use osculate_tests::model::{Batch, Fault, Ranked};
use osculate_tests::subject::Subject;
use serde_json::{Map, Value, json};

const STEPS: usize = 6;

fn path() -> PathBuf {
    folder().join("traces_v1.json")
}

/// What is kept of a step.
struct Kept {
    weights: Vec<f64>,
    /// Numbers of the report. They are kept as `f64`, whatever the model's type is.
    numbers: [(&'static str, Option<f64>); 3],
    forwards: u64,
    backwards: u64,
    curvature_age: Option<usize>,
}

fn run(mut optimizer: Subject, dtype: DType) -> Vec<Kept> {
    let device = Device::flex().autodiff();
    let mut model = Ranked::new(&device, dtype);
    let steps = (0..STEPS).map(|step| {
        let batch = Batch::new(&model, step, true, Fault::None);
        let made = optimizer.step(0.01, model.clone(), &batch).expect("a step");
        model = made.model;
        let report = made.report;
        Kept {
            weights: model.values(),
            numbers: [
                ("loss", Some(report.loss())),
                ("gradient_norm", Some(report.gradient_norm())),
                ("win_rate", report.win_rate()),
            ],
            forwards: report.cost().forwards,
            backwards: report.cost().backwards,
            curvature_age: report.curvature_age(),
        }
    });
    steps.collect()
}

fn policy() -> StepPolicy {
    StepPolicy::new().with_seed(11)
}

fn type_name(dtype: DType) -> &'static str {
    if dtype == DType::F64 { "f64" } else { "f32" }
}

/// Methods that differ from their first traces by rounding: Muon multiplies by its scale before the rate, and
/// what was SAM's flag `adaptive` is ASAM, with ASAM's epsilon.
const ROUNDED: [&str; 2] = ["muon", "sam_adaptive"];
/// Methods whose first traces have the basis of a null space that rounding gave them.
const SETTLED: [&str; 4] = ["kl_shampoo", "shampoo_corrected", "shampoo_eigen", "soap"];

fn replays(name: &str, make: fn(StepPolicy) -> Subject, dtype: DType) {
    let fixture = Fixture::read(&path());
    let subject = name;
    let name = format!("{name}.{}", type_name(dtype));
    let Some(kept) = fixture.get(&name) else {
        // An optimizer that there was not yet.
        return;
    };
    let run = run(make(policy()), dtype);
    assert_eq!(kept.as_array().map(Vec::len), Some(run.len()), "{name}");
    for (step, got) in run.into_iter().enumerate() {
        let kept = &kept[step];
        let what = |field: &str| format!("{name}, {field} of step {step}");
        if ROUNDED.contains(&subject) || SETTLED.contains(&subject) {
            let want = from_bits(&kept["weights"], dtype);
            let tolerance = match (SETTLED.contains(&subject), dtype) {
                // Steps have the length 0.01.
                (true, _) => 0.02,
                (false, DType::F64) => 1e-10,
                (false, _) => 1e-3,
            };
            for (got, want) in got.weights.iter().zip(&want) {
                assert!((got - want).abs() <= tolerance, "{}", what("weights"));
            }
            continue;
        }
        fixture.check(&got.weights, &kept["weights"], dtype, &what("weights"));
        for (field, number) in got.numbers {
            match number {
                Some(number) => fixture.check(&[number], &kept[field], DType::F64, &what(field)),
                None => assert!(kept[field].is_null(), "{}", what(field)),
            }
        }
        assert_eq!(kept["forwards"], got.forwards, "{}", what("forwards"));
        assert_eq!(kept["backwards"], got.backwards, "{}", what("backwards"));
        let age = json!(got.curvature_age);
        assert_eq!(kept["curvature_age"], age, "{}", what("curvature age"));
    }
}

macro_rules! suite {
    ($name:ident, $make:path, $supervised:literal) => {
        mod $name {
            use super::*;

            #[test]
            fn flex_f32() {
                replays(stringify!($name), $make, DType::F32);
            }

            #[test]
            fn flex_f64() {
                replays(stringify!($name), $make, DType::F64);
            }
        }
    };
}

for_each_optimizer!(suite);

#[test]
fn every_trace_is_replayed() {
    let mut names: Vec<&str> = Vec::new();
    macro_rules! collect {
        ($name:ident, $make:path, $supervised:literal) => {
            names.push(stringify!($name));
        };
    }
    for_each_optimizer!(collect);
    for trace in Fixture::read(&path()).names() {
        let (name, dtype) = trace.rsplit_once('.').expect("a name with a type");
        assert!(names.contains(&name), "no optimizer replays {trace}");
        assert!(["f32", "f64"].contains(&dtype), "{trace}");
    }
}

fn entry(optimizer: Subject, dtype: DType) -> Value {
    let steps = run(optimizer, dtype).into_iter().map(|step| {
        let mut entry = json!({
            "weights": bits(&step.weights, dtype),
            "forwards": step.forwards,
            "backwards": step.backwards,
            "curvature_age": step.curvature_age,
        });
        for (field, number) in step.numbers {
            entry[field] = match number {
                Some(number) => bits(&[number], DType::F64),
                None => Value::Null,
            };
        }
        entry
    });
    steps.collect()
}

#[test]
#[ignore = "writes the traces: for the commit whose traces they are"]
fn write() {
    let asked = std::env::var_os("OSCULATE_WRITE_TRACES").is_some();
    assert!(asked, "set OSCULATE_WRITE_TRACES=1 to write the traces");
    assert!(!path().exists(), "traces are written once");
    let mut entries = Map::new();
    macro_rules! write {
        ($name:ident, $make:path, $supervised:literal) => {
            for dtype in [DType::F32, DType::F64] {
                let name = format!("{}.{}", stringify!($name), type_name(dtype));
                entries.insert(name, entry($make(policy()), dtype));
            }
        };
    }
    for_each_optimizer!(write);
    Fixture::write(&path(), entries);
}
