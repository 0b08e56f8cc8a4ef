//! An optimizer as it enters a race or a study.

use std::str::FromStr;

use burn::module::Module;
use osculate::optim::registry::{OptimizerKind, OptimizerSpec, settings_of, words_of};
use osculate::prelude::ClosureOptimizer;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::error::BenchError;
use crate::shell;

/// An optimizer with its settings, under a name.
///
/// As text it is `METHOD` or `NAME=METHOD`, without settings: [`with_settings`](Self::with_settings) has those. A
/// method is a name or one over another, as in `sam(soap)`, which is called `sam-over-soap` where it has no other
/// name.
///
/// ```
/// use osculate_bench::entrant::Entrant;
///
/// let plain: Entrant = "adamw".parse()?;
/// let named = "wide-sam=sam".parse::<Entrant>()?.with_settings(["rho=0.2"])?;
/// assert_eq!((plain.label.as_str(), named.label.as_str()), ("adamw", "wide-sam"));
/// assert_eq!(named.recipe.settings()["rho"], 0.2);
/// assert_eq!(named.words(), ["--optimizer", "wide-sam=sam", "--set", "rho=0.2"]);
/// let composed: Entrant = "ema(sam(soap))".parse()?;
/// assert_eq!(composed.label, "ema-over-sam-over-soap");
/// assert!("adamv".parse::<Entrant>().is_err());
/// # Ok::<(), osculate_bench::error::BenchError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entrant {
    /// Name in tables and file names.
    pub label: String,
    /// Method and settings.
    pub recipe: OptimizerSpec,
}

/// Settings that differ from the optimizer's own defaults in everything this program runs.
///
/// Sophia's `gamma`: with the paper's values, which are for long runs of large models, hardly an element
/// escapes the clip in runs as short as these, and Sophia is a sign method. Muon leaves embeddings and heads
/// to AdamW, as its authors have it. What is over another optimizer has that one's.
fn usual(optimizer: &OptimizerSpec) -> Value {
    let kind = optimizer.kind();
    if [OptimizerKind::SOPHIA_H, OptimizerKind::SOPHIA_G].contains(&kind) {
        return json!({ "gamma": 1.0 });
    }
    if [OptimizerKind::MUON, OptimizerKind::NORMUON].contains(&kind) {
        return json!({ "except": ["embedding", "head"] });
    }
    match optimizer.base() {
        Some(base) => json!({ "base": { base.kind().name(): usual(&base) } }),
        None => json!({}),
    }
}

/// The name of an optimizer as a part of file names.
fn label(optimizer: &OptimizerSpec) -> String {
    optimizer
        .to_string()
        .replace('(', "-over-")
        .replace(')', "")
}

impl Entrant {
    /// An optimizer with its usual settings, under its own name.
    ///
    /// # Errors
    /// [`BenchError::Recipe`].
    pub fn new(optimizer: impl Into<OptimizerSpec>) -> Result<Self, BenchError> {
        let optimizer = optimizer.into();
        let usual = usual(&optimizer);
        Ok(Self {
            label: label(&optimizer),
            recipe: optimizer.with_overrides(&usual)?,
        })
    }

    /// The same with settings `KEY=VALUE` laid over its own.
    ///
    /// # Errors
    /// [`BenchError::Recipe`].
    pub fn with_settings<T: AsRef<str>>(
        self,
        words: impl IntoIterator<Item = T>,
    ) -> Result<Self, BenchError> {
        Ok(Self {
            recipe: self.recipe.with_overrides(&settings_of(words)?)?,
            ..self
        })
    }

