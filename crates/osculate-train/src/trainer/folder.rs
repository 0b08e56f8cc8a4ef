//! The output folder, and the configuration in it.

use std::fs;
use std::path::Path;

use osculate_program::write_whole;
use serde_json::Value;

use super::config::{FREE, Length};
use super::error::TrainerError;
use super::{checkpoint, picture};

/// The program's configuration.
pub(crate) const CONFIG_FILE: &str = "config.json";
/// The log.
pub(crate) const LOG_FILE: &str = "metrics.jsonl";
/// The weights at the best evaluation.
pub(crate) const BEST_FILE: &str = "best.bpk";
/// Weights that were the best until the run was resumed from a checkpoint that does not know them.
pub(crate) const BEST_ASIDE: &str = "best-before-resume.bpk";
/// The folder of the checkpoints.
pub(crate) const CHECKPOINTS: &str = "checkpoints";

/// Makes the folder ready for a run: empties it for a new one and writes its configuration, or
/// compares the configuration with that of the run to resume, which may differ in budgets, intervals and free
/// settings.
pub(crate) fn prepare(
    out: &Path,
    document: &Value,
    resume: bool,
    overwrite: bool,
    free: &[String],
) -> Result<(), TrainerError> {
    let path = out.join(CONFIG_FILE);
    if resume {
        return compare(&path, out, document, free);
    }
    let checkpoints = out.join(CHECKPOINTS);
    let files = [CONFIG_FILE, LOG_FILE, BEST_FILE, BEST_ASIDE];
    let files = files.into_iter().chain(picture::FILES);
    let in_use = checkpoints.exists() || files.clone().any(|name| out.join(name).exists());
    if in_use && !overwrite {
        return Err(TrainerError::OutputInUse {
            path: out.display().to_string(),
        });
    }
    fs::create_dir_all(out).map_err(TrainerError::output("create", out))?;
    // The configuration goes first: a folder without it holds no run.
    for name in files {
        let path = out.join(name);
        if path.exists() {
            fs::remove_file(&path).map_err(TrainerError::output("remove", &path))?;
        }
    }
    checkpoint::clear(&checkpoints)?;
    write(&path, document)
}

/// The length that the run in a folder was to have, where its configuration says so.
pub(crate) fn length_before(out: &Path) -> Option<Length> {
    let text = fs::read_to_string(out.join(CONFIG_FILE)).ok()?;
    let document: Value = serde_json::from_str(&text).ok()?;
    serde_json::from_value(document.pointer("/trainer/length")?.clone()).ok()
}

/// Writes the configuration of a resumed run, once nothing is left that could refuse it.
pub(crate) fn renew(out: &Path, document: &Value) -> Result<(), TrainerError> {
    write(&out.join(CONFIG_FILE), document)
}

fn write(path: &Path, document: &Value) -> Result<(), TrainerError> {
    serde_json::to_string_pretty(document)
        .map_err(Into::into)
        .and_then(|text| write_whole(path, text.as_bytes()))
        .map_err(TrainerError::output("write", path))
}

fn compare(path: &Path, out: &Path, document: &Value, free: &[String]) -> Result<(), TrainerError> {
    if !path.exists() {
        return Err(TrainerError::NothingToResume {
            path: out.display().to_string(),
        });
    }
    let unreadable = |message: String| TrainerError::Config {
        path: path.display().to_string(),
        message,
    };
    let text = fs::read_to_string(path).map_err(|error| unreadable(error.to_string()))?;
    let before: Value =
        serde_json::from_str(&text).map_err(|error| unreadable(error.to_string()))?;
    let mut differences = Vec::new();
    let free = |name: &str| {
        let of_trainer = name.strip_prefix("trainer.");
        of_trainer.is_some_and(|name| FREE.contains(&name)) || free.iter().any(|free| free == name)
    };
    differ("", &before, document, &free, &mut differences);
    if differences.is_empty() {
        return Ok(());
    }
    Err(TrainerError::OtherConfig {
        path: path.display().to_string(),
        differences,
    })
}

