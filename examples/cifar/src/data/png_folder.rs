//! A folder of PNG or JPEG files with one folder for each class: `train/<class>/*.png` and
//! `test/<class>/*.png`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use image::{DynamicImage, ImageReader};

use super::error::DataError;
use super::image_set::{ImageSet, ImageShape, Split};

/// Name of the format.
pub const NAME: &str = "png-folder";
/// The files that it needs, for people.
pub const NEEDS: &str = "train/<class>/*.png and test/<class>/*.png, or .jpg, all of one size";

const TRAIN: &str = "train";
const TEST: &str = "test";
/// Endings of images that are read.
const READ: [&str; 3] = ["png", "jpg", "jpeg"];
/// Endings of images that are not.
const OTHER: [&str; 12] = [
    "avif", "bmp", "gif", "heic", "jfif", "jp2", "pgm", "ppm", "tga", "tif", "tiff", "webp",
];
/// Files left out that a note names.
const NAMED: usize = 5;
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
/// Transparency is dropped and 16 bits become 8. Hidden files do not count; files that are no images are
/// left out, and named in the set's notes.
///
/// # Errors
/// [`DataError`] for a missing or empty folder, an image that cannot be decoded, is of another format or
/// lies in no class, two folders of one class's name, images of different sizes, and a test class without
/// training images.
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
    let mut others = Vec::new();
    let train_files = images_of(&train, &mut others)?;
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
    let test_files = images_of(&test, &mut others)?;
    let shape = shape_of(&train_files[0])?;
    Ok(ImageSet {
        source: format!("{NAME} from {}", folder.display()),
        mirrors: true,
        train: read_split(&train_files, &classes, shape)?,
        test: read_split(&test_files, &classes, shape)?,
        classes,
        notes: left_out(&others).into_iter().collect(),
    })
}

/// What a user should know about files that are no images.
fn left_out(others: &[PathBuf]) -> Option<String> {
    let named: Vec<String> = others
        .iter()
        .take(NAMED)
        .map(|path| path.display().to_string())
        .collect();
    let more = match others.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let named = named.join(", ");
    (!others.is_empty()).then(|| format!("left out, since they are no images: {named}{more}"))
}

fn name_of(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

/// The name of the folder that an image lies in.
fn class_of(image: &Path) -> String {
    image.parent().map(name_of).unwrap_or_default()
}

/// The images of one part, at least one, in alphabetical order of their paths. Files that are no images go
/// to `others`.
fn images_of(part: &Path, others: &mut Vec<PathBuf>) -> Result<Vec<PathBuf>, DataError> {
    let mut images = Vec::new();
    let mut classes = 0;
    for entry in entries(part)? {
        if entry.is_dir() {
            collect(&entry, &mut images, others)?;
            classes += 1;
        } else if is_image(&entry)? {
            return Err(DataError::NoClass { path: entry });
        } else {
            others.push(entry);
        }
    }
    let mut folders = BTreeMap::new();
    for image in &images {
        let folder = image.parent().unwrap_or(part);
        let first = *folders.entry(class_of(image)).or_insert(folder);
        if first != folder {
            return Err(DataError::SameClass {
                first: first.to_path_buf(),
                second: folder.to_path_buf(),
            });
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
fn collect(
    folder: &Path,
    images: &mut Vec<PathBuf>,
    others: &mut Vec<PathBuf>,
) -> Result<(), DataError> {
    let before = images.len();
    for entry in entries(folder)? {
        if entry.is_dir() {
            collect(&entry, images, others)?;
        } else if is_image(&entry)? {
            images.push(entry);
        } else {
            others.push(entry);
        }
    }
    if images.len() == before {
        return Err(DataError::Empty {
            path: folder.to_path_buf(),
            expected: "*.png or *.jpg",
        });
    }
    Ok(())
}

/// Whether a file is an image, by its name.
fn is_image(path: &Path) -> Result<bool, DataError> {
    let ending = path.extension().unwrap_or_default();
    let is_one_of = |endings: &[&str]| endings.iter().any(|one| ending.eq_ignore_ascii_case(one));
    if is_one_of(&OTHER) {
        return Err(DataError::OtherFormat {
            path: path.to_path_buf(),
        });
    }
    Ok(is_one_of(&READ))
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
