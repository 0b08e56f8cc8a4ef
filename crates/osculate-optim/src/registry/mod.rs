//! Every optimizer by name, with its settings as data: for programs whose users choose the optimizer
//! in a flag or a file.
//!
//! ```
//! use burn::nn::{Linear, LinearConfig};
//! use burn::tensor::{Device, Tensor};
//! use osculate_optim::ClosureOptimizer;
//! use osculate_optim::registry::OptimizerSpec;
//! use serde_json::json;
//!
//! let spec: OptimizerSpec = "sam(adamw)".parse()?;
//! let spec = spec.with_overrides(&json!({ "rho": 0.1, "base": { "adamw": { "beta_1": 0.8 } } }))?;
//! let mut optimizer = spec.make::<Linear>(42)?;
//!
//! let device = Device::flex().autodiff();
//! let model = LinearConfig::new(2, 1).init(&device);
//! let x = Tensor::<2>::ones([4, 2], &device);
//! let loss = |model: &Linear| model.forward(x.clone()).square().mean();
//! let step = optimizer.step(spec.learning_rate(), model, &loss)?;
//! # drop(step);
//!
//! let wrong = spec.with_overrides(&json!({ "roh": 0.1 }));
//! assert!(wrong.unwrap_err().to_string().contains("rho"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod burn_rows;
mod group;
mod kind;
mod merge;
mod settings;
mod spec;

pub use kind::{OptimizerKind, OptimizerRow, UnknownOptimizer, register};
pub use settings::{settings_of, words_of};
pub use spec::{OptimizerSpec, SpecError};

use burn::config::Config;
use serde_json::{Value, json};

use crate::driver::{Driver, ParameterGroup, Select};
use crate::optimizers::{MuonConfig, NorMuonConfig};

/// A configuration as settings.
///
/// # Errors
/// [`SpecError::Type`] for one that cannot be written as JSON.
pub fn to_value<C: Config>(config: &C) -> Result<Value, SpecError> {
    // By way of text, in which an `f32` of 0.01 is 0.01 and not the nearest `f64` to it.
    let value = serde_json::to_string(config).and_then(|text| serde_json::from_str(&text));
    value.map_err(|error| spec::type_error::<C>("settings", &error))
}

/// A configuration from settings; `path` names them in errors.
///
/// # Errors
/// [`SpecError::Type`] for a setting that is missing or of another type.
pub fn read<C: Config>(settings: &Value, path: &str) -> Result<C, SpecError> {
    serde_json::from_value(settings.clone()).map_err(|error| spec::type_error::<C>(path, &error))
}

/// The one name and its settings in `{ name: settings }`.
fn only_entry<'a>(value: &'a Value, path: &str) -> Result<(&'a str, &'a Value), SpecError> {
    let entry = value.as_object().filter(|object| object.len() == 1);
    let entry = entry.and_then(|object| object.iter().next());
    let (name, settings) = entry.ok_or_else(|| SpecError::Base {
        path: path.to_string(),
        value: value.to_string(),
    })?;
    Ok((name, settings))
}

fn under(settings: &Value, key: &str) -> Result<Driver, SpecError> {
    let (name, inner) = only_entry(&settings[key], key)?;
    let kind: OptimizerKind = name.parse().map_err(|source| SpecError::UnknownBase {
        path: key.to_string(),
        source,
    })?;
    spec::build_of(kind, inner)
}

/// The optimizer under `base`, of rows that go over another.
///
/// # Errors
/// As [`OptimizerSpec::build`].
pub fn base_of(settings: &Value) -> Result<Driver, SpecError> {
    under(settings, "base")
}

/// Settings with another optimizer's defaults under `base`.
///
/// # Errors
/// [`SpecError::UnknownBase`] for a name that no optimizer has.
pub fn over_base(mut settings: Value, base: &'static str) -> Result<Value, SpecError> {
    let kind: OptimizerKind = base.parse().map_err(|source| SpecError::UnknownBase {
        path: "base".to_string(),
        source,
    })?;
    settings["base"] = json!({ base: (kind.row().defaults)()? });
    Ok(settings)
}

/// [`over_base`] with SGD, the usual base of the sharpness-aware family.
///
/// # Errors
/// None.
pub fn over_sgd(settings: Value) -> Result<Value, SpecError> {
    over_base(settings, "sgd")
}

/// [`over_sgd`] without momentum, for methods that have one of their own.
///
/// # Errors
/// None.
pub fn over_plain_sgd(settings: Value) -> Result<Value, SpecError> {
    let mut settings = over_sgd(settings)?;
    settings["base"]["sgd"]["momentum"] = Value::Null;
    Ok(settings)
}

/// Makes a method for matrices of its own settings, at a path.
type Alone = fn(&Value, &str) -> Result<Driver, SpecError>;

fn muon(settings: &Value, path: &str) -> Result<Driver, SpecError> {
    Ok(read::<MuonConfig>(settings, path)?.init()?)
}

fn normuon(settings: &Value, path: &str) -> Result<Driver, SpecError> {
    Ok(read::<NorMuonConfig>(settings, path)?.init()?)
}

/// What makes the method of a kind that is for matrices, whose settings have it under its own name.
fn for_matrices(kind: OptimizerKind) -> Option<Alone> {
    match kind.name() {
        "muon" => Some(muon),
        "normuon" => Some(normuon),
        _ => None,
    }
}

/// Muon for matrices, another optimizer for the rest.
pub(crate) fn build_muon(settings: &Value) -> Result<Driver, SpecError> {
    with_rest(muon(&settings["muon"], "muon")?, settings)
}

/// The same with NorMuon.
pub(crate) fn build_normuon(settings: &Value) -> Result<Driver, SpecError> {
    with_rest(normuon(&settings["normuon"], "normuon")?, settings)
}

/// What a method for matrices steps: all but those that its settings except.
fn matrices(settings: &Value) -> Result<Select, SpecError> {
    let except: Vec<String> = spec::read_plain(&settings["except"], "except")?;
    Ok(Select::rank(2..).except(Select::paths(except)))
}

fn with_rest(method: Driver, settings: &Value) -> Result<Driver, SpecError> {
    let rest_lr: f64 = spec::read_plain(&settings["rest_lr"], "rest_lr")?;
    let matrices = matrices(settings)?;
    let rest = ParameterGroup::new("rest", !matrices.clone())
        .with_lr_factor(rest_lr)
        .optional();
    Ok(method
        .for_some_matrices(matrices, under(settings, "rest")?)?
        .with_group(rest)?)
}
