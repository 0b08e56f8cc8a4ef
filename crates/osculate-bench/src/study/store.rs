use std::fs::{self, File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};

use osculate_program::write_whole;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Job, StudyConfig};
use crate::error::BenchError;

/// A study's folder.
///
/// Results are written under another name and renamed, so that a file is whole or not there. Claims are
/// locks of the operating system on files that are never removed: when a process ends, however that
/// may be, its claims are free at once.
#[derive(Debug, Clone)]
pub struct Store {
    root: PathBuf,
}

/// A job that this process alone runs, until this is dropped.
#[derive(Debug)]
pub struct Claim {
    job: Job,
    /// Holds the lock.
    _lock: File,
}

/// What a file held.
#[derive(Debug)]
pub enum Found<T> {
    /// There is no file.
    Missing,
    /// There is one that cannot be a result, and why.
    Corrupt(String),
    /// The result.
    Result(T),
}

/// The configuration of a study, in its folder.
pub(crate) const CONFIG: &str = "study.json";

impl Store {
    /// Opens the folder of a study, or begins one there. Where the folder holds a study already, its
    /// configuration must be the same; `None` takes what is there.
    ///
    /// # Errors
    /// [`BenchError::Usage`] where the configurations differ or there is none, and
    /// [`BenchError::File`].
    pub fn open(
        root: &Path,
        config: Option<&StudyConfig>,
    ) -> Result<(Self, StudyConfig), BenchError> {
        let store = Self {
            root: root.to_path_buf(),
        };
        let path = root.join(CONFIG);
        if let Some(config) = config {
            for folder in ["trials", "claims"] {
                let folder = root.join(folder);
                fs::create_dir_all(&folder).map_err(BenchError::file("make", &folder))?;
            }
            // Of two processes that begin at once, one writes and the other compares.
            let _alone = lock(&root.join("claims/study.lock"), true)?;
            if !path.exists() {
                write(&path, &serde_json::to_string_pretty(config)?)?;
            }
        }
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(BenchError::Usage(format!(
                    "{} holds no study: there is no {CONFIG}",
                    root.display()
                )));
            }
            Err(error) => return Err(BenchError::file("read", &path)(error)),
        };
        let stored: StudyConfig =
            serde_json::from_str(&text).map_err(|error| BenchError::Content {
                path,
                message: format!("this is not the configuration of a study: {error}"),
            })?;
        if let Some(longer) = config.filter(|config| config.extends(&stored)) {
            let _alone = lock(&root.join("claims/study.lock"), true)?;
            write(&root.join(CONFIG), &serde_json::to_string_pretty(longer)?)?;
            return Ok((store, longer.clone()));
        }
        if let Some(difference) = config.and_then(|config| config.difference(&stored)) {
            return Err(BenchError::Usage(format!(
                "{} holds another study: {difference}; choose another folder, or leave the options \
                 out to go on with it",
                root.display()
            )));
        }
        Ok((store, stored))
    }

    /// The folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Claims a job, or gives `None` where another process has it.
    ///
    /// # Errors
    /// [`BenchError::File`] where the system knows no locks.
    pub fn claim(&self, job: &Job) -> Result<Option<Claim>, BenchError> {
        let path = job.path().with_extension("lock");
        let parts: Vec<String> = path
            .iter()
            .skip(1)
            .map(|part| part.to_string_lossy().into_owned())
            .collect();
        let name = parts.join("+");
        let held = lock(&self.root.join("claims").join(name), false)?;
        Ok(held.map(|lock| Claim {
            job: job.clone(),
            _lock: lock,
        }))
    }

    /// Whether a job has left a file.
    pub fn has(&self, job: &Job) -> bool {
        self.root.join(job.path()).exists()
    }

    /// Reads a job's result. `defect` tells why a file that is valid JSON is none.
    ///
    /// # Errors
    /// [`BenchError::File`] where the file is there and cannot be read.
    pub fn read<T: DeserializeOwned>(
        &self,
        job: &Job,
        defect: impl FnOnce(&T) -> Option<String>,
    ) -> Result<Found<T>, BenchError> {
        let path = self.root.join(job.path());
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Found::Missing);
            }
            Err(error) => return Err(BenchError::file("read", &path)(error)),
        };
        Ok(match serde_json::from_slice::<T>(&bytes) {
            Err(error) => Found::Corrupt(error.to_string()),
            Ok(result) => match defect(&result) {
                Some(why) => Found::Corrupt(why),
                None => Found::Result(result),
            },
        })
    }

    /// Writes the result of a claimed job.
    ///
    /// # Errors
    /// [`BenchError::File`].
    pub fn write<T: Serialize>(&self, claim: &Claim, result: &T) -> Result<(), BenchError> {
        let path = self.root.join(claim.job.path());
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(BenchError::file("make", folder))?;
        }
        write(&path, &serde_json::to_string(result)?)
    }

    /// Renames the corrupt file of a claimed job, so that the job is open again, and returns the new
    /// path.
    ///
    /// # Errors
    /// [`BenchError::File`].
    pub fn set_aside(&self, claim: &Claim) -> Result<PathBuf, BenchError> {
        let path = self.root.join(claim.job.path());
        let aside = (0..)
            .map(|number| path.with_extension(format!("corrupt-{number}")))
            .find(|aside| !aside.exists())
            .unwrap_or_else(|| path.with_extension("corrupt"));
        fs::rename(&path, &aside).map_err(BenchError::file("rename", &path))?;
        Ok(aside)
    }
}