    /// The options that make it: its name, and the settings that are not its usual ones.
    pub fn words(&self) -> Vec<String> {
        let method = self.recipe.to_string();
        let plain = method.parse::<Self>().ok();
        let known = plain
            .as_ref()
            .map_or(Vec::new(), |plain| words_of(plain.recipe.settings()));
        let name = match &plain {
            Some(plain) if plain.label == self.label => method,
            _ => format!("{}={method}", self.label),
        };
        let mut words = vec!["--optimizer".to_string(), name];
        let own = words_of(self.recipe.settings()).into_iter();
        for setting in own.filter(|setting| !known.contains(setting)) {
            words.extend(["--set".to_string(), setting]);
        }
        words
    }

    /// The peak learning rate that the optimizer's documentation begins a search at.
    pub fn documented_rate(&self) -> f64 {
        self.recipe.learning_rate()
    }

    /// Makes the optimizer for a run with this seed.
    ///
    /// # Errors
    /// [`BenchError::Recipe`].
    pub fn make<M: Module>(&self, seed: u64) -> Result<Box<dyn ClosureOptimizer<M>>, BenchError> {
        Ok(self.recipe.make(seed)?)
    }

    /// Whether the other is this one. Writing numbers as JSON and reading them back may have moved
    /// their last digits.
    pub fn is_same(&self, other: &Self) -> bool {
        self.label == other.label
            && self.recipe.kind() == other.recipe.kind()
            && same(self.recipe.settings(), other.recipe.settings())
    }
}

fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => match (a.as_f64(), b.as_f64()) {
            (Some(a), Some(b)) => (a - b).abs() <= 1e-12 * a.abs(),
            _ => a == b,
        },
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b))
        }
        (Value::Object(a), Value::Object(b)) => {
            let matches =
                |(key, value): (&String, &Value)| b.get(key).is_some_and(|b| same(value, b));
            a.len() == b.len() && a.iter().all(matches)
        }
        _ => a == b,
    }
}

impl FromStr for Entrant {
    type Err = BenchError;

    fn from_str(text: &str) -> Result<Self, BenchError> {
        let wrong = |why: String| BenchError::Usage(format!("optimizer {text:?}: {why}"));
        if text.contains(':') {
            return Err(BenchError::Usage(format!(
                "settings are not written as JSON: {}",
                respelled(text)
            )));
        }
        let (label, method) = match text.split_once('=') {
            Some((label, method)) => (Some(label), method),
            None => (None, text),
        };
        let method: OptimizerSpec = method.parse().map_err(|error| wrong(format!("{error}")))?;
        let mut entrant = Self::new(method)?;
        if let Some(label) = label {
            check_label(label).map_err(wrong)?;
            entrant.label = label.to_string();
        }
        Ok(entrant)
    }
}

/// What was written as `NAME=METHOD:{SETTINGS}` in the words of today.
pub(crate) fn respelled(text: &str) -> String {
    let (head, settings) = text.split_once(':').unwrap_or((text, "{}"));
    let settings: Value =
        serde_json::from_str(settings).unwrap_or_else(|_| json!({ "KEY": "VALUE" }));
    let mut words = vec!["--optimizer".to_string(), head.to_string()];
    for setting in words_of(&settings) {
        words.extend(["--set".to_string(), setting]);
    }
    format!("write {}", shell::line(words))
}

/// Why a name cannot become that of a folder, if it cannot.
fn check_label(label: &str) -> Result<(), String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if label.is_empty() || label.starts_with('.') || !label.chars().all(allowed) {
        return Err(format!(
            "the name {label:?} is invalid, expected letters, digits, '-', '_' and '.'"
        ));
    }
    // A study has files of its own beside the folders of the optimizers.
    if label.to_ascii_lowercase().ends_with(".json") {
        return Err(format!(
            "the name {label:?} is invalid, expected one that is no file's"
        ));
    }
    Ok(())
}

