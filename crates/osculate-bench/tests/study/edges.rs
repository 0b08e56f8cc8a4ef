//! Races, studies and measurements of nothing, workloads that cannot be trained, files and folders that are
//! others: a typed error or an outcome that says so, never a panic.

use std::fs;
use std::path::{Path, PathBuf};

use burn::module::Module;
use burn::nn::{Linear, LinearConfig};
use burn::tensor::{Device, Tensor};
use osculate::prelude::*;
use osculate_bench::analysis::{Results, analyse};
use osculate_bench::bench_step::bench_steps;
use osculate_bench::cli::{Heat, RaceConfig};
use osculate_bench::entrant::{Entrant, check_labels};
use osculate_bench::error::BenchError;
use osculate_bench::race::{Spectator, race};
use osculate_bench::report;
use osculate_bench::stats::{
    Bootstrap, Time, mean, median, paired_test, profiles, quantile, survival_median,
};
use osculate_bench::study::{Board, Budget, Store, StudyConfig, work};
use osculate_bench::trial::{Outcome, StepTimesSpec, TrialSpec, Watch, interleaved};
use osculate_bench::workload::{About, Metric, Schedule, Workload, WorkloadError, Workloads};

/// A line through points, or what cannot be trained.
#[derive(Default)]
struct Line {
    frozen: bool,
    poisoned: bool,
    no_data: bool,
    steps: usize,
}

impl Workload for Line {
    type Model = Linear;

    fn about(&self) -> About {
        About::new("line", "A line", Metric::loss("error"), self.steps)
    }

    fn model(&self, _: u64, device: &Device) -> Result<Linear, WorkloadError> {
        let model: Linear = LinearConfig::new(1, 1).init(device);
        Ok(if self.frozen { model.no_grad() } else { model })
    }

    fn batch(
        &self,
        _: u64,
        _: usize,
        device: &Device,
    ) -> Result<Box<dyn Objective<Linear>>, WorkloadError> {
        if self.no_data {
            return Err(WorkloadError::new("the points are gone"));
        }
        let value = if self.poisoned { f32::NAN } else { 0.5 };
        let x = Tensor::<2>::full([3, 1], value, device);
        let criterion = Criterion::mse(x.clone().square());
        let forward = |model: &Linear, x: &Tensor<2>| model.forward(x.clone());
        Ok(Box::new(SupervisedBatch::new(x, forward, criterion)))
    }

    fn measure(&self, _: &Linear, _: &Device) -> Result<f64, WorkloadError> {
        Ok(if self.poisoned { f64::NAN } else { 1.0 })
    }
}

struct Silent;

impl Spectator for Silent {
    fn begins(&self, _: &TrialSpec) {}
    fn step(&self, _: usize, _: Option<String>) {}
    fn ends(&self) {}
}

fn adamw() -> Entrant {
    "adamw".parse().unwrap()
}

fn heat(workload: &str) -> Heat {
    Heat {
        steps: Some(2),
        ..Heat::new(workload, vec![adamw()])
    }
}

fn config(heats: Vec<Heat>, seeds: Vec<u64>) -> RaceConfig {
    RaceConfig {
        heats,
        seeds,
        target: None,
        out: PathBuf::from("nowhere"),
    }
}

fn run(workload: Line, config: &RaceConfig) -> Result<Results, BenchError> {
    let workloads = Workloads::empty().with(workload);
    let (device, watch) = (Device::flex(), Watch::default());
    race(config, &workloads, &device, &watch, &Silent)
}

/// The sentence of an error of usage.
fn usage<T>(made: Result<T, BenchError>) -> String {
    match made.map(|_| ()).unwrap_err() {
        BenchError::Usage(text) => text,
        other => panic!("{other}"),
    }
}

#[test]
fn races_of_nothing_are_refused() {
    let bare = Heat {
        entrants: Vec::new(),
        ..heat("line")
    };
    let rateless = Heat {
        entrants: vec![(adamw(), Vec::new())],
        ..heat("line")
    };
    for nothing in [
        config(Vec::new(), vec![0]),
        config(vec![heat("line")], Vec::new()),
        config(vec![bare], vec![0]),
        config(vec![rateless], vec![0]),
    ] {
        let told = usage(run(Line::default(), &nothing));
        assert!(told.contains("at least one workload"), "{told}");
    }
    let told = usage(run(Line::default(), &config(vec![heat("curve")], vec![0])));
    assert!(told.contains("line"), "{told}");
    for steps in [0, usize::MAX] {
        let mut heat = heat("line");
        heat.steps = Some(steps);
        let told = usage(run(Line::default(), &config(vec![heat], vec![0])));
        assert!(told.contains(&format!("a run of {steps} steps")), "{told}");
    }
}

