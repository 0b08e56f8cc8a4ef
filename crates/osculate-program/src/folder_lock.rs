//! One process in a folder.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Result};
use std::path::Path;

/// Name of the file that is locked. It stays when the lock goes: removing it would let two processes
/// hold locks on two files of one name.
const NAME: &str = ".lock";

/// Keeps other processes out of an output folder until it is dropped or the process ends, however that
/// may be.
#[derive(Debug)]
pub struct FolderLock {
    /// Holds the lock of the operating system.
    _file: File,
}

impl FolderLock {
    /// Locks a folder that exists; `None` where another holder has it, in this process or in another.
    ///
    /// On file systems that know no locks the folder counts as free.
    ///
    /// # Errors
    /// The system's, where the file cannot be made.
    pub fn take(folder: &Path) -> Result<Option<Self>> {
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(folder.join(NAME))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Self { _file: file })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) if error.kind() == ErrorKind::Unsupported => {
                Ok(Some(Self { _file: file }))
            }
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_has_one_holder() {
        let folder = tempfile::tempdir().unwrap();
        let first = FolderLock::take(folder.path()).unwrap();
        assert!(first.is_some());
        assert!(FolderLock::take(folder.path()).unwrap().is_none());
        drop(first);
        assert!(FolderLock::take(folder.path()).unwrap().is_some());
        assert!(FolderLock::take(&folder.path().join("none")).is_err());
    }
}
