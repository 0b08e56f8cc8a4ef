use std::fmt;
use std::str::FromStr;

use burn::config::Config;
use burn::module::Module;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use thiserror::Error;

use super::group::GroupSpec;
use super::kind::{OptimizerKind, UnknownOptimizer};
use super::merge::{complete, merge};
use super::{only_entry, read, to_value};
use crate::config::ConfigError;
use crate::driver::{Driver, StepPolicy};
use crate::optimizer::ClosureOptimizer;

/// Why settings make no optimizer.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SpecError {
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

    /// A value out of its range, or optimizers that do not go over each other.
    #[error(transparent)]
    Config(#[from] ConfigError),

    /// A base optimizer that is not one name with its settings.
    #[error(
        "`{path}` = {value} is invalid, expected {{ name: settings }} with one of {}",
        names()
    )]
    Base {
        /// Where, with dots.
        path: String,
        /// The value given.
        value: String,
    },

    /// A base optimizer that does not exist.
    #[error("`{path}`: {source}")]
    UnknownBase {
        /// Where, with dots.
        path: String,
        /// The name given, and those there are.
        source: UnknownOptimizer,
    },

    /// A composition such as `sam(soap)` that cannot be read.
    #[error(
        "{text:?} is invalid: {problem}; expected a name, or one over another as in `sam(soap)`"
    )]
    Composition {
        /// The text.
        text: String,
        /// What is wrong.
        problem: String,
    },

    /// An optimizer that goes over no other.
    #[error(
        "`{outer}` goes over no other optimizer; those that do are {}",
        outer_names()
    )]
    NotOver {
        /// Its name.
        outer: String,
    },

    /// A word of a command line that is not `key=value`.
    #[error("--set {word:?} is invalid, expected KEY=VALUE such as --set beta_2=0.99")]
    Word {
        /// The word given.
        word: String,
    },

    /// The name of a registered row that another has.
    #[error("an optimizer is called `{name}` already")]
    NameTaken {
        /// The name.
        name: String,
    },
}

fn names() -> String {
    let names = OptimizerKind::all();
    names
        .iter()
        .map(|kind| kind.name())
        .collect::<Vec<_>>()
        .join(", ")
}

fn outer_names() -> String {
    let kinds = OptimizerKind::all().into_iter();
    let outer = kinds.filter(|kind| OptimizerSpec::new(*kind).base().is_some());
    outer
        .map(OptimizerKind::name)
        .collect::<Vec<_>>()
        .join(", ")
}

/// An optimizer's name with all its settings: what a configuration file holds.
///
/// As text it is a name, or one over another: `soap`, `sam(soap)`, `schedule-free(momo(sam(adamw)))`.
///
/// The settings are those of the configuration's type, by field, as JSON. What goes over another optimizer
/// has it under `base`, as `{ "soap": { .. } }`; Muon's are
/// `{ "muon": { .. }, "rest": { "adamw": { .. } }, "rest_lr": 0.5, "except": [] }`, with the paths whose
/// matrices are not for Muon under `except`. All have the [`StepPolicy`] under `policy`, and parameter
/// groups under `groups`: `[{ "name": "norms", "rank_below": 2, "weight_decay": 0.0 }]`, see the guide.
///
/// ```
/// use osculate_optim::registry::OptimizerSpec;
/// use serde_json::json;
///
/// let spec: OptimizerSpec = "sam(soap)".parse()?;
/// let spec = spec.with_overrides(&json!({ "rho": 0.1, "base": { "soap": { "beta_1": 0.9 } } }))?;
/// assert_eq!(spec.to_string(), "sam(soap)");
/// assert!("soap(sam)".parse::<OptimizerSpec>().unwrap_err().to_string().contains("schedule-free"));
/// # Ok::<(), osculate_optim::registry::SpecError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(from = "Written")]
pub struct OptimizerSpec {
    #[serde(rename = "method")]
    kind: OptimizerKind,
    settings: Value,
}

