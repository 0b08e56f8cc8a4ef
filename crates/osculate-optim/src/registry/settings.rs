//! Settings as words of a command line.

use serde_json::{Map, Value};

use super::spec::SpecError;

/// Settings given as `a.b=value`, the words of flags such as `--set`, as the one object
/// `{"a": {"b": value}}` that [`OptimizerSpec::with_overrides`](super::OptimizerSpec::with_overrides) takes. A
/// value that is not JSON is a text; the last of two with one key counts.
///
/// ```
/// use osculate_optim::registry::{OptimizerSpec, settings_of};
///
/// let words = ["rho=0.1", "base.soap.beta_1=0.9"];
/// let spec = "sam(soap)".parse::<OptimizerSpec>()?.with_overrides(&settings_of(words)?)?;
/// assert_eq!(spec.settings()["base"]["soap"]["beta_1"], 0.9);
/// assert!(settings_of(["rho"]).unwrap_err().to_string().contains("KEY=VALUE"));
/// # Ok::<(), osculate_optim::registry::SpecError>(())
/// ```
///
/// # Errors
/// [`SpecError::Word`] for a word of another form.
pub fn settings_of<T: AsRef<str>>(words: impl IntoIterator<Item = T>) -> Result<Value, SpecError> {
    let mut all = Value::Object(Map::new());
    for word in words {
        insert(&mut all, word.as_ref())?;
    }
    Ok(all)
}

fn insert(all: &mut Value, word: &str) -> Result<(), SpecError> {
    let malformed = || SpecError::Word {
        word: word.to_string(),
    };
    let (key, value) = word.split_once('=').ok_or_else(malformed)?;
    let value = value.trim();
    let value = serde_json::from_str(value).unwrap_or_else(|_| Value::String(value.to_string()));
    let mut place = all;
    for key in key.split('.').map(str::trim) {
        if key.is_empty() {
            return Err(malformed());
        }
        if !place.is_object() {
            *place = Value::Object(Map::new());
        }
        place = &mut place[key];
    }
    *place = value;
    Ok(())
}

/// The words that [`settings_of`] makes these settings of, each in the order of its keys.
///
/// ```
/// use osculate_optim::registry::{OptimizerSpec, settings_of, words_of};
///
/// let sam: OptimizerSpec = "sam".parse()?;
/// let words = words_of(sam.settings());
/// assert!(words.contains(&"rho=0.05".to_string()), "{words:?}");
/// assert_eq!(&settings_of(&words)?, sam.settings());
/// # Ok::<(), osculate_optim::registry::SpecError>(())
/// ```
pub fn words_of(settings: &Value) -> Vec<String> {
    let mut words = Vec::new();
    collect("", settings, &mut words);
    words
}

fn collect(path: &str, value: &Value, words: &mut Vec<String>) {
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            for (key, value) in fields {
                let path = if path.is_empty() {
                    key.clone()
                } else {
                    format!("{path}.{key}")
                };
                collect(&path, value, words);
            }
        }
        // There is nothing to be said of no settings.
        Value::Object(_) if path.is_empty() => {}
        // A text that would be read as something else keeps its quotes.
        Value::String(text) if serde_json::from_str::<Value>(text).is_err() => {
            words.push(format!("{path}={text}"));
        }
        value => words.push(format!("{path}={value}")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn settings_nest_and_keep_their_types() {
        let words = [
            "beta=0.5",
            "policy.non_finite = Error",
            "policy.seed=3",
            "c.d=null",
            "beta=0.6",
        ];
        assert_eq!(
            settings_of(words).unwrap(),
            json!({
                "beta": 0.6,
                "policy": { "non_finite": "Error", "seed": 3 },
                "c": { "d": null },
            })
        );
        for malformed in ["beta", "=1", "a..b=1", ""] {
            let error = settings_of([malformed]).unwrap_err().to_string();
            assert!(error.contains("KEY=VALUE"), "{error}");
        }
    }

    #[test]
    fn words_come_back() {
        let settings = json!({
            "text": "Error", "number in a text": "7", "none": null, "list": [1, { "a": 2 }],
            "deep": { "deeper": { "x": 0.1 } }, "empty": {},
        });
        assert_eq!(settings_of(words_of(&settings)).unwrap(), settings);
        assert_eq!(words_of(&json!({})), Vec::<String>::new());
    }
}
