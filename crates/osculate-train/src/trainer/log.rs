//! `metrics.jsonl`.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use osculate_optim::StepReport;
use serde::{Deserialize, Serialize};

use super::config::SharpnessKind;
use super::error::TrainerError;

/// One line of `metrics.jsonl`. A number that is not finite is `null`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Line {
    /// The steps since the last line of this kind.
    Train {
        /// Steps made.
        step: u64,
        /// Pass over the data, from 0, of the last step.
        epoch: u64,
        /// Seconds since the start, over all resumed parts.
        seconds: f64,
        /// Gradient evaluations since the start.
        gradient_evaluations: f64,
        /// Learning rate of the last step.
        lr: f64,
        /// Mean loss of these steps.
        loss: Option<f64>,
        /// Norm of the gradient in the last step, before clipping.
        gradient_norm: Option<f64>,
        /// Parameters left out because something was not finite, summed over these steps.
        skipped: u64,
        /// Share of elements that were not clipped in the last step (Sophia).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        win_rate: Option<f64>,
        /// The curvature in use, for methods that use one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        curvature: Option<CurvatureInUse>,
    },
    /// An evaluation.
    Evaluation {
        /// Steps made.
        step: u64,
        /// Pass over the data, from 0, of the last step.
        epoch: u64,
        /// Seconds since the start, over all resumed parts.
        seconds: f64,
        /// Gradient evaluations since the start.
        gradient_evaluations: f64,
        /// Results by name.
        metrics: BTreeMap<String, Option<f64>>,
    },
    /// A measurement of the sharpness.
    Sharpness {
        /// Steps made.
        step: u64,
        /// Pass over the data, from 0, of the last step.
        epoch: u64,
        /// Seconds since the start, over all resumed parts.
        seconds: f64,
        /// The sharpness.
        sharpness: Option<f64>,
        /// Whether an eigenvalue converged to a hundredth of itself; true for SAM's sharpness.
        converged: bool,
        /// What was measured; `None` in older logs.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        of: Option<SharpnessKind>,
        /// Whether it stands on exact products, as SAM's sharpness does. `None` in older logs.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        exact: Option<bool>,
        /// Estimated error of the products where they were finite differences.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        product_error: Option<f64>,
        /// Why they were.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        fallback: Option<String>,
    },
}

/// The curvature that the last of some steps used.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct CurvatureInUse {
    /// Steps since it was estimated.
    pub age: u64,
    /// Whether the last Hessian products of these steps were exact; `None` where there were none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exact: Option<bool>,
    /// Their estimated error where they were finite differences, a norm in the unit of the product.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub product_error: Option<f64>,
    /// Why they were no exact products of the Hessian.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fallback: Option<String>,
}

impl CurvatureInUse {
    /// What a step's report tells, after what was known before it.
    pub(crate) fn after(before: Option<Self>, report: &StepReport) -> Option<Self> {
        let age = report.curvature_age()? as u64;
        Some(match report.provenance() {
            Some(made) => Self {
                age,
                exact: Some(made.is_exact()),
                product_error: made.error().and_then(finite),
                fallback: report.fallback().map(str::to_string),
            },
            None => Self {
                age,
                ..before.unwrap_or_default()
            },
        })
    }
}

/// A number, or nothing where it is not finite.
pub(crate) fn finite(value: f64) -> Option<f64> {
    value.is_finite().then_some(value)
}

/// The log, open for writing at its end.
pub(crate) struct Log {
    path: PathBuf,
    file: File,
    bytes: u64,
}

impl Log {
    /// An empty log.
    pub(crate) fn create(path: &Path) -> Result<Self, TrainerError> {
        let file = File::create(path).map_err(TrainerError::output("create", path))?;
        Ok(Self {
            path: path.to_path_buf(),
            file,
            bytes: 0,
        })
    }

    /// The log as it was at a checkpoint: what was written later is cut off. A log that is shorter
    /// than it was is cut after its last whole line.
    pub(crate) fn resume(path: &Path, bytes: u64) -> Result<Self, TrainerError> {
        let open = || {
            let mut file = OpenOptions::new()
                .create(true)
                .truncate(false)
                .read(true)
                .write(true)
                .open(path)?;
            let bytes = if file.metadata()?.len() < bytes {
                tracing::warn!("{} has lost lines", path.display());
                whole_lines(&file)?
            } else {
                bytes
            };
            file.set_len(bytes)?;
            file.seek(SeekFrom::End(0))?;
            Ok((file, bytes))
        };
        let (file, bytes) = open().map_err(TrainerError::output("open", path))?;
        Ok(Self {
            path: path.to_path_buf(),
            file,
            bytes,
        })
    }

