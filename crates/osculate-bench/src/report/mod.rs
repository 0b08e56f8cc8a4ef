//! What is shown and kept of a race.

mod curves;
mod summary;
mod table;

pub use curves::{Axis, draw};
pub use summary::{Spread, SummaryRow, summarise};
pub use table::{markdown, terminal};

use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::error::BenchError;
use crate::race::RaceResults;

#[derive(Serialize)]
struct Document<'a> {
    #[serde(flatten)]
    results: &'a RaceResults,
    summary: Vec<Vec<SummaryRow>>,
}

/// Writes `results.json`, `summary.md` and the figures, and returns their paths.
///
/// # Errors
/// [`BenchError::Output`] and [`BenchError::Figure`].
pub fn write_all(results: &RaceResults, folder: &Path) -> Result<Vec<PathBuf>, BenchError> {
    let summary = results
        .models
        .iter()
        .map(|net| summarise(&net.runs, results.target_accuracy))
        .collect();
    let json = serde_json::to_string_pretty(&Document { results, summary })?;
    let mut written = vec![
        write(folder.join("results.json"), &json)?,
        write(folder.join("summary.md"), &markdown(results))?,
    ];
    for net in results.models.iter().filter(|net| !net.runs.is_empty()) {
        for axis in [Axis::Steps, Axis::Seconds] {
            let path = folder.join(format!("{}-{}.svg", net.model, axis.name()));
            let figure = draw(net, axis).map_err(|message| BenchError::Figure {
                path: path.clone(),
                message,
            })?;
            written.push(write(path, &figure)?);
        }
    }
    Ok(written)
}

/// Writes a file under a temporary name and renames it.
fn write(path: PathBuf, text: &str) -> Result<PathBuf, BenchError> {
    let failed = |source| BenchError::Output {
        path: path.clone(),
        source,
    };
    let temporary = path.with_extension("part");
    fs::write(&temporary, text).map_err(failed)?;
    fs::rename(&temporary, &path).map_err(failed)?;
    Ok(path)
}