#[test]
fn what_cannot_be_trained_is_an_outcome_or_an_error() {
    let train = |workload: Line, lr: f64| {
        let workloads = Workloads::empty().with(workload);
        let spec = TrialSpec::new("line", adamw(), lr, 3).with_curvature(true);
        let trainer = workloads.get("line").unwrap();
        trainer.train(&spec, &Device::flex(), &Watch::default())
    };
    let failed = |workload: Line, lr: f64| match train(workload, lr).unwrap().outcome {
        Outcome::Failed { message } => message,
        other => panic!("{other:?}"),
    };
    let frozen = Line {
        frozen: true,
        ..Line::default()
    };
    assert!(failed(frozen, 0.1).contains("no parameter has a gradient"));
    for lr in [f64::NAN, -1.0, f64::INFINITY] {
        assert!(failed(Line::default(), lr).contains("rate"));
    }
    let poisoned = Line {
        poisoned: true,
        ..Line::default()
    };
    assert_eq!(train(poisoned, 0.1).unwrap().outcome, Outcome::Diverged);
    let no_data = Line {
        no_data: true,
        ..Line::default()
    };
    let error = train(no_data, 0.1).unwrap_err();
    assert!(matches!(error, BenchError::Workload { .. }), "{error}");
    assert!(error.to_string().contains("the points are gone"), "{error}");
    // And a race of them has a report.
    for workload in [
        Line {
            frozen: true,
            ..Line::default()
        },
        Line {
            poisoned: true,
            ..Line::default()
        },
    ] {
        let results = run(workload, &config(vec![heat("line")], vec![0, 1])).unwrap();
        let folder = tempfile::tempdir().unwrap();
        report::write_all(&results, folder.path()).unwrap();
    }
}

#[test]
fn measurements_of_nothing_are_refused() {
    let shapes = ["2x2".to_string()];
    let (device, watch) = (Device::flex(), Watch::default());
    let steps = |entrants: &[Entrant], shapes: &[String], rounds| {
        usage(bench_steps(entrants, shapes, rounds, &device, &watch))
    };
    assert!(steps(&[], &shapes, 1).contains("--optimizers"));
    assert!(steps(&[adamw()], &[], 1).contains("--shapes"));
    assert!(steps(&[adamw()], &shapes, 0).contains("--rounds"));
    for shape in ["", "x", "0x0", "2x", "-1x2", "99999999999x99999999999"] {
        let shape = shape.to_string();
        let told = steps(&[adamw()], std::slice::from_ref(&shape), 1);
        assert!(told.contains(&format!("--shapes {shape}")), "{told}");
        let told = usage(osculate_bench::memory::measure(&shape, &device));
        assert!(told.contains(&format!("--memory {shape}")), "{told}");
    }
    for (count, rounds, block) in [(0, 1, 1), (1, 0, 1), (1, 1, 0)] {
        let spec = StepTimesSpec {
            entrants: vec![(adamw(), 0.1); count],
            rounds,
            block,
        };
        let model = || Ok(LinearConfig::new(1, 1).init(&device.clone().autodiff()));
        let batch = |_| Err(BenchError::Interrupted);
        usage(interleaved::<Linear>(&spec, model, batch, &watch));
    }
}

fn study() -> StudyConfig {
    StudyConfig {
        workloads: vec!["line".to_string()],
        entrants: vec![adamw()],
        baseline: "adamw".to_string(),
        budget: Budget {
            trials: 1,
            seeds: 1,
            rounds: 0,
            ..Budget::default()
        },
        data: Default::default(),
    }
}