/// A spec as it is written.
#[derive(Deserialize)]
struct Written {
    #[serde(rename = "method")]
    kind: OptimizerKind,
    settings: Value,
}

impl From<Written> for OptimizerSpec {
    fn from(written: Written) -> Self {
        let mut spec = Self {
            kind: written.kind,
            settings: written.settings,
        };
        spec.share();
        spec
    }
}

impl OptimizerSpec {
    /// An optimizer with its default settings.
    pub fn new(kind: OptimizerKind) -> Self {
        // Defaults are plain numbers and names: they can always be written as JSON.
        let settings = (kind.row().defaults)().unwrap_or(Value::Null);
        let mut spec = Self { kind, settings };
        spec.share();
        spec
    }

    /// Adds the settings that all optimizers share where they are missing. The first files of Muon have the
    /// policy one level down.
    fn share(&mut self) {
        let Value::Object(settings) = &mut self.settings else {
            return;
        };
        let inner = settings.get_mut("muon").and_then(Value::as_object_mut);
        let first = inner.and_then(|muon| muon.remove("policy"));
        let usual = to_value(&StepPolicy::new()).unwrap_or(Value::Null);
        let policy = settings.entry("policy");
        policy.or_insert(first.unwrap_or(usual));
        settings.entry("groups").or_insert_with(|| json!([]));
    }

    /// Lays settings over those there are, object by object. Another variant of an enum, and another
    /// base optimizer, take the place of the one there is.
    ///
    /// # Errors
    /// [`SpecError`] for a setting that does not exist, has another type, or is out of its range.
    pub fn with_overrides(mut self, overrides: &Value) -> Result<Self, SpecError> {
        if !overrides.is_object() {
            return Err(SpecError::Type {
                config: "settings",
                path: "settings".to_string(),
                message: format!("{overrides} is invalid, expected an object"),
            });
        }
        merge(&mut self.settings, overrides, "")?;
        self.build(0)?;
        Ok(self)
    }

    /// This over another optimizer, as `sam(soap)`.
    ///
    /// # Errors
    /// [`SpecError::NotOver`] for one that goes over no other, [`SpecError::Config`] where the two do not
    /// go together.
    pub fn over(mut self, base: &Self) -> Result<Self, SpecError> {
        if self.base().is_none() {
            return Err(SpecError::NotOver {
                outer: self.kind.name().to_string(),
            });
        }
        let mut settings = base.settings.clone();
        if let Value::Object(settings) = &mut settings {
            settings.remove("policy");
            settings.remove("groups");
        }
        let base = Map::from_iter([(base.kind.name().to_string(), settings)]);
        self.settings["base"] = Value::Object(base);
        self.build(0)?;
        Ok(self)
    }

    /// The outermost optimizer.
    pub fn kind(&self) -> OptimizerKind {
        self.kind
    }

    /// All settings.
    pub fn settings(&self) -> &Value {
        &self.settings
    }

    /// What it is over.
    pub fn base(&self) -> Option<Self> {
        let (name, settings) = only_entry(self.settings.get("base")?, "base").ok()?;
        let mut base = Self {
            kind: name.parse().ok()?,
            settings: settings.clone(),
        };
        base.share();
        Some(base)
    }

    /// A peak learning rate to start a search from: its own over its usual base, the base's over another. Prodigy's
    /// is a factor of the rate that it finds, whatever it is over.
    pub fn learning_rate(&self) -> f64 {
        let usual = Self::new(self.kind).base();
        match (self.base(), usual) {
            _ if self.kind == OptimizerKind::PRODIGY => self.kind.learning_rate(),
            (Some(base), Some(usual)) if base.kind != usual.kind => base.learning_rate(),
            _ => self.kind.learning_rate(),
        }
    }

    /// Gradient evaluations a step with the default settings.
    pub fn gradients(&self) -> f64 {
        let base = self.base().map_or(1.0, |base| base.gradients());
        self.kind.gradients() + base - 1.0
    }

