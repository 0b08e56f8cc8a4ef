//! WikiText's files in a folder.

use std::fs;
use std::path::{Path, PathBuf};

use super::{Part, parquet};
use crate::error::WikitextError;

/// The files that hold a part.
enum Files {
    Text(PathBuf),
    Parquet(Vec<PathBuf>),
}

/// The text of a part.
pub(super) fn read(folder: &Path, part: Part) -> Result<String, WikitextError> {
    match find(folder, part)? {
        Files::Text(path) => read_text(&path),
        Files::Parquet(paths) => {
            let mut text = String::new();
            for path in paths {
                text.push_str(&parquet::read(&path)?);
            }
            Ok(text)
        }
    }
}

/// Names of a part in parquet files.
fn stems(part: Part) -> &'static [&'static str] {
    match part {
        Part::Train => &["train"],
        Part::Valid => &["validation", "valid"],
        Part::Test => &["test"],
    }
}

fn find(folder: &Path, part: Part) -> Result<Files, WikitextError> {
    let mut names = list(folder)?;
    names.sort_unstable();
    let texts = [format!("wiki.{part}.tokens"), format!("wiki.{part}.raw")];
    for text in &texts {
        if names.contains(text) {
            return Ok(Files::Text(folder.join(text)));
        }
    }
    for stem in stems(part) {
        let shards = shards(&names, stem);
        if let Some((_, Some((_, expected)))) = shards.first() {
            check_shards(folder, part, stem, &shards, *expected)?;
        }
        if !shards.is_empty() {
            let paths = shards.iter().map(|(name, _)| folder.join(name));
            return Ok(Files::Parquet(paths.collect()));
        }
    }
    let patterns = stems(part).iter().map(|stem| format!("{stem}-*.parquet"));
    Err(WikitextError::MissingPart {
        folder: folder.display().to_string(),
        part,
        looked_for: texts.into_iter().chain(patterns).collect(),
        found: found(&names),
    })
}

fn list(folder: &Path) -> Result<Vec<String>, WikitextError> {
    let list = || {
        fs::read_dir(folder)?
            .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
            .collect::<std::io::Result<Vec<_>>>()
    };
    list().map_err(WikitextError::io(folder))
}

/// What a folder holds, as a sentence.
fn found(names: &[String]) -> String {
    const SHOWN: usize = 12;
    match names.len() {
        0 => "The folder is empty.".to_string(),
        n if n > SHOWN => format!(
            "It holds {} and {} more.",
            names[..SHOWN].join(", "),
            n - SHOWN
        ),
        _ => format!("It holds {}.", names.join(", ")),
    }
}

/// A file's name, with its number and the number of all where the name has them.
type Shard = (String, Option<(usize, usize)>);

/// The parquet files of a part: `train.parquet`, `train-00000-of-00002.parquet`.
fn shards(names: &[String], stem: &str) -> Vec<Shard> {
    names
        .iter()
        .filter_map(|name| {
            let rest = name.strip_prefix(stem)?.strip_suffix(".parquet")?;
            if rest.is_empty() {
                return Some((name.clone(), None));
            }
            let (number, all) = rest.strip_prefix('-')?.split_once("-of-")?;
            let place = (number.parse().ok()?, all.parse().ok()?);
            Some((name.clone(), Some(place)))
        })
        .collect()
}

fn check_shards(
    folder: &Path,
    part: Part,
    stem: &str,
    shards: &[Shard],
    expected: usize,
) -> Result<(), WikitextError> {
    let there = |number: usize| {
        shards
            .iter()
            .any(|(_, place)| *place == Some((number, expected)))
    };
    match (0..expected).find(|number| !there(*number)) {
        None => Ok(()),
        Some(missing) => Err(WikitextError::MissingShard {
            folder: folder.display().to_string(),
            part,
            present: shards.len(),
            expected,
            missing: format!("{stem}-{missing:05}-of-{expected:05}.parquet"),
        }),
    }
}

fn read_text(path: &Path) -> Result<String, WikitextError> {
    let bytes = fs::read(path).map_err(WikitextError::io(path))?;
    let shown = || path.display().to_string();
    if bytes.is_empty() {
        return Err(WikitextError::Empty { path: shown() });
    }
    let len = bytes.len();
    let text = String::from_utf8(bytes).map_err(|error| WikitextError::NotUtf8 {
        path: shown(),
        at: error.utf8_error().valid_up_to(),
        bytes: len,
    })?;
    if !text.ends_with('\n') {
        return Err(WikitextError::Truncated {
            path: shown(),
            bytes: len,
        });
    }
    Ok(text)
}
