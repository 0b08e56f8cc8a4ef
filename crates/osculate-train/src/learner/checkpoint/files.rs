//! Checkpoint files: each written whole or not at all, with a checksum beside it.

use std::fs;
use std::hash::{BuildHasher, RandomState};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use super::CheckpointError;

/// A folder of files named `PART-EPOCH.bpk`, as burn names its own, with their checksums in
/// `PART-EPOCH.crc`.
#[derive(Debug)]
pub(super) struct Files {
    directory: PathBuf,
    /// Stands in every checksum that this program writes: parts of two trainings, of which the second
    /// was killed while it wrote over the first, are no checkpoint.
    token: String,
}

impl Files {
    pub(super) fn new(directory: &Path) -> Self {
        Self {
            directory: directory.to_path_buf(),
            token: format!("{:016x}", RandomState::new().hash_one(std::process::id())),
        }
    }

    pub(super) fn directory(&self) -> String {
        self.directory.display().to_string()
    }

    pub(super) fn path(&self, part: &str, epoch: usize) -> PathBuf {
        self.directory.join(format!("{part}-{epoch}.bpk"))
    }

    fn checksum_path(&self, part: &str, epoch: usize) -> PathBuf {
        self.directory.join(format!("{part}-{epoch}.crc"))
    }

    /// Writes a file, then its checksum: a file without one, or with an older one, was interrupted.
    pub(super) fn write(
        &self,
        part: &str,
        epoch: usize,
        bytes: &[u8],
    ) -> Result<(), CheckpointError> {
        fs::create_dir_all(&self.directory)
            .map_err(|error| file_error("create", &self.directory, &error))?;
        self.replace(&self.path(part, epoch), bytes)?;
        let checksum = format!("{} {}", checksum(bytes), self.token);
        self.replace(&self.checksum_path(part, epoch), checksum.as_bytes())
    }

    fn replace(&self, path: &Path, bytes: &[u8]) -> Result<(), CheckpointError> {
        let write = || -> std::io::Result<()> {
            let mut file = NamedTempFile::new_in(&self.directory)?;
            file.write_all(bytes)?;
            file.as_file().sync_all()?;
            file.persist(path)?;
            Ok(())
        };
        write().map_err(|error| file_error("write", path, &error))
    }

    /// The bytes of a file that is whole, with the token of the training that wrote it.
    pub(super) fn read(&self, part: &str, epoch: usize) -> Result<(Vec<u8>, String), Damage> {
        let path = self.path(part, epoch);
        let bytes = fs::read(&path).map_err(|error| match error.kind() {
            ErrorKind::NotFound => Damage::new(&path, "is missing"),
            _ => Damage::new(&path, &format!("cannot be read: {error}")),
        })?;
        let beside = self.checksum_path(part, epoch);
        let line = fs::read_to_string(&beside).unwrap_or_default();
        let Some((expected, token)) = line.rsplit_once(' ') else {
            let what = format!(
                "has no checksum in {}: it was not written to its end, or not by `Checkpoints` but by burn's \
                 own checkpointers, whose files hold no state of this optimizer",
                beside.display()
            );
            return Err(Damage::new(&path, &what));
        };
        let found = checksum(&bytes);
        if found == expected {
            Ok((bytes, token.to_string()))
        } else {
            let what = format!(
                "is truncated or altered: checksum and length {found}, expected {expected}"
            );
            Err(Damage::new(&path, &what))
        }
    }

    pub(super) fn delete(&self, part: &str, epoch: usize) -> Result<(), CheckpointError> {
        // The checksum goes first: what is left without one does not count.
        for path in [self.checksum_path(part, epoch), self.path(part, epoch)] {
            match fs::remove_file(&path) {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    return Err(file_error("remove", &path, &error));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// The epochs of which there is any file, in rising order.
    pub(super) fn epochs(&self, parts: &[&str]) -> Result<Vec<usize>, CheckpointError> {
        let entries = match fs::read_dir(&self.directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(file_error("read", &self.directory, &error)),
        };
        let mut epochs = Vec::new();
        for entry in entries {
            let entry = entry.map_err(|error| file_error("read", &self.directory, &error))?;
            let name = entry.file_name();
            let epoch: Option<usize> = name
                .to_str()
                .and_then(|name| name.strip_suffix(".bpk"))
                .and_then(|name| name.rsplit_once('-'))
                .filter(|(part, _)| parts.contains(part))
                // `model-+3.bpk` and `model-03.bpk` are names of someone else's.
                .and_then(|(_, text)| text.parse().ok().filter(|n: &usize| n.to_string() == text));
            epochs.extend(epoch);
        }
        epochs.sort_unstable();
        epochs.dedup();
        Ok(epochs)
    }
}

/// Why a file is not used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Damage(String);

impl Damage {
    fn new(path: &Path, what: &str) -> Self {
        Self(format!("{} {what}", path.display()))
    }

    pub(super) fn message(self) -> String {
        self.0
    }
}

fn checksum(bytes: &[u8]) -> String {
    format!("{:08x} {}", crc32fast::hash(bytes), bytes.len())
}

fn file_error(action: &'static str, path: &Path, error: &std::io::Error) -> CheckpointError {
    CheckpointError::File {
        action,
        path: path.display().to_string(),
        message: error.to_string(),
    }
}
