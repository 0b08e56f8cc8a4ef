//! Settings of an optimizer as flags and as a TOML file.

use std::path::Path;

use osculate_optim::registry::OptimizerSpec;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::error::TrainerError;

/// A TOML file that names an optimizer and its settings.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RecipeFile {
    optimizer: Option<String>,
    pub(crate) lr: Option<f64>,
    #[serde(default)]
    settings: toml::Table,
    #[serde(skip)]
    path: String,
}

impl RecipeFile {
    pub(crate) fn read(path: &Path) -> Result<Self, TrainerError> {
        let shown = path.display().to_string();
        let text =
            std::fs::read_to_string(path).map_err(|error| unreadable(&shown, error.to_string()))?;
        let mut file: Self =
            toml::from_str(&text).map_err(|error| unreadable(&shown, error.to_string()))?;
        file.path = shown;
        Ok(file)
    }

    pub(crate) fn optimizer(&self) -> Result<Option<OptimizerSpec>, TrainerError> {
        let Some(name) = &self.optimizer else {
            return Ok(None);
        };
        name.parse::<OptimizerSpec>()
            .map(Some)
            .map_err(|error| unreadable(&self.path, error.to_string()))
    }

    /// The settings as overrides of a recipe.
    pub(crate) fn overrides(&self) -> Result<Value, TrainerError> {
        serde_json::to_value(&self.settings)
            .map_err(|error| unreadable(&self.path, error.to_string()))
    }
}

fn unreadable(path: &str, message: String) -> TrainerError {
    TrainerError::Config {
        path: path.to_string(),
        message,
    }
}

/// Settings given as `a.b=value`, as one object `{"a": {"b": value}}`. A value that is not JSON is a
/// text; the last of two with one key counts.
pub(crate) fn settings(texts: &[String]) -> Result<Value, TrainerError> {
    let mut all = Value::Object(Map::new());
    for text in texts {
        insert(&mut all, text)?;
    }
    Ok(all)
}

fn insert(all: &mut Value, text: &str) -> Result<(), TrainerError> {
    let malformed = || TrainerError::Set {
        text: text.to_string(),
    };
    let (key, value) = text.split_once('=').ok_or_else(malformed)?;
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn settings_nest_and_keep_their_types() {
        let texts = [
            "beta=0.5",
            "policy.non_finite = Error",
            "policy.seed=3",
            "c.d=null",
            "beta=0.6",
        ];
        let texts = texts.map(str::to_string);
        assert_eq!(
            settings(&texts).unwrap(),
            json!({
                "beta": 0.6,
                "policy": { "non_finite": "Error", "seed": 3 },
                "c": { "d": null },
            })
        );
        for malformed in ["beta", "=1", "a..b=1", ""] {
            let error = settings(&[malformed.to_string()]).unwrap_err().to_string();
            assert!(error.contains("KEY=VALUE"), "{error}");
        }
    }

    #[test]
    fn files_are_read_and_what_is_wrong_with_them_is_said() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("soap.toml");
        std::fs::write(
            &path,
            "optimizer = \"sam(soap)\"\nlr = 0.003\n[settings]\nrho = 0.1\n",
        )
        .unwrap();
        let file = RecipeFile::read(&path).unwrap();
        assert_eq!(
            file.optimizer().unwrap().map(|spec| spec.to_string()),
            Some("sam(soap)".into())
        );
        assert_eq!(file.lr, Some(0.003));
        assert_eq!(file.overrides().unwrap(), json!({ "rho": 0.1 }));

        for wrong in ["optimizer = 1", "learning_rate = 1.0", "lr = \"much\"", "["] {
            std::fs::write(&path, wrong).unwrap();
            let error = RecipeFile::read(&path).unwrap_err().to_string();
            assert!(error.contains("soap.toml"), "{error}");
        }
        std::fs::write(&path, "optimizer = \"abacus\"").unwrap();
        let error = RecipeFile::read(&path)
            .unwrap()
            .optimizer()
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("abacus") && error.contains("soap.toml"),
            "{error}"
        );
        assert!(RecipeFile::read(&folder.path().join("none.toml")).is_err());
    }
}
