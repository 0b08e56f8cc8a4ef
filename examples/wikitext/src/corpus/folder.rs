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

/// The text of a part. What a user should know about its files goes to `notes`.
pub(super) fn read(
    folder: &Path,
    part: Part,
    notes: &mut Vec<String>,
) -> Result<String, WikitextError> {
    match find(folder, part, notes)? {
        Files::Text(path) => read_text(&path, notes),
        Files::Parquet(paths) => {
            let mut text = String::new();
            for path in paths {
                text.push_str(&parquet::read(&path, notes)?);
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

fn find(folder: &Path, part: Part, notes: &mut Vec<String>) -> Result<Files, WikitextError> {
    let mut names = list(folder)?;
    names.sort_unstable();
    let texts = [format!("wiki.{part}.tokens"), format!("wiki.{part}.raw")];
    for text in &texts {
        if names.contains(text) {
            note_others(&names, &[text], part, notes);
            return Ok(Files::Text(folder.join(text)));
        }
    }
    for stem in stems(part) {
        let shards = shards(&names, stem);
        let all = |(_, place): &Shard| place.map(|(_, all)| all);
        if shards.iter().any(|shard| all(shard) != all(&shards[0])) {
            return Err(WikitextError::MixedShards {
                folder: folder.display().to_string(),
                part,
                files: shards.into_iter().map(|(name, _)| name).collect(),
            });
        }
        if let Some((_, Some((_, expected)))) = shards.first() {
            check_shards(folder, part, stem, &shards, *expected)?;
        }
        if !shards.is_empty() {
            let read: Vec<&String> = shards.iter().map(|(name, _)| name).collect();
            note_others(&names, &read, part, notes);
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

/// Notes which files look as if they were of a part and are not read.
fn note_others(names: &[String], read: &[&String], part: Part, notes: &mut Vec<String>) {
    let of_part = |name: &str| {
        let text = name.strip_prefix("wiki.");
        let stem = |stem: &&str| name.starts_with(*stem) && name.ends_with(".parquet");
        text.is_some_and(|rest| rest.starts_with(&format!("{part}.")))
            || stems(part).iter().any(stem)
    };
    let others: Vec<&str> = names
        .iter()
        .filter(|name| of_part(name) && !read.contains(name))
        .map(String::as_str)
        .collect();
    if let (false, Some(first)) = (others.is_empty(), read.first()) {
        notes.push(format!(
            "the {part} part is read from {first}{}, and not from {}",
            if read.len() > 1 { " and its like" } else { "" },
            others.join(", ")
        ));
    }
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
        // One number under two names: its text would be there twice.
        None if shards.len() > expected => Err(WikitextError::MixedShards {
            folder: folder.display().to_string(),
            part,
            files: shards.iter().map(|(name, _)| name.clone()).collect(),
        }),
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

fn read_text(path: &Path, notes: &mut Vec<String>) -> Result<String, WikitextError> {
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
        notes.push(format!(
            "{} ends within a line after {len} bytes, where the published files end with a line break: it may be \
             cut off",
            shown()
        ));
    }
    Ok(text)
}
