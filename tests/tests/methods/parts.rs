//! What each parameter is stepped by: groups with updates of their own, paths that change, and steps that
//! fail half way.

use burn::module::{Module, Param, ParamId};
use burn::optim::AdamWConfig;
use burn::tensor::{DType, Device, Tensor};
use osculate_curvature::{Fallible, Objective, ObjectiveError, ParamVec};
use osculate_optim::registry::OptimizerSpec;
use osculate_optim::{
    AdaHessianConfig, ClosureOptimizer, Driver, Ema, LookSam, Momo, MuonConfig, ParameterGroup,
    RuleError, Sam, ScheduleFree, Select, SoapConfig, SophiaConfig, StatefulOptimizer,
    StepErrorCause, StepSize, StepSizeContext, VectorField, VectorRule, VectorStep,
};
use osculate_tests::layered::{Layers, Targets};
use osculate_tests::subject::{adamw, sgd};
use serde_json::json;

const LR: f64 = 0.01;

fn layers() -> Layers {
    Layers::new(&Device::flex().autodiff(), DType::F32)
}

fn step(driver: &mut Driver, model: Layers, number: usize) -> Layers {
    let batch = Targets::new(&model, number, false);
    driver.step(LR, model, &batch).unwrap().model
}

fn run(driver: &mut Driver, steps: std::ops::Range<usize>, model: Layers) -> Layers {
    steps.fold(model, |model, number| step(driver, model, number))
}

fn spec(name: &str, settings: serde_json::Value) -> Driver {
    let spec: OptimizerSpec = name.parse().unwrap();
    spec.with_overrides(&settings).unwrap().build(0).unwrap()
}

fn head(settings: serde_json::Value) -> serde_json::Value {
    json!({ "groups": [{ "name": "head", "paths": ["matrix"], "settings": settings }] })
}

/// A group's settings are those of the innermost method, under a hybrid and under what goes over it.
#[test]
fn groups_set_the_innermost_method() {
    for (name, inner) in [
        ("muon", json!({ "muon": { "momentum": 0.5 } })),
        (
            "sam(soap)",
            json!({ "base": { "soap": { "beta_1": 0.5 } } }),
        ),
    ] {
        let plain = run(&mut spec(name, json!({})), 0..4, layers());
        let whole = run(&mut spec(name, inner.clone()), 0..4, layers());
        let group = run(&mut spec(name, head(inner)), 0..4, layers());
        assert_ne!(
            plain.values_at("matrix"),
            whole.values_at("matrix"),
            "{name}"
        );
        if name == "muon" {
            // The layers' gradients are apart, and so are Muon's steps.
            assert_eq!(group.values_at("matrix"), whole.values_at("matrix"));
            assert_eq!(group.values_at("same"), plain.values_at("same"));
            assert_eq!(group.values_at("vector"), plain.values_at("vector"));
        } else {
            assert_ne!(group.values_at("matrix"), plain.values_at("matrix"));
        }
    }
}

#[test]
fn what_goes_over_the_whole_model_is_refused_in_a_group() {
    let soap = || SoapConfig::new().init().unwrap();
    let more = [
        Sam::new(0.05).over(soap()).unwrap(),
        Momo::new().over(soap()).unwrap(),
        Ema::new(0.9).over(soap()).unwrap(),
        soap().for_matrices(sgd()).unwrap(),
        soap().with_cautious_mask(),
        soap().with_group(ParameterGroup::without_decay()).unwrap(),
    ];
    for driver in more {
        let name = driver.name().to_string();
        let group = ParameterGroup::new("head", Select::path("matrix")).with_update(driver.clone());
        let error = soap().with_group(group).unwrap_err().to_string();
        assert!(error.contains("a method alone"), "{name}: {error}");
        assert!(soap().for_matrices(driver.clone()).is_err(), "{name}");
        assert!(
            soap().for_selected(Select::rank(2..), driver).is_err(),
            "{name}"
        );
    }
    let spec: OptimizerSpec = "sam(soap)".parse().unwrap();
    let error = spec
        .with_overrides(&head(json!({ "rho": 0.1 })))
        .unwrap_err();
    assert!(error.to_string().contains("rho"), "{error}");
}

#[test]
fn settings_of_roles_are_checked_in_the_first_step() {
    let drivers = [
        Driver::from(sgd()).with_averaging(ScheduleFree::new().with_beta(0.0)),
        Driver::from(sgd()).with_gradient(LookSam::new(-1.0)),
    ];
    for mut driver in drivers {
        let model = layers();
        let batch = Targets::new(&model, 0, false);
        let error = driver.step(LR, model, &batch).unwrap_err();
        assert!(matches!(error.cause, StepErrorCause::Config(_)), "{error}");
    }
}

/// A whole model inside of another.
#[derive(Module, Debug)]
struct Wrapped {
    inner: Layers,
}

