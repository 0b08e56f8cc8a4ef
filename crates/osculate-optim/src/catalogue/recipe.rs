use burn::config::Config;
use burn::module::{Module, ParamGroup};
use burn::optim::AdamWConfig;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use thiserror::Error;

use super::base;
use super::merge::merge;
use super::method::Method;
use crate::{
    AdaHessianConfig, AsamConfig, ClosureOptimizer, ConfigError, FirstOrder, GsamConfig, Hybrid,
    KlShampooConfig, KlSoapConfig, LookSamConfig, MuonConfig, PsgdDenseConfig, PsgdDiagonalConfig,
    PsgdKronConfig, PsgdLraConfig, SamConfig, ShampooConfig, SoapConfig, SophiaConfig, StepPolicy,
};

/// Why settings make no optimizer.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RecipeError {
    /// A setting that the optimizer does not have.
    #[error("unknown setting `{path}`; there are {}", known.join(", "))]
    UnknownSetting {
        /// Where, with dots.
        path: String,
        /// The settings at that place.
        known: Vec<String>,
    },

    /// A setting of the wrong type.
    #[error("{config} at `{path}`: {message}")]
    Type {
        /// The configuration that was read.
        config: &'static str,
        /// Where, with dots; `settings` is the whole.
        path: String,
        /// What was expected.
        message: String,
    },

    /// A value out of its range.
    #[error(transparent)]
    Config(#[from] ConfigError),

    /// A base optimizer that is not one name with its settings.
    #[error("`{path}` = {value} is invalid, expected {{ name: settings }} with one of {}", base::NAMES.join(", "))]
    Base {
        /// Where, with dots.
        path: String,
        /// The value given.
        value: String,
    },

    /// A base optimizer that does not exist.
    #[error("`{path}`: no burn optimizer is called `{name}`; there are {}", base::NAMES.join(", "))]
    UnknownBase {
        /// Where, with dots.
        path: String,
        /// The name given.
        name: String,
    },
}

/// An optimizer's name with all its settings: what a configuration file holds.
///
/// The settings are those of the configuration's type, by field, as JSON. Those of a method over a
/// base optimizer have the base under `base`, as `{ "adamw": { .. } }`; Muon's are
/// `{ "muon": { .. }, "rest": { "adamw": { .. } }, "rest_lr": 0.5, "except": [] }`, with the
/// paths whose matrices are not for Muon under `except`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Recipe {
    method: Method,
    settings: Value,
}

pub(super) fn to_value<C: Config>(config: &C) -> Result<Value, RecipeError> {
    // By way of text, in which an `f32` of 0.01 is 0.01 and not the nearest `f64` to it.
    let value = serde_json::to_string(config).and_then(|text| serde_json::from_str(&text));
    value.map_err(|error| type_error::<C>("settings", &error))
}

pub(super) fn read<C: Config>(settings: &Value, path: &str) -> Result<C, RecipeError> {
    serde_json::from_value(settings.clone()).map_err(|error| type_error::<C>(path, &error))
}

fn type_error<C: Config>(path: &str, error: &serde_json::Error) -> RecipeError {
    RecipeError::Type {
        config: base::config_name::<C>(),
        path: path.to_string(),
        message: error.to_string(),
    }
}

/// AdamW's learning rate beside Muon's, as a part of it: of 0.3 and 0.5, which differ little on other
/// networks, the better on a transformer of characters.
const REST_LR: f64 = 0.5;

impl Recipe {
    /// A method with its default settings.
    pub fn new(method: Method) -> Self {
        // Defaults are plain numbers and names: they can always be written as JSON.
        let settings = defaults(method).unwrap_or(Value::Null);
        Self { method, settings }
    }

    /// Lays settings over those there are, object by object. Another variant of an enum, and another
    /// base optimizer, take the place of the one there is.
    ///
    /// # Errors
    /// [`RecipeError`] for a setting that does not exist, has another type, or is out of its range.
    pub fn with_overrides(mut self, overrides: &Value) -> Result<Self, RecipeError> {
        if !overrides.is_object() {
            return Err(RecipeError::Type {
                config: "settings",
                path: "settings".to_string(),
                message: format!("{overrides} is invalid, expected an object"),
            });
        }
        merge(&mut self.settings, overrides, "")?;
        self.make::<burn::nn::Linear>(0)?;
        Ok(self)
    }

    /// The method.
    pub fn method(&self) -> Method {
        self.method
    }

    /// All settings.
    pub fn settings(&self) -> &Value {
        &self.settings
    }

    /// As [`Method::learning_rate`].
    pub fn learning_rate(&self) -> f64 {
        self.method.learning_rate()
    }