/// Lists the settings in which two configurations differ, but for those that a resumed run may
/// change.
fn differ(
    name: &str,
    before: &Value,
    now: &Value,
    free: &dyn Fn(&str) -> bool,
    differences: &mut Vec<String>,
) {
    if before == now || free(name) {
        return;
    }
    let (Value::Object(old), Value::Object(new)) = (before, now) else {
        differences.push(format!("{name}: {before}, now {now}"));
        return;
    };
    let added = new.keys().filter(|key| !old.contains_key(*key));
    for key in old.keys().chain(added) {
        let name = if name.is_empty() {
            key.clone()
        } else {
            format!("{name}.{key}")
        };
        let value =
            |of: &'_ serde_json::Map<String, Value>| of.get(key).cloned().unwrap_or(Value::Null);
        differ(&name, &value(old), &value(new), free, differences);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_folder_in_use_is_not_written_over() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("deep/run");
        let document = json!({ "trainer": { "lr": 0.1 } });
        assert!(matches!(
            prepare(&out, &document, true, false, &[]),
            Err(TrainerError::NothingToResume { .. })
        ));
        prepare(&out, &document, false, false, &[]).unwrap();
        assert!(matches!(
            prepare(&out, &document, false, false, &[]),
            Err(TrainerError::OutputInUse { .. })
        ));
        fs::write(out.join(LOG_FILE), "{}").unwrap();
        let checkpoints = out.join(CHECKPOINTS);
        fs::create_dir_all(checkpoints.join("step-000000003")).unwrap();
        fs::write(checkpoints.join("notes.txt"), "of someone else").unwrap();
        prepare(&out, &document, false, true, &[]).unwrap();
        assert!(!out.join(LOG_FILE).exists());
        assert!(!checkpoints.join("step-000000003").exists());
        assert!(checkpoints.join("notes.txt").exists());
        fs::remove_file(out.join(CONFIG_FILE)).unwrap();
        assert!(matches!(
            prepare(&out, &document, false, false, &[]),
            Err(TrainerError::OutputInUse { .. })
        ));
        prepare(&out, &document, false, true, &[]).unwrap();
        prepare(&out, &document, true, false, &[]).unwrap();
    }

    #[test]
    fn a_resumed_run_may_change_budgets_only() {
        let folder = tempfile::tempdir().unwrap();
        let before = json!({ "trainer": { "lr": 0.1, "max_seconds": null, "schedule": { "kind": "cosine" } }, "width": 8 });
        prepare(folder.path(), &before, false, false, &[]).unwrap();
        let mut now = before.clone();
        now["trainer"]["max_seconds"] = json!(60.0);
        prepare(folder.path(), &now, true, false, &[]).unwrap();
        renew(folder.path(), &now).unwrap();
        let kept = fs::read_to_string(folder.path().join(CONFIG_FILE)).unwrap();
        assert_eq!(serde_json::from_str::<Value>(&kept).unwrap(), now);
        let free = ["data.folder".to_string()];
        now["data"] = json!({ "folder": "/moved", "part": 1 });
        let moved = prepare(folder.path(), &now, true, false, &free).unwrap_err();
        let TrainerError::OtherConfig { differences, .. } = &moved else {
            panic!("{moved}");
        };
        assert_eq!(
            differences,
            &["data: null, now {\"folder\":\"/moved\",\"part\":1}"]
        );
        let free = ["data".to_string()];
        prepare(folder.path(), &now, true, false, &free).unwrap();
        renew(folder.path(), &now).unwrap();
        now["data"]["folder"] = json!("/moved again");
        let free = ["data.folder".to_string()];
        prepare(folder.path(), &now, true, false, &free).unwrap();
        now["trainer"]["schedule"]["kind"] = json!("linear");
        now["depth"] = json!(2);
        let error = prepare(folder.path(), &now, true, false, &[])
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("trainer.schedule.kind: \"cosine\", now \"linear\""),
            "{error}"
        );
        assert!(error.contains("depth: null, now 2"), "{error}");
        assert!(!error.contains("max_seconds"), "{error}");
    }

    #[test]
    fn a_file_in_the_place_of_the_folder_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("file");
        fs::write(&out, "").unwrap();
        let error = prepare(&out.join("run"), &json!({}), false, false, &[])
            .unwrap_err()
            .to_string();
        assert!(error.contains("file"), "{error}");
    }
}