#[test]
fn studies_of_nothing_and_of_others_are_refused() {
    let workloads = Workloads::empty().with(Line {
        steps: 3,
        ..Line::default()
    });
    let folder = tempfile::tempdir().unwrap();
    let (store, whole) = Store::open(folder.path(), Some(&study())).unwrap();
    type Change = fn(&mut StudyConfig);
    let wrong: [(Change, &str); 8] = [
        (|study| study.workloads.clear(), "at least one workload"),
        (|study| study.entrants.clear(), "at least one workload"),
        (|study| study.workloads.push("curve".to_string()), "curve"),
        (
            |study| study.entrants[0].label = "../adamw".to_string(),
            "../adamw",
        ),
        (|study| study.entrants[0].label = String::new(), "invalid"),
        (|study| study.budget.trials = usize::MAX, "--trials"),
        (|study| study.budget.length = f64::INFINITY, "--length"),
        (|study| study.budget.rounds = usize::MAX, "rounds"),
    ];
    for (change, part) in wrong {
        let mut config = study();
        change(&mut config);
        for told in [
            usage(config.validate(&workloads)),
            usage(Board::new(&store, &config, &workloads)),
            usage(work(
                &store,
                &config,
                &workloads,
                &Device::flex(),
                &Watch::default(),
                &|_| (),
            )),
        ] {
            assert!(told.contains(part), "{part} is not in: {told}");
        }
    }
    assert!(check_labels(&[]).is_ok());
    // A study of which nothing is done has a report that says so.
    let board = Board::new(&store, &whole, &workloads).unwrap();
    let results = analyse(&board, &store, &whole, false, &Device::flex()).unwrap();
    assert!(!results.complete);
    report::write_all(&results, folder.path()).unwrap();
}

#[test]
fn files_and_folders_that_are_none_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::write(at("file"), "{}").unwrap();
    fs::create_dir(at("folder")).unwrap();
    let named = |error: BenchError, path: &Path| {
        let told = error.to_string();
        assert!(told.contains(path.to_str().unwrap()), "{told}");
    };
    for name in ["nowhere", "folder", "file"] {
        named(Results::read(&at(name)).unwrap_err(), &at(name));
    }
    for name in ["nowhere", "folder", "file"] {
        let error = Store::open(&at(name), None).map(drop).unwrap_err();
        named(error, &at(name));
    }
    named(
        Store::open(&at("file"), Some(&study()))
            .map(drop)
            .unwrap_err(),
        &at("file"),
    );
    let workloads = || Workloads::empty();
    for name in ["nowhere", "folder", "file"] {
        let path = at(name);
        for made in [
            workloads().with_folders(Some(&path), None),
            workloads().with_folders(None, Some(&path)),
        ] {
            named(made.map(drop).unwrap_err(), &path);
        }
    }
    let results = run(Line::default(), &config(vec![heat("line")], vec![0])).unwrap();
    let error = report::write_all(&results, &at("file")).unwrap_err();
    named(error, &at("file"));
}

#[test]
fn statistics_of_nothing_are_none() {
    assert_eq!(
        (median(&[]), mean(&[]), quantile(&[], 0.5)),
        (None, None, None)
    );
    assert_eq!(quantile(&[2.0], f64::NAN), Some(2.0));
    assert_eq!(survival_median(&[]), None);
    assert_eq!(survival_median(&[Time::censored(f64::NAN)]), None);
    assert!(paired_test(&[f64::INFINITY]).is_none());
    let none = Bootstrap {
        resamples: 0,
        ..Bootstrap::default()
    };
    assert!(none.interval(&[1.0], |_| 1.0).is_none());
    let odd = Bootstrap {
        level: f64::NAN,
        ..Bootstrap::default()
    };
    assert!(odd.interval(&[1.0], |_| 1.0).is_some());
    assert!(profiles(&[Vec::new()], f64::NAN)[0].points.is_empty());
    // An optimizer without a word on the second workload has missed it.
    let found = profiles(&[vec![Some(1.0), Some(1.0)], vec![Some(1.0)]], 4.0);
    assert_eq!((found[0].at(1.0), found[1].at(1.0)), (1.0, 0.5));
    for schedule in [Schedule::Cosine, Schedule::WarmUpCosine, Schedule::Constant] {
        assert!(schedule.factor(9, 0).is_finite());
    }
    let loss = Metric::loss("loss");
    assert!(!loss.reaches(f64::NAN, 1.0) && !loss.show(f64::NAN).is_empty());
}
