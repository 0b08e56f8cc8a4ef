//! A folder of PNG files with one folder for each class: `train/<class>/*.png` and
//! `test/<class>/*.png`.

use std::fs;
use std::path::{Path, PathBuf};

use image::{DynamicImage, ImageReader};

use super::error::DataError;
use super::image_set::{ImageSet, ImageShape, Split};

/// Name of the format.
pub const NAME: &str = "png-folder";
/// The files that it needs, for people.
pub const NEEDS: &str = "train/<class>/*.png and test/<class>/*.png, all of one size";

const TRAIN: &str = "train";
const TEST: &str = "test";
/// Most classes: labels have 16 bits.
const MOST_CLASSES: usize = 1 << 16;

/// Whether the folder holds files of this format.
pub fn is_in(folder: &Path) -> bool {
    folder.join(TRAIN).is_dir() || folder.join(TEST).is_dir()
}

/// Reads the images.
///
/// The class of an image is the name of the folder that it lies in; folders may be grouped in others,
/// as in burn-dataset's CIFAR-100. Classes are those of the training images, in alphabetical order.
/// The first training image decides whether the set is grey or coloured; the others are converted.
/// Transparency is dropped and 16 bits become 8.
///
/// # Errors
/// [`DataError`] for a missing or empty folder, a file that is not a PNG image, images of different
/// sizes, and a test class without training images.
pub fn read(folder: &Path) -> Result<ImageSet, DataError> {
    let (train, test) = (folder.join(TRAIN), folder.join(TEST));
    for part in [&train, &test] {
        if !part.is_dir() {
            return Err(DataError::Missing {
                path: part.clone(),
                format: NAME,
                needs: NEEDS,
            });
        }
    }
    let train_files = images_of(&train)?;
    let mut classes: Vec<String> = train_files.iter().map(|file| class_of(file)).collect();
    classes.sort();
    classes.dedup();
    if classes.len() > MOST_CLASSES {
        return Err(DataError::Header {
            path: train,
            found: format!("{} folders of classes", classes.len()),
            expected: format!("at most {MOST_CLASSES}"),
        });
    }
    let test_files = images_of(&test)?;
    let shape = shape_of(&train_files[0])?;
    Ok(ImageSet {
        source: format!("{NAME} from {}", folder.display()),
        mirrors: true,
        train: read_split(&train_files, &classes, shape)?,
        test: read_split(&test_files, &classes, shape)?,
        classes,
        notes: Vec::new(),
    })
}

fn name_of(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

/// The name of the folder that an image lies in.
fn class_of(image: &Path) -> String {
    image.parent().map(name_of).unwrap_or_default()
}

/// The images of one part, at least one, in alphabetical order of their paths.
fn images_of(part: &Path) -> Result<Vec<PathBuf>, DataError> {
    let mut images = Vec::new();
    let mut classes = 0;
    for entry in entries(part)? {
        if entry.is_dir() {
            collect(&entry, &mut images)?;
            classes += 1;
        }
    }
    if classes == 0 {
        return Err(DataError::Empty {
            path: part.to_path_buf(),
            expected: "<class>/*.png",
        });
    }
    Ok(images)
}

/// Adds the images of a class, or of a group of classes.
fn collect(folder: &Path, images: &mut Vec<PathBuf>) -> Result<(), DataError> {
    let before = images.len();
    for entry in entries(folder)? {
        if entry.is_dir() {
            collect(&entry, images)?;
        } else if (entry.extension()).is_some_and(|ending| ending.eq_ignore_ascii_case("png")) {
            images.push(entry);
        }
    }
    if images.len() == before {
        return Err(DataError::Empty {
            path: folder.to_path_buf(),
            expected: "*.png",
        });
    }
    Ok(())
}

/// The entries of a folder in alphabetical order, without hidden ones.
fn entries(folder: &Path) -> Result<Vec<PathBuf>, DataError> {
    let mut paths: Vec<PathBuf> = fs::read_dir(folder)
        .and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect())
        .map_err(DataError::unreadable(folder))?;
    paths.retain(|path| !name_of(path).starts_with('.'));
    paths.sort();
    Ok(paths)
}

fn decode(path: &Path) -> Result<DynamicImage, DataError> {
    ImageReader::open(path)
        .and_then(ImageReader::with_guessed_format)
        .map_err(DataError::unreadable(path))?
        .decode()
        .map_err(|source| DataError::Image {
            path: path.to_path_buf(),
            source,
        })
}

fn shape_of(path: &Path) -> Result<ImageShape, DataError> {
    let image = decode(path)?;
    Ok(ImageShape {
        channels: if image.color().has_color() { 3 } else { 1 },
        height: image.height() as usize,
        width: image.width() as usize,
    })
}

fn read_split(
    files: &[PathBuf],
    classes: &[String],
    shape: ImageShape,
) -> Result<Split, DataError> {
    let mut split = Split::with_capacity(shape, files.len());
    let mut planar = Vec::with_capacity(shape.len());
    for path in files {
        let Ok(label) = classes.binary_search(&class_of(path)) else {
            return Err(DataError::Class {
                path: path.parent().unwrap_or(path).to_path_buf(),
                classes: classes.to_vec(),
            });
        };
        let label = label as u16;
        let image = decode(path)?;
        let found = [image.width() as usize, image.height() as usize];
        let expected = [shape.width, shape.height];
        if found != expected {
            return Err(DataError::ImageSize {
                path: path.clone(),
                found,
                expected,
            });
        }
        if shape.channels == 1 {
            split.push(image.into_luma8().as_raw(), label);
        } else {
            let interleaved = image.into_rgb8().into_raw();
            planar.clear();
            for channel in 0..shape.channels {
                planar.extend(interleaved.iter().skip(channel).step_by(shape.channels));
            }
            split.push(&planar, label);
        }
    }
    Ok(split)
}
