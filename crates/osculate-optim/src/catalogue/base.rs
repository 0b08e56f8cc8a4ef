//! burn's own optimizers by name.

use burn::config::Config;
use burn::optim::momentum::MomentumConfig;
use burn::optim::{
    AdaGradConfig, AdamConfig, AdamWConfig, AdanConfig, LambConfig, LionConfig, ModuleOptimizer,
    RmsPropConfig, SgdConfig,
};
use serde_json::Value;

use super::recipe::{RecipeError, read, to_value};

/// The one name and its settings in `{ name: settings }`.
pub(super) fn only_entry<'a>(
    value: &'a Value,
    path: &str,
) -> Result<(&'a str, &'a Value), RecipeError> {
    let entry = value.as_object().filter(|object| object.len() == 1);
    let entry = entry.and_then(|object| object.iter().next());
    let (name, settings) = entry.ok_or_else(|| RecipeError::Base {
        path: path.to_string(),
        value: value.to_string(),
    })?;
    Ok((name, settings))
}

macro_rules! base_optimizers {
    ($($name:literal: $config:ident = $default:expr;)*) => {
        /// Names of the optimizers that can stand under others.
        pub(super) const NAMES: &[&str] = &[$($name),*];

        /// Default settings.
        pub(super) fn defaults(name: &str, path: &str) -> Result<Value, RecipeError> {
            match name {
                $($name => to_value(&$default),)*
                _ => Err(unknown(name, path)),
            }
        }

        /// The optimizer with these settings.
        pub(super) fn build(name: &str, settings: &Value, path: &str) -> Result<ModuleOptimizer, RecipeError> {
            match name {
                $($name => Ok(read::<$config>(settings, path)?.init()),)*
                _ => Err(unknown(name, path)),
            }
        }
    };
}

base_optimizers! {
    "sgd": SgdConfig = SgdConfig::new().with_momentum(Some(
        MomentumConfig::new().with_momentum(0.9).with_dampening(0.0),
    ));
    "adam": AdamConfig = AdamConfig::new();
    "adamw": AdamWConfig = AdamWConfig::new().with_weight_decay(1e-2);
    "adagrad": AdaGradConfig = AdaGradConfig::new();
    "rmsprop": RmsPropConfig = RmsPropConfig::new();
    "adan": AdanConfig = AdanConfig::new();
    "lamb": LambConfig = LambConfig::new();
    "lion": LionConfig = LionConfig::new();
}

fn unknown(name: &str, path: &str) -> RecipeError {
    RecipeError::UnknownBase {
        path: path.to_string(),
        name: name.to_string(),
    }
}

/// `{ "sgd": its settings }`.
pub(super) fn sgd() -> Result<Value, RecipeError> {
    Ok(serde_json::json!({ "sgd": defaults("sgd", "base")? }))
}

/// The optimizer under `key`.
pub(super) fn under(settings: &Value, key: &str) -> Result<ModuleOptimizer, RecipeError> {
    let (name, inner) = only_entry(&settings[key], key)?;
    build(name, inner, &format!("{key}.{name}"))
}

/// Names the type of a configuration in errors.
pub(super) fn config_name<C: Config>() -> &'static str {
    let name = std::any::type_name::<C>();
    name.rsplit("::").next().unwrap_or(name)
}