    /// Bytes written so far.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(crate) fn write(&mut self, line: &Line) -> Result<(), TrainerError> {
        let mut text = serde_json::to_string(line).map_err(|error| TrainerError::Output {
            action: "write",
            path: self.path.display().to_string(),
            source: error.into(),
        })?;
        text.push('\n');
        if let Err(error) = self.file.write_all(text.as_bytes()) {
            // Half a line is worse than none. The first error is the one to report.
            let _ = self.file.set_len(self.bytes);
            let _ = self.file.seek(SeekFrom::End(0));
            return Err(TrainerError::output("write", &self.path)(error));
        }
        self.bytes += text.len() as u64;
        Ok(())
    }

    /// Waits until the disk has all of it.
    pub(crate) fn sync(&self) -> Result<(), TrainerError> {
        self.file
            .sync_all()
            .map_err(TrainerError::output("flush", &self.path))
    }
}

/// Length of the whole lines of a file, from its start.
fn whole_lines(file: &File) -> std::io::Result<u64> {
    let mut reader = BufReader::new(file);
    let (mut whole, mut line) = (0, Vec::new());
    loop {
        line.clear();
        let read = reader.read_until(b'\n', &mut line)?;
        if line.last() != Some(&b'\n') {
            return Ok(whole);
        }
        whole += read as u64;
    }
}

/// All lines of a log, and what is wrong with those that are none, which are left out: a training of days
/// is not to fail by a line.
pub(crate) fn read(path: &Path) -> Result<(Vec<Line>, Option<String>), TrainerError> {
    let bytes = std::fs::read(path).map_err(TrainerError::output("read", path))?;
    let (mut lines, mut damaged) = (Vec::new(), Vec::new());
    for (number, line) in String::from_utf8_lossy(&bytes).lines().enumerate() {
        match serde_json::from_str(line) {
            Ok(line) => lines.push(line),
            Err(error) => damaged.push((number + 1, error)),
        }
    }
    let damage = damaged.first().map(|(number, error)| {
        let error = error.to_string();
        // The parser saw one line.
        let (what, _) = error.split_once(" at line ").unwrap_or((&error, ""));
        format!(
            "{}: line {number} is damaged: {what}; {} such lines are left out of the pictures",
            path.display(),
            damaged.len()
        )
    });
    Ok((lines, damage))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(step: u64, loss: f64) -> Line {
        Line::Train {
            step,
            epoch: 0,
            seconds: 1.5,
            gradient_evaluations: step as f64,
            lr: 0.1,
            loss: finite(loss),
            gradient_norm: Some(1.0),
            skipped: 0,
            win_rate: None,
            curvature: None,
        }
    }

    #[test]
    fn a_resumed_log_has_the_lines_of_its_checkpoint() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics.jsonl");
        let mut log = Log::create(&path).unwrap();
        log.write(&line(1, 0.5)).unwrap();
        let bytes = log.bytes();
        log.write(&line(2, f64::NAN)).unwrap();
        drop(log);
        let lines = [line(1, 0.5), line(2, f64::NAN)];
        assert_eq!(read(&path).unwrap(), (lines.to_vec(), None));

        let mut log = Log::resume(&path, bytes).unwrap();
        log.write(&line(3, 0.25)).unwrap();
        assert_eq!(read(&path).unwrap().0, [line(1, 0.5), line(3, 0.25)]);
    }

    #[test]
    fn a_damaged_line_is_named_and_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics.jsonl");
        let mut log = Log::create(&path).unwrap();
        log.write(&line(1, 0.5)).unwrap();
        log.file
            .write_all(b"{\"kind\":\"train\",\"st\n\xff\n")
            .unwrap();
        log.write(&line(2, 0.5)).unwrap();
        let (lines, damage) = read(&path).unwrap();
        assert_eq!(lines, [line(1, 0.5), line(2, 0.5)]);
        let damage = damage.unwrap();
        assert!(
            damage.contains("metrics.jsonl: line 2 is damaged"),
            "{damage}"
        );
        assert!(damage.contains("2 such lines"), "{damage}");
    }

    #[test]
    fn a_log_that_lost_its_end_goes_on_after_its_last_whole_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics.jsonl");
        let mut log = Log::create(&path).unwrap();
        log.write(&line(1, 0.5)).unwrap();
        log.write(&line(2, 0.5)).unwrap();
        let bytes = log.bytes();
        log.file.set_len(bytes - 3).unwrap();
        drop(log);
        let mut log = Log::resume(&path, bytes).unwrap();
        log.write(&line(3, 0.25)).unwrap();
        assert_eq!(log.bytes(), std::fs::metadata(&path).unwrap().len());
        assert_eq!(read(&path).unwrap().0, [line(1, 0.5), line(3, 0.25)]);
    }
}
