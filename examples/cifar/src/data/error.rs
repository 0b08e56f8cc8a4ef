use std::path::PathBuf;

use osculate_problems::digits::DigitsError;
use thiserror::Error;

/// Images that could not be read.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DataError {
    /// No known format's files are in the folder.
    #[error(
        "no images found in {}; looked for\n{looked_for}\n{}",
        folder.display(),
        super::HOW_TO_GET
    )]
    NothingFound {
        /// The folder given.
        folder: PathBuf,
        /// The files of each format, one format a line.
        looked_for: String,
    },

    /// Files of more than one format are in the folder.
    #[error(
        "{} holds images in more than one format ({}); choose one with --format",
        folder.display(),
        formats.join(", ")
    )]
    Ambiguous {
        /// The folder given.
        folder: PathBuf,
        /// The formats found.
        formats: Vec<String>,
    },

    /// A file that the format needs is not there.
    #[error(
        "{} is missing; the format {format} needs {needs}\n{}",
        path.display(),
        super::HOW_TO_GET
    )]
    Missing {
        /// Where the file was looked for.
        path: PathBuf,
        /// The format.
        format: &'static str,
        /// The files that the format needs.
        needs: &'static str,
    },

    /// The operating system, or a decompressor, could not read a file.
    #[error("{} could not be read: {source}", path.display())]
    Unreadable {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },

    /// A file has a size that its format does not allow.
    #[error("{} holds {bytes} bytes, expected {expected}", path.display())]
    Size {
        /// The file.
        path: PathBuf,
        /// Its size, decompressed where it is compressed.
        bytes: u64,
        /// The sizes that would be valid.
        expected: String,
    },

    /// A file does not begin as its format says.
    #[error("{} begins with {found}, expected {expected}", path.display())]
    Header {
        /// The file.
        path: PathBuf,
        /// What was found.
        found: String,
        /// What would be valid.
        expected: String,
    },

    /// A label is not one of the classes.
    #[error(
        "record {record} of {} has the label {label}, expected less than {classes}",
        path.display()
    )]
    Label {
        /// The file.
        path: PathBuf,
        /// Number of the record, from 0.
        record: usize,
        /// The label.
        label: usize,
        /// Number of classes.
        classes: usize,
    },

    /// There are not as many labels as images.
    #[error(
        "{} holds {labels} labels for the {images} images of {}",
        path.display(),
        images_path.display()
    )]
    Count {
        /// The file of the labels.
        path: PathBuf,
        /// Number of labels.
        labels: usize,
        /// The file of the images.
        images_path: PathBuf,
        /// Number of images.
        images: usize,
    },

    /// An image is of a format that is not read.
    #[error("{} is an image of another format, expected PNG or JPEG", path.display())]
    OtherFormat {
        /// The image.
        path: PathBuf,
    },

    /// An image is not in the folder of a class.
    #[error("{} lies in no class, expected a folder for each class", path.display())]
    NoClass {
        /// The image.
        path: PathBuf,
    },

    /// The folders of two classes have one name.
    #[error(
        "{} and {} have one name, and would be one class; expected a name for each class",
        first.display(),
        second.display()
    )]
    SameClass {
        /// One folder.
        first: PathBuf,
        /// Another.
        second: PathBuf,
    },

    /// A file is not an image that can be decoded.
    #[error("{} could not be decoded: {source}", path.display())]
    Image {
        /// The file.
        path: PathBuf,
        /// Why.
        source: image::ImageError,
    },

    /// An image does not have the size of the others.
    #[error(
        "{} has {} x {} pixels, expected {} x {} as in the first image",
        path.display(), found[0], found[1], expected[0], expected[1]
    )]
    ImageSize {
        /// The file.
        path: PathBuf,
        /// Its width and height.
        found: [usize; 2],
        /// Width and height of the first image.
        expected: [usize; 2],
    },

    /// A folder has no image.
    #[error("{} holds no image, expected {expected}", path.display())]
    Empty {
        /// The folder.
        path: PathBuf,
        /// What would be valid.
        expected: &'static str,
    },

    /// A class of the test images is not one of the training images.
    #[error("{} is a class without training images; the classes are {}", path.display(), classes.join(", "))]
    Class {
        /// The folder of the class.
        path: PathBuf,
        /// The classes of the training images.
        classes: Vec<String>,
    },

    /// The download failed.
    #[error("{dataset} could not be downloaded: {message}")]
    Download {
        /// Name of the data set.
        dataset: &'static str,
        /// Why.
        message: String,
    },

    /// A downloaded folder has fewer images than the data set.
    #[error(
        "{} holds {train} training and {test} test images, expected 50000 and 10000: the download was \
         interrupted; remove the folder and start again",
        folder.display()
    )]
    Incomplete {
        /// The folder.
        folder: PathBuf,
        /// Training images found.
        train: usize,
        /// Test images found.
        test: usize,
    },

    /// The embedded digits are damaged.
    #[error(transparent)]
    Digits(#[from] DigitsError),
}

impl DataError {
    /// Adds the path to an error of the operating system.
    pub(super) fn unreadable(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| DataError::Unreadable { path, source }
    }
}
