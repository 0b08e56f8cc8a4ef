//! Settings laid over default settings.

use serde_json::{Map, Value};

use super::kind::OptimizerKind;
use super::only_entry;
use super::spec::SpecError;

/// Lays `overrides` over `defaults`, object by object. A key that the defaults do not have is an
/// error. An object of one key that begins with a capital is an enum's variant, and one under `base`
/// or `rest` an optimizer by name: another key there takes the other's place.
pub(super) fn merge(defaults: &mut Value, overrides: &Value, path: &str) -> Result<(), SpecError> {
    let (Value::Object(into), Value::Object(from)) = (&mut *defaults, overrides) else {
        *defaults = overrides.clone();
        return Ok(());
    };
    if is_variant(into) && is_variant(from) && into.keys().ne(from.keys()) {
        *defaults = overrides.clone();
        return Ok(());
    }
    for (key, value) in from {
        let inner = if path.is_empty() {
            key.clone()
        } else {
            format!("{path}.{key}")
        };
        if (key == "base" || key == "rest") && into.contains_key(key) {
            let merged = base_of(&into[key], value, &inner)?;
            into.insert(key.clone(), merged);
            continue;
        }
        match into.get_mut(key) {
            Some(old) => merge(old, value, &inner)?,
            None => {
                return Err(SpecError::UnknownSetting {
                    path: inner,
                    known: into.keys().cloned().collect(),
                });
            }
        }
    }
    Ok(())
}

/// Adds the defaults that are missing, but none of another base or variant.
pub(super) fn complete(settings: &mut Value, defaults: &Value) {
    let (Value::Object(into), Value::Object(from)) = (settings, defaults) else {
        return;
    };
    if is_variant(from) {
        return;
    }
    for (key, value) in from {
        match into.get_mut(key) {
            Some(own) if key != "base" && key != "rest" => complete(own, value),
            Some(_) => {}
            None => {
                into.insert(key.clone(), value.clone());
            }
        }
    }
}

fn is_variant(object: &Map<String, Value>) -> bool {
    let mut keys = object.keys();
    let first = keys.next().and_then(|key| key.chars().next());
    first.is_some_and(char::is_uppercase) && keys.next().is_none()
}

/// `{ name: settings }` of an optimizer: over the settings there are, where it has the same
/// name, and over its defaults where it takes another's place.
fn base_of(present: &Value, value: &Value, path: &str) -> Result<Value, SpecError> {
    let (name, overrides) = only_entry(value, path)?;
    let name = name.to_string();
    let mut settings = match present.get(&name) {
        Some(settings) => settings.clone(),
        None => {
            let kind = name.parse::<OptimizerKind>();
            let kind = kind.map_err(|source| SpecError::UnknownBase {
                path: path.to_string(),
                source,
            })?;
            (kind.row().defaults)()?
        }
    };
    merge(&mut settings, overrides, &format!("{path}.{name}"))?;
    Ok(Value::Object(Map::from_iter([(name, settings)])))
}