/// Checks that all names can become those of folders, and that no two entrants have one name, or names that
/// differ in case alone: there are file systems to which those would be one.
///
/// # Errors
/// [`BenchError::Usage`].
pub fn check_labels(entrants: &[Entrant]) -> Result<(), BenchError> {
    for (index, entrant) in entrants.iter().enumerate() {
        check_label(&entrant.label)
            .map_err(|why| BenchError::Usage(format!("optimizer {}: {why}", entrant.recipe)))?;
        if entrants[..index]
            .iter()
            .any(|other| other.label.eq_ignore_ascii_case(&entrant.label))
        {
            return Err(BenchError::Usage(format!(
                "two optimizers are called {}, in whatever case; give one another name, as in NAME={}",
                entrant.label, entrant.recipe
            )));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entrants_come_back_from_json() {
        for method in OptimizerKind::all() {
            let entrant = Entrant::new(method).unwrap();
            let text = serde_json::to_string(&entrant).unwrap();
            let read: Entrant = serde_json::from_str(&text).unwrap();
            assert!(entrant.is_same(&read), "{text}");
        }
        let [a, b] = ["rho=0.1", "rho=0.2"].map(|rho| {
            let sam: Entrant = "x=sam".parse().unwrap();
            sam.with_settings([rho]).unwrap()
        });
        assert!(!a.is_same(&b));
    }

    #[test]
    fn compositions_have_usual_settings_and_names_for_files() {
        let plain: Entrant = "sam(sophia-g)".parse().unwrap();
        assert_eq!(plain.label, "sam-over-sophia-g");
        assert_eq!(
            plain.recipe.settings()["base"]["sophia-g"]["gamma"],
            json!(1.0)
        );
        let set: Entrant = "wide=ema(sam(muon))".parse().unwrap();
        let set = set.with_settings(["base.sam.rho=0.2"]).unwrap();
        assert_eq!(
            (set.label.as_str(), set.recipe.to_string().as_str()),
            ("wide", "ema(sam(muon))")
        );
        let sam = &set.recipe.settings()["base"]["sam"];
        assert_eq!(sam["rho"], json!(0.2));
        assert_eq!(sam["base"]["muon"]["except"], json!(["embedding", "head"]));
    }

    #[test]
    fn words_make_the_same_again() {
        let wide: Entrant = "wide=ema(sam(muon))".parse().unwrap();
        let wide = wide
            .with_settings(["base.sam.rho=0.2", "decay=0.9"])
            .unwrap();
        let words = wide.words();
        let settings: Vec<&String> = words[2..].iter().filter(|word| *word != "--set").collect();
        let again = words[1].parse::<Entrant>().unwrap();
        assert!(
            again.with_settings(settings).unwrap().is_same(&wide),
            "{words:?}"
        );
        assert_eq!(
            Entrant::new(OptimizerKind::SOPHIA_G).unwrap().words().len(),
            2
        );
    }

    #[test]
    fn mistakes_are_named() {
        let cases = [
            ("adamv", "adamw"),
            (
                "wide=sam:{\"rho\":0.2}",
                "write --optimizer wide=sam --set rho=0.2",
            ),
            ("sam:rho", "write --optimizer sam --set KEY=VALUE"),
            ("a/b=sam", "a/b"),
            ("..=sam", "expected letters"),
        ];
        for (text, part) in cases {
            let message = text.parse::<Entrant>().unwrap_err().to_string();
            assert!(message.contains(part), "{text}: {message}");
        }
        let error = "soap(sam)".parse::<Entrant>().unwrap_err().to_string();
        assert!(error.contains("`soap` goes over no other"), "{error}");
        let twice = [
            Entrant::new(OptimizerKind::SAM).unwrap(),
            "sam"
                .parse::<Entrant>()
                .unwrap()
                .with_settings(["rho=0.2"])
                .unwrap(),
        ];
        let message = check_labels(&twice).unwrap_err().to_string();
        assert!(message.contains("NAME=sam"), "{message}");
        let cases = ["Sam=sam", "sam"].map(|text| text.parse().unwrap());
        let message = check_labels(&cases).unwrap_err().to_string();
        assert!(message.contains("in whatever case"), "{message}");
    }
}