#[test]
fn a_model_that_is_wrapped_is_trained_on() {
    for mut driver in [
        SoapConfig::new().init().unwrap(),
        Driver::from(adamw()),
        Ema::new(0.9)
            .over(Momo::new().over(adamw()).unwrap())
            .unwrap(),
        ScheduleFree::new().over(adamw()).unwrap(),
    ] {
        let model = run(&mut driver, 0..3, layers());
        let before = model.values();
        let batch = Targets::new(&model, 3, false);
        let loss = |model: &Wrapped| batch.loss(&model.inner).unwrap();
        let made = driver.step(LR, Wrapped { inner: model }, &loss).unwrap();
        assert!(
            made.model
                .inner
                .values()
                .iter()
                .zip(&before)
                .any(|(a, b)| a != b)
        );
        let record = driver.to_record();
        assert!(
            record
                .tensor_names()
                .all(|name| !name.starts_with("matrix#"))
        );
        driver.load_record(record).unwrap();
        driver.step(LR, made.model, &loss).unwrap();
    }
}

/// A parameter that another update steps from now on starts fresh there, and the record resumes.
#[test]
fn a_parameter_that_changes_its_update_starts_fresh() {
    let groups: [fn() -> ParameterGroup; 3] = [
        || {
            let own = AdaHessianConfig::new().init().unwrap();
            ParameterGroup::new("head", Select::path("matrix")).with_update(own)
        },
        || {
            let own = SoapConfig::new().with_beta_2(0.9).init().unwrap();
            ParameterGroup::new("head", Select::path("matrix")).with_update(own)
        },
        || ParameterGroup::new("head", Select::path("matrix")).with_update(adamw()),
    ];
    for group in groups {
        for base in [SoapConfig::new().init().unwrap(), Driver::from(adamw())] {
            let mut driver = base.clone();
            let model = run(&mut driver, 0..3, layers());
            let mut driver = driver.with_group(group()).unwrap();
            let batch = Targets::new(&model, 3, false);
            let made = driver.step(LR, model, &batch).unwrap();
            let fresh: Vec<&str> = made
                .report
                .fresh()
                .iter()
                .map(|f| f.path.as_str())
                .collect();
            assert_eq!(fresh, ["matrix"]);
            let mut resumed = base.with_group(group()).unwrap();
            resumed.load_record(driver.to_record()).unwrap();
            let on = run(&mut driver, 4..6, made.model.clone());
            let again = run(&mut resumed, 4..6, made.model.rebuilt());
            assert_eq!(on.values(), again.values());
        }
    }
}

/// A policy whose state has another name than it declares.
#[derive(Debug)]
struct Misspelt {
    fails_in: &'static str,
}

impl StepSize for Misspelt {
    fn name(&self) -> &'static str {
        "misspelt"
    }

    fn fields(&self) -> &'static [VectorField] {
        const { &[VectorField::wide("before")] }
    }

    fn factor(&self, context: &mut StepSizeContext<'_>) -> Result<Tensor<1>, RuleError> {
        if self.fails_in == "factor" {
            context.state.vector("befor")?;
        }
        Ok(context.loss.ones_like())
    }

    fn observe(&self, context: &mut StepSizeContext<'_>, _: &ParamVec) -> Result<(), RuleError> {
        context.state.vector("befor").map(|_| ())
    }
}

#[test]
fn a_step_that_fails_after_burns_leaves_its_state_alone() {
    for fails_in in ["factor", "observe"] {
        let mut driver = Driver::from(AdamWConfig::new().init());
        let model = run(&mut driver, 0..2, layers());
        let mut driver = driver.with_step_size(Misspelt { fails_in });
        let before = driver.to_record().to_bytes().unwrap();
        let values = model.values();
        let batch = Targets::new(&model, 2, false);
        let error = driver.step(LR, model, &batch).unwrap_err();
        assert!(matches!(error.cause, StepErrorCause::Rule(_)), "{error}");
        assert_eq!(error.model.values(), values);
        assert_eq!(driver.to_record().to_bytes().unwrap(), before);
    }
}

#[test]
fn an_objective_that_fails_drops_no_state() {
    let mut driver = Driver::from(adamw());
    let model = run(&mut driver, 0..3, layers());
    let before = driver.to_record().to_bytes().unwrap();
    // Another model, once, by mistake.
    let other = layers().rebuilt();
    let fails = Fallible(|_: &Layers| -> Result<Tensor<1>, ObjectiveError> {
        Err(ObjectiveError::new("no data"))
    });
    assert!(driver.step(LR, other, &fails).is_err());
    assert_eq!(driver.to_record().to_bytes().unwrap(), before);
    let batch = Targets::new(&model, 3, false);
    assert_eq!(driver.step(LR, model, &batch).unwrap().report.fresh(), []);
}

/// Gradients as directions, but a NaN for one parameter.
#[derive(Debug, Clone)]
struct Spoilt {
    path: &'static str,
}

impl VectorRule for Spoilt {
    fn name(&self) -> &'static str {
        "spoilt"
    }

    fn step(&self, step: &mut VectorStep<'_>) -> Result<ParamVec, RuleError> {
        Ok(step
            .gradient
            .map(|(entry, g)| match entry.path == self.path {
                true => g.full_like(f64::NAN),
                false => g.clone(),
            }))
    }
}