    /// The optimizer for a run with this seed: it takes the place of the policy's.
    ///
    /// # Errors
    /// [`SpecError`], where the spec was read from elsewhere than
    /// [`with_overrides`](Self::with_overrides).
    pub fn make<M: Module>(&self, seed: u64) -> Result<Box<dyn ClosureOptimizer<M>>, SpecError> {
        Ok(Box::new(self.build(seed)?))
    }

    /// The same as a driver, to put more over it.
    ///
    /// # Errors
    /// As [`make`](Self::make).
    pub fn build(&self, seed: u64) -> Result<Driver, SpecError> {
        let policy = match self.settings.get("policy") {
            Some(policy) => read(policy, "policy")?,
            None => StepPolicy::new(),
        };
        let driver = build_of(self.kind, &self.settings)?;
        let mut driver = driver.with_policy(policy)?.with_seed(seed);
        let groups: Vec<GroupSpec> = match self.settings.get("groups") {
            Some(groups) => read_plain(groups, "groups")?,
            None => Vec::new(),
        };
        for group in groups {
            driver = driver.with_group(group.build(self)?)?;
        }
        Ok(driver)
    }
}

/// Makes the optimizer of a kind without policy and groups. A setting that is not given, as in files from
/// before there was it, has its default.
pub(crate) fn build_of(kind: OptimizerKind, settings: &Value) -> Result<Driver, SpecError> {
    let mut whole = settings.clone();
    let defaults = (kind.row().defaults)()?;
    if let (Value::Object(given), Value::Object(known)) = (&whole, &defaults) {
        // A switch that is gone may be given where it is off.
        let matters = |value: &Value| !matches!(value, Value::Null | Value::Bool(false));
        let unknown = given.iter().find(|(key, value)| {
            !known.contains_key(*key) && !SHARED.contains(&key.as_str()) && matters(value)
        });
        if let Some((key, _)) = unknown {
            return Err(SpecError::UnknownSetting {
                path: key.clone(),
                known: known.keys().cloned().collect(),
            });
        }
    }
    complete(&mut whole, &defaults);
    (kind.row().build)(&whole)
}

/// Settings that every optimizer has beside its own.
const SHARED: [&str; 2] = ["policy", "groups"];

impl fmt::Display for OptimizerSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind.name())?;
        let usual = Self::new(self.kind).base();
        match (self.base(), usual) {
            (Some(base), Some(usual)) if base.kind != usual.kind => write!(f, "({base})"),
            _ => Ok(()),
        }
    }
}

impl FromStr for OptimizerSpec {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        let wrong = |problem: String| SpecError::Composition {
            text: text.to_string(),
            problem,
        };
        let text = text.trim();
        let (name, inner) = match text.split_once('(') {
            None => (text, None),
            Some((name, rest)) => {
                let inner = rest.strip_suffix(')');
                (
                    name,
                    Some(inner.ok_or_else(|| wrong("a bracket is not closed".into()))?),
                )
            }
        };
        let kind: OptimizerKind = name
            .trim()
            .parse()
            .map_err(|error: UnknownOptimizer| wrong(error.to_string()))?;
        match inner {
            None => Ok(Self::new(kind)),
            Some(inner) => Self::new(kind).over(&inner.parse()?),
        }
    }
}

impl From<OptimizerKind> for OptimizerSpec {
    fn from(kind: OptimizerKind) -> Self {
        Self::new(kind)
    }
}

pub(super) fn read_plain<T: serde::de::DeserializeOwned>(
    value: &Value,
    path: &'static str,
) -> Result<T, SpecError> {
    serde_json::from_value(value.clone()).map_err(|error| SpecError::Type {
        config: "settings",
        path: path.to_string(),
        message: error.to_string(),
    })
}

pub(super) fn type_error<C: Config>(path: &str, error: &serde_json::Error) -> SpecError {
    let name = std::any::type_name::<C>();
    SpecError::Type {
        config: name.rsplit("::").next().unwrap_or(name),
        path: path.to_string(),
        message: error.to_string(),
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
