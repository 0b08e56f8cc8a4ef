//! The binary versions of CIFAR-10 and CIFAR-100.
//!
//! A file is a row of records without a header. A record is one byte with the class, or two with the
//! coarse and the fine class in CIFAR-100, and 3072 bytes of pixels: 32 x 32 of red, then of green,
//! then of blue.

use std::fs::{self, File};
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use super::error::DataError;
use super::image_set::{ImageSet, ImageShape, Split};

const SHAPE: ImageShape = ImageShape {
    channels: 3,
    height: 32,
    width: 32,
};
const PIXELS: usize = 3 * 32 * 32;

/// One of the two data sets.
#[derive(Debug)]
pub struct CifarBinary {
    /// Name of the format.
    pub name: &'static str,
    /// The files that it needs, for people.
    pub needs: &'static str,
    /// Folder in which the published archive puts the files.
    archive_folder: &'static str,
    train: &'static [&'static str],
    test: &'static str,
    names: &'static str,
    /// Bytes before the pixels; the last of them is the class.
    label_bytes: usize,
    classes: usize,
}

/// CIFAR-10: records of 3073 bytes.
pub const CIFAR_10: CifarBinary = CifarBinary {
    name: "cifar-10",
    needs: "data_batch_1.bin to data_batch_5.bin and test_batch.bin (3073 bytes an image)",
    archive_folder: "cifar-10-batches-bin",
    train: &[
        "data_batch_1.bin",
        "data_batch_2.bin",
        "data_batch_3.bin",
        "data_batch_4.bin",
        "data_batch_5.bin",
    ],
    test: "test_batch.bin",
    names: "batches.meta.txt",
    label_bytes: 1,
    classes: 10,
};

/// CIFAR-100 with its fine classes: records of 3074 bytes.
pub const CIFAR_100: CifarBinary = CifarBinary {
    name: "cifar-100",
    needs: "train.bin and test.bin (3074 bytes an image)",
    archive_folder: "cifar-100-binary",
    train: &["train.bin"],
    test: "test.bin",
    names: "fine_label_names.txt",
    label_bytes: 2,
    classes: 100,
};

impl CifarBinary {
    /// The folder of the files, which is the one given or the archive's folder in it, where at least
    /// one of the files is there.
    fn folder(&self, given: &Path) -> Option<PathBuf> {
        let candidates = [given.to_path_buf(), given.join(self.archive_folder)];
        candidates.into_iter().find(|folder| {
            let mut files = self.train.iter().chain([&self.test]);
            files.any(|file| folder.join(file).is_file())
        })
    }

    /// Whether the folder holds files of this format.
    pub fn is_in(&self, folder: &Path) -> bool {
        self.folder(folder).is_some()
    }

    /// Reads the images.
    ///
    /// The training files may be fewer than published, as long as there is one; the set's notes then
    /// say so. Files may hold any whole number of records.
    ///
    /// # Errors
    /// [`DataError`] for a missing, unreadable or empty file, one that is not a whole number of
    /// records, and a class out of range.
    pub fn read(&self, folder: &Path) -> Result<ImageSet, DataError> {
        let missing = |path: PathBuf| DataError::Missing {
            path,
            format: self.name,
            needs: self.needs,
        };
        let Some(folder) = self.folder(folder) else {
            return Err(missing(folder.join(self.train[0])));
        };
        let (present, absent): (Vec<_>, Vec<_>) = self
            .train
            .iter()
            .copied()
            .partition(|file| folder.join(file).is_file());
        if present.is_empty() {
            return Err(missing(folder.join(self.train[0])));
        }
        let test_path = folder.join(self.test);
        if !test_path.is_file() {
            return Err(missing(test_path));
        }
        let mut notes = Vec::new();
        if !absent.is_empty() {
            notes.push(format!(
                "{} of {} training files are there; missing: {}",
                present.len(),
                self.train.len(),
                absent.join(", ")
            ));
        }
        let paths: Vec<PathBuf> = present.iter().map(|file| folder.join(file)).collect();
        Ok(ImageSet {
            source: format!("{} from {}", self.name, folder.display()),
            mirrors: true,
            classes: self.class_names(&folder)?,
            train: self.read_files(&paths)?,
            test: self.read_files(&[test_path])?,
            notes,
        })
    }

    fn record(&self) -> usize {
        self.label_bytes + PIXELS
    }

    fn read_files(&self, paths: &[PathBuf]) -> Result<Split, DataError> {
        let mut images = 0;
        for path in paths {
            images += self.count(path)?;
        }
        let mut split = Split::with_capacity(SHAPE, images);
        for path in paths {
            self.read_file(path, &mut split)?;
        }
        Ok(split)
    }

    /// Images in a file, by its size.
    fn count(&self, path: &Path) -> Result<usize, DataError> {
        let metadata = fs::metadata(path).map_err(DataError::unreadable(path))?;
        let (bytes, record) = (metadata.len(), self.record() as u64);
        if bytes == 0 || !bytes.is_multiple_of(record) {
            return Err(DataError::Size {
                path: path.to_path_buf(),
                bytes,
                expected: format!("a whole number of records of {record} bytes, at least one"),
            });
        }
        Ok((bytes / record) as usize)
    }

    fn read_file(&self, path: &Path, split: &mut Split) -> Result<(), DataError> {
        let file = File::open(path).map_err(DataError::unreadable(path))?;
        let mut reader = BufReader::with_capacity(1 << 18, file);
        let mut record = vec![0; self.record()];
        for number in 0..self.count(path)? {
            reader
                .read_exact(&mut record)
                .map_err(DataError::unreadable(path))?;
            let label = record[self.label_bytes - 1];
            if usize::from(label) >= self.classes {
                return Err(DataError::Label {
                    path: path.to_path_buf(),
                    record: number,
                    label: usize::from(label),
                    classes: self.classes,
                });
            }
            split.push(&record[self.label_bytes..], u16::from(label));
        }
        Ok(())
    }

    /// The names in the archive's list, or numbers where it is not there.
    fn class_names(&self, folder: &Path) -> Result<Vec<String>, DataError> {
        let path = folder.join(self.names);
        if !path.is_file() {
            return Ok((0..self.classes).map(|class| class.to_string()).collect());
        }
        let bytes = fs::read(&path).map_err(DataError::unreadable(&path))?;
        let names: Vec<String> = String::from_utf8_lossy(&bytes)
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty())
            .map(str::to_string)
            .collect();
        if names.len() != self.classes {
            return Err(DataError::Header {
                path,
                found: format!("{} names of classes", names.len()),
                expected: format!("{}, one a line", self.classes),
            });
        }
        Ok(names)
    }
}