/// Momo's bound does not become the whole rate because one parameter is left out.
#[test]
fn momo_goes_by_the_parameters_that_move() {
    let factor = |path: &'static str| {
        let driver = Driver::of_vectors(Spoilt { path });
        let mut driver = Momo::new().over(driver).unwrap();
        let model = layers();
        let batch = Targets::new(&model, 0, false);
        let made = driver.step(1e3, model, &batch).unwrap();
        let left: Vec<String> = made
            .report
            .skipped()
            .into_iter()
            .map(|left| left.path)
            .collect();
        (made.report.step_size_factor().unwrap(), left)
    };
    let (sound, none) = factor("nowhere");
    let (spoilt, left) = factor("vector");
    assert_eq!(none, Vec::<String>::new());
    assert_eq!(left, ["vector"]);
    assert!(sound < 0.1 && spoilt < 0.1, "{sound}, {spoilt}");
}

/// A layer whose weight is another's too.
#[derive(Module, Debug)]
struct Tied {
    embedding: Param<Tensor<2>>,
    head: Param<Tensor<2>>,
}

#[test]
fn tied_parameters_are_in_the_groups_of_all_their_paths() {
    let device = Device::flex().autodiff();
    let id = ParamId::new();
    let weight = Tensor::<2>::ones([3, 3], &device).require_grad();
    let model = Tied {
        embedding: Param::initialized(id, weight.clone()),
        head: Param::initialized(id, weight),
    };
    let loss = |model: &Tied| (model.embedding.val() + model.head.val()).square().sum();
    let still = ParameterGroup::new("head", Select::path("head")).with_lr_factor(0.0);
    let mut driver = Driver::from(sgd()).with_group(still).unwrap();
    let made = driver.step(0.1, model, &loss).unwrap();
    let weight = made.model.embedding.val().into_data();
    assert!(weight.iter::<f32>().all(|w| w == 1.0), "{weight}");
}

#[test]
fn what_excludes_one_place_of_a_tied_parameter_excludes_it() {
    let device = Device::flex().autodiff();
    let id = ParamId::new();
    let weight = Tensor::<2>::ones([3, 3], &device).require_grad();
    let model = Tied {
        embedding: Param::initialized(id, weight.clone()),
        head: Param::initialized(id, weight),
    };
    let loss = |model: &Tied| (model.embedding.val() + model.head.val()).square().sum();
    for select in [
        Select::rank(2..).except(Select::path("embedding")),
        !Select::path("head"),
    ] {
        let none = ParameterGroup::new("none", select).with_lr_factor(0.5);
        let mut driver = Driver::from(sgd()).with_group(none).unwrap();
        let error = driver.step(0.1, model.clone(), &loss).unwrap_err();
        let empty = matches!(error.cause, StepErrorCause::EmptyGroup { .. });
        assert!(empty, "{error}");
    }
}

/// Settings of Muon are for its matrices, whatever else the patterns of the group match.
#[test]
fn vectors_in_a_group_of_muon_stay_with_the_rest() {
    let all = json!({ "groups": [{
        "name": "all", "paths": ["*"], "settings": { "muon": { "momentum": 0.5 } },
    }] });
    let whole = json!({ "muon": { "momentum": 0.5 } });
    let want = run(&mut spec("muon", whole), 0..4, layers());
    let got = run(&mut spec("muon", all.clone()), 0..4, layers());
    assert_eq!(got.values(), want.values());
    let mut more = all;
    more["groups"][0]["lr_factor"] = json!(0.5);
    let spec: OptimizerSpec = "muon".parse().unwrap();
    assert!(spec.with_overrides(&more).is_err());
}

#[test]
fn patterns_are_about_whole_parts() {
    use osculate_optim::Parameter;
    let matches = |pattern: &str, path: &str| {
        Select::path(pattern).matches(&Parameter::new(path, &[2, 2], DType::F32))
    };
    assert!(matches("layers.1", "net.layers.1.weight"));
    assert!(!matches("layers.1", "net.layers.10.weight"));
    assert!(!matches("head", "multi_head.weight"));
    assert!(matches("*head*", "multi_head.weight"));
    assert!(matches("layers.*.weight", "net.layers.10.weight"));
    assert!(!matches("layers.*.weight", "net.layers.10.bias"));
    assert!(!matches("a.b.c", "a.b"));
}

/// A second optimizer for the rest goes beside the first in mid-training.
#[test]
fn matrices_keep_their_state_beside_a_new_rest() {
    let soap = SoapConfig::new().init().unwrap();
    let mut alone = soap.clone();
    let model = run(&mut alone, 0..3, layers());
    let mut beside = alone
        .clone()
        .for_matrices(SophiaConfig::h().init().unwrap())
        .unwrap();
    let want = run(&mut alone, 3..5, model.clone());
    let got = run(&mut beside, 3..5, model);
    assert_eq!(got.values_at("matrix"), want.values_at("matrix"));
    assert_ne!(got.values_at("vector"), want.values_at("vector"));
    assert!(
        MuonConfig::new()
            .init()
            .unwrap()
            .for_matrices(beside)
            .is_err()
    );
}
