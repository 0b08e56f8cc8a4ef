//! Lengths and checksums of a checkpoint's files.

use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};

const FILE: &str = "manifest.json";
/// Version of the layout of a checkpoint.
const FORMAT: u32 = 1;

#[derive(Debug, Serialize, Deserialize)]
struct Manifest {
    format: u32,
    files: Vec<Entry>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Entry {
    name: String,
    bytes: u64,
    crc32: u32,
}

impl Entry {
    fn of(file: &mut File, name: &str) -> std::io::Result<Self> {
        let mut hasher = crc32fast::Hasher::new();
        let mut buffer = vec![0; 1 << 20];
        let mut bytes = 0;
        loop {
            let read = file.read(&mut buffer)?;
            if read == 0 {
                break;
            }
            bytes += read as u64;
            hasher.update(&buffer[..read]);
        }
        Ok(Self {
            name: name.to_string(),
            bytes,
            crc32: hasher.finalize(),
        })
    }
}

/// Flushes the files of a folder to the disk and writes their manifest.
pub(super) fn seal(folder: &Path, names: &[&str]) -> std::io::Result<()> {
    let mut files = Vec::new();
    for name in names {
        let mut file = File::options()
            .read(true)
            .write(true)
            .open(folder.join(name))?;
        files.push(Entry::of(&mut file, name)?);
        file.sync_all()?;
    }
    let manifest = Manifest {
        format: FORMAT,
        files,
    };
    let text = serde_json::to_string_pretty(&manifest)?;
    let mut file = File::create(folder.join(FILE))?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

/// Compares the files of a folder with their manifest, which must list some names and may list more; gives
/// the names that it lists, or says what is wrong.
pub(super) fn verify(folder: &Path, names: &[&str]) -> Result<Vec<String>, String> {
    let text =
        std::fs::read_to_string(folder.join(FILE)).map_err(|error| format!("{FILE}: {error}"))?;
    let manifest: Manifest =
        serde_json::from_str(&text).map_err(|error| format!("{FILE}: {error}"))?;
    if manifest.format != FORMAT {
        return Err(format!("format {}, expected {FORMAT}", manifest.format));
    }
    for name in names {
        if !manifest.files.iter().any(|entry| entry.name == *name) {
            return Err(format!("{FILE} does not list {name}"));
        }
    }
    for entry in &manifest.files {
        let name = &entry.name;
        let found = File::open(folder.join(name)).and_then(|mut file| Entry::of(&mut file, name));
        let found = found.map_err(|error| format!("{name}: {error}"))?;
        if found.bytes != entry.bytes {
            return Err(format!(
                "{name} has {} bytes, expected {}",
                found.bytes, entry.bytes
            ));
        }
        if found.crc32 != entry.crc32 {
            return Err(format!(
                "{name} has another checksum than it was written with"
            ));
        }
    }
    Ok(manifest.files.into_iter().map(|entry| entry.name).collect())
}