/// Opens and locks a file. Where another process has the lock, waits for it or gives `None`.
fn lock(path: &Path, wait: bool) -> Result<Option<File>, BenchError> {
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)
        .map_err(BenchError::file("open", path))?;
    if wait {
        file.lock().map_err(BenchError::file("lock", path))?;
        return Ok(Some(file));
    }
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(BenchError::file("lock", path)(error)),
    }
}

/// Writes a file, whole or not at all.
pub(crate) fn write(path: &Path, text: &str) -> Result<(), BenchError> {
    write_whole(path, text.as_bytes()).map_err(BenchError::file("write", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(trial: usize) -> Job {
        Job::Tune {
            workload: "w".to_string(),
            entrant: "adamw".to_string(),
            trial,
        }
    }

    fn any(_: &Vec<u32>) -> Option<String> {
        None
    }

    #[test]
    fn a_claim_excludes_others_until_it_is_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let config = StudyConfig::small().unwrap();
        let (store, _) = Store::open(folder.path(), Some(&config)).unwrap();
        let claim = store.claim(&job(0)).unwrap();
        assert!(claim.is_some());
        assert!(store.claim(&job(0)).unwrap().is_none());
        assert!(store.claim(&job(1)).unwrap().is_some());
        drop(claim);
        assert!(store.claim(&job(0)).unwrap().is_some());
    }

    #[test]
    fn results_come_back_and_damage_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let config = StudyConfig::small().unwrap();
        let (store, _) = Store::open(folder.path(), Some(&config)).unwrap();
        let claim = store.claim(&job(3)).unwrap().unwrap();
        assert!(matches!(store.read(&job(3), any).unwrap(), Found::Missing));
        store.write(&claim, &vec![1_u32, 2]).unwrap();
        assert!(matches!(store.read(&job(3), any).unwrap(), Found::Result(v) if v == [1, 2]));
        let refused = store.read(&job(3), |_: &Vec<u32>| Some("no".to_string()));
        assert!(matches!(refused.unwrap(), Found::Corrupt(why) if why == "no"));
        let path = folder.path().join(job(3).path());
        fs::write(&path, b"[1, 2").unwrap();
        assert!(matches!(
            store.read(&job(3), any).unwrap(),
            Found::Corrupt(_)
        ));
        let aside = store.set_aside(&claim).unwrap();
        assert!(aside.exists() && !path.exists());
    }

    #[test]
    fn a_folder_holds_one_study() {
        let folder = tempfile::tempdir().unwrap();
        assert!(Store::open(folder.path(), None).is_err());
        let config = StudyConfig::small().unwrap();
        Store::open(folder.path(), Some(&config)).unwrap();
        let (_, stored) = Store::open(folder.path(), None).unwrap();
        assert!(config.difference(&stored).is_none());
        let mut other = config.clone();
        other.budget.seeds += 1;
        // More seeds are the same study, made longer.
        Store::open(folder.path(), Some(&other)).unwrap();
        let (_, stored) = Store::open(folder.path(), None).unwrap();
        assert_eq!(stored.budget.seeds, other.budget.seeds);
        other.budget.trials += 1;
        let message = Store::open(folder.path(), Some(&other))
            .unwrap_err()
            .to_string();
        assert!(message.contains("another study: budget"), "{message}");
        fs::write(folder.path().join(CONFIG), b"{").unwrap();
        let message = Store::open(folder.path(), None).unwrap_err().to_string();
        assert!(message.contains("study.json"), "{message}");
    }
}
