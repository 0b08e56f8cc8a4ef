//! What is shown and kept of a race or a study.

mod document;
mod figure;
mod findings;
mod grid;
mod page;
mod tables;

pub use grid::{Grid, Notation};
pub use tables::{brief, outcome, price, rates, standings, tuning};

use std::path::{Path, PathBuf};

use document::Block;

use crate::analysis::Results;
use crate::error::BenchError;
use crate::study::write;

/// Writes `results.json`, `report.md` with its figures, and `report.html`, which holds all of them, and
/// returns the paths.
///
/// # Errors
/// [`BenchError::File`] and [`BenchError::Figure`].
pub fn write_all(results: &Results, folder: &Path) -> Result<Vec<PathBuf>, BenchError> {
    std::fs::create_dir_all(folder).map_err(BenchError::file("make", folder))?;
    let blocks = page::page(results)?;
    let mut files = vec![
        ("results.json".to_string(), serde_json::to_string(results)?),
        ("report.md".to_string(), document::markdown(&blocks)),
        (
            "report.html".to_string(),
            document::html(&results.title, &blocks),
        ),
    ];
    for block in &blocks {
        if let Block::Figure(figure) = block {
            files.push((format!("{}.svg", figure.name), figure.svg.clone()));
        }
    }
    let mut written = Vec::new();
    for (name, text) in files {
        let path = folder.join(name);
        write(&path, &text)?;
        written.push(path);
    }
    Ok(written)
}
