//! Settings of an optimizer as a TOML file.

use std::path::Path;

use osculate_optim::registry::OptimizerSpec;
use serde::Deserialize;
use serde_json::Value;

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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

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