    /// The optimizer, behind the closure door, for a run with this seed: it takes the place of the
    /// policy's.
    ///
    /// # Errors
    /// [`RecipeError`], where the recipe was read from elsewhere than
    /// [`with_overrides`](Self::with_overrides).
    pub fn make<M: Module>(&self, seed: u64) -> Result<Box<dyn ClosureOptimizer<M>>, RecipeError> {
        let mut settings = self.settings.clone();
        let place = match self.method {
            Method::Muon => "/muon/policy",
            _ => "/policy",
        };
        let policy = settings.pointer_mut(place).and_then(Value::as_object_mut);
        // What has no policy is refused below, where it is read.
        if let Some(policy) = policy {
            policy.insert("seed".to_string(), json!(seed));
        }
        let at = &settings;
        let name = "settings";
        Ok(match self.method {
            Method::Sgd
            | Method::Adam
            | Method::AdamW
            | Method::AdaGrad
            | Method::RmsProp
            | Method::Adan
            | Method::Lamb
            | Method::Lion => {
                let optimizer = base::build(self.method.name(), at, name)?;
                let policy: StepPolicy = read(&at["policy"], "policy")?;
                Box::new(FirstOrder::new(optimizer).with_policy(policy)?)
            }
            Method::Sam => Box::new(read::<SamConfig>(at, name)?.init(base::under(at, "base")?)?),
            Method::Asam => Box::new(read::<AsamConfig>(at, name)?.init(base::under(at, "base")?)?),
            Method::Gsam => Box::new(read::<GsamConfig>(at, name)?.init(base::under(at, "base")?)?),
            Method::LookSam => {
                Box::new(read::<LookSamConfig>(at, name)?.init(base::under(at, "base")?)?)
            }
            Method::AdaHessian => Box::new(read::<AdaHessianConfig>(at, name)?.init()?),
            Method::SophiaH | Method::SophiaG => Box::new(read::<SophiaConfig>(at, name)?.init()?),
            Method::Shampoo => Box::new(read::<ShampooConfig>(at, name)?.stacked()?),
            Method::Soap => Box::new(read::<SoapConfig>(at, name)?.stacked()?),
            Method::KlShampoo => Box::new(read::<KlShampooConfig>(at, name)?.stacked()?),
            Method::KlSoap => Box::new(read::<KlSoapConfig>(at, name)?.stacked()?),
            Method::PsgdKron => Box::new(read::<PsgdKronConfig>(at, name)?.stacked()?),
            Method::PsgdLra => Box::new(read::<PsgdLraConfig>(at, name)?.stacked()?),
            Method::PsgdDense => Box::new(read::<PsgdDenseConfig>(at, name)?.stacked()?),
            Method::PsgdDiagonal => Box::new(read::<PsgdDiagonalConfig>(at, name)?.stacked()?),
            Method::Muon => {
                let matrix = read::<MuonConfig>(&at["muon"], "muon")?.stacked()?;
                let mut hybrid = Hybrid::by_rank(matrix, base::under(at, "rest")?);
                let except: Vec<String> = read_plain(&at["except"], "except")?;
                if !except.is_empty() {
                    hybrid = hybrid.except(ParamGroup::from_any_predicates(except));
                }
                Box::new(hybrid.with_rest_lr(read_plain(&at["rest_lr"], "rest_lr")?)?)
            }
        })
    }
}

fn read_plain<T: serde::de::DeserializeOwned>(
    value: &Value,
    path: &'static str,
) -> Result<T, RecipeError> {
    serde_json::from_value(value.clone()).map_err(|error| RecipeError::Type {
        config: "settings",
        path: path.to_string(),
        message: error.to_string(),
    })
}

fn defaults(method: Method) -> Result<Value, RecipeError> {
    let over_sgd = |mut settings: Value| {
        settings["base"] = base::sgd()?;
        Ok(settings)
    };
    match method {
        Method::Sgd
        | Method::Adam
        | Method::AdamW
        | Method::AdaGrad
        | Method::RmsProp
        | Method::Adan
        | Method::Lamb
        | Method::Lion => {
            let mut settings = base::defaults(method.name(), "settings")?;
            settings["policy"] = to_value(&StepPolicy::new())?;
            Ok(settings)
        }
        Method::Sam => over_sgd(to_value(&SamConfig::new())?),
        Method::Asam => over_sgd(to_value(&AsamConfig::new())?),
        Method::Gsam => over_sgd(to_value(&GsamConfig::new())?),
        Method::LookSam => over_sgd(to_value(&LookSamConfig::new())?),
        Method::AdaHessian => to_value(&AdaHessianConfig::new()),
        Method::SophiaH => to_value(&SophiaConfig::h()),
        Method::SophiaG => to_value(&SophiaConfig::g()),
        Method::Shampoo => to_value(&ShampooConfig::new()),
        Method::Soap => to_value(&SoapConfig::new()),
        Method::KlShampoo => to_value(&KlShampooConfig::new()),
        Method::KlSoap => to_value(&KlSoapConfig::new()),
        Method::PsgdKron => to_value(&PsgdKronConfig::new()),
        Method::PsgdLra => to_value(&PsgdLraConfig::new()),
        Method::PsgdDense => to_value(&PsgdDenseConfig::new()),
        Method::PsgdDiagonal => to_value(&PsgdDiagonalConfig::new()),
        Method::Muon => Ok(json!({
            "muon": to_value(&MuonConfig::new())?,
            "rest": { "adamw": to_value(&AdamWConfig::new().with_weight_decay(1e-2))? },
            "rest_lr": REST_LR,
            "except": [],
        })),
    }
}

#[cfg(test)]
mod tests;
