//! What is shown and kept of a race or a study.

mod chart;
mod document;
mod figure;
mod findings;
mod grid;
mod page;
mod tables;

pub use chart::{chart, range_chart};
pub use grid::{Column, Grid, Notation};
pub use tables::{brief, outcome, price, rates, standings, tuning};

use std::path::{Path, PathBuf};

use document::Block;

use crate::analysis::Results;
use crate::error::BenchError;
use crate::study::write;

/// Writes `results.json`, `report.md` with its figures, and `report.html`, which holds all of them, and
/// returns the path of that.
///
/// # Errors
/// [`BenchError::File`] and [`BenchError::Figure`].
pub fn write_all(results: &Results, folder: &Path) -> Result<PathBuf, BenchError> {
    std::fs::create_dir_all(folder).map_err(BenchError::file("make", folder))?;
    let blocks = page::page(results)?;
    let mut files = vec![
        ("results.json".to_string(), serde_json::to_string(results)?),
        ("report.md".to_string(), document::markdown(&blocks)),
        (PAGE.to_string(), document::html(&results.title, &blocks)),
    ];
    for block in &blocks {
        if let Block::Figure(figure) = block {
            files.push((format!("{}.svg", figure.name), figure.svg.clone()));
        }
    }
    for (name, text) in files {
        write(&folder.join(name), &text)?;
    }
    Ok(folder.join(PAGE))
}

/// The page that needs nothing else.
const PAGE: &str = "report.html";
