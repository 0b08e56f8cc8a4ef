//! Files that are whole.

use std::io::{Result, Write};
use std::path::Path;

/// Writes a file under a name of its own, waits until the disk has it, and renames it: whatever
/// happens meanwhile, there is the whole new file or what was there before, and nothing else. Its
/// permissions are those of any new file.
///
/// # Errors
/// The system's. Nothing is left behind then.
pub fn write_whole(path: &Path, content: &[u8]) -> Result<()> {
    write_with(path, |file| file.write_all(content))
}

fn write_with(path: &Path, fill: impl FnOnce(&mut dyn Write) -> Result<()>) -> Result<()> {
    let folder = match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    let mut builder = tempfile::Builder::new();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        // What the process masks is taken from it.
        builder.permissions(std::fs::Permissions::from_mode(0o666));
    }
    let mut file = builder.prefix(".writing-").tempfile_in(folder)?;
    fill(&mut file)?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::{Error, ErrorKind};

    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect()
    }

    #[test]
    fn a_full_disk_leaves_what_was_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("results.json");
        // A writer that takes half of it, as a disk with that much room.
        let full = |file: &mut dyn Write| {
            file.write_all(b"{\"half\":")?;
            Err(Error::from(ErrorKind::StorageFull))
        };
        let error = write_with(&path, full).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::StorageFull);
        assert!(names(folder.path()).is_empty());

        write_whole(&path, b"old").unwrap();
        assert!(write_with(&path, full).is_err());
        assert_eq!(fs::read(&path).unwrap(), b"old");
        write_whole(&path, b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(names(folder.path()), ["results.json"]);
    }

    #[test]
    fn a_folder_that_cannot_be_written_to_is_an_error() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert!(write_whole(&file.path().join("beneath"), b"").is_err());
    }

    #[cfg(unix)]
    #[test]
    fn others_may_read_it_as_any_new_file() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let mode = |name: &str| {
            let metadata = fs::metadata(folder.path().join(name)).unwrap();
            metadata.permissions().mode()
        };
        write_whole(&folder.path().join("ours"), b"").unwrap();
        fs::write(folder.path().join("plain"), b"").unwrap();
        assert_eq!(mode("ours"), mode("plain"));
    }
}
