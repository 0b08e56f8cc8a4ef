//! The IDX files of MNIST and Fashion-MNIST, as they are or compressed with gzip.
//!
//! A file begins with a number of four bytes, most significant first: 0x00000803 for images and
//! 0x00000801 for labels. One number for each dimension follows, and then the bytes.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;

use super::error::DataError;
use super::image_set::{ImageSet, ImageShape, Split};

/// Name of the format.
pub const NAME: &str = "idx";
/// The files that it needs, for people.
pub const NEEDS: &str = "train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte and \
                         t10k-labels-idx1-ubyte, each plain or with .gz";

const TRAIN: [&str; 2] = ["train-images-idx3-ubyte", "train-labels-idx1-ubyte"];
const TEST: [&str; 2] = ["t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"];
const CLASSES: usize = 10;
/// The classes of Fashion-MNIST; the files do not name them.
const FASHION: [&str; CLASSES] = [
    "T-shirt/top",
    "trouser",
    "pullover",
    "dress",
    "coat",
    "sandal",
    "shirt",
    "sneaker",
    "bag",
    "ankle boot",
];
/// Most pixels along a side. A larger number in a header is damage.
const LONGEST_SIDE: usize = 1 << 12;

/// The path of a file as it is or compressed, where one is there.
fn find(folder: &Path, name: &str) -> Option<PathBuf> {
    [name.to_string(), format!("{name}.gz")]
        .into_iter()
        .map(|name| folder.join(name))
        .find(|path| path.is_file())
}

/// Whether the folder holds files of this format.
pub fn is_in(folder: &Path) -> bool {
    let mut names = TRAIN.iter().chain(&TEST);
    names.any(|name| find(folder, name).is_some())
}

/// Reads the images.
///
/// The classes are those of Fashion-MNIST where the folder's name says "fashion", and digits
/// otherwise.
///
/// # Errors
/// [`DataError`] for a missing, unreadable, damaged or empty file, for a file longer or shorter than
/// its header says, for parts of different sizes, and for a class out of range.
pub fn read(folder: &Path) -> Result<ImageSet, DataError> {
    let (train, test) = (read_split(folder, TRAIN)?, read_split(folder, TEST)?);
    let size = |split: &Split| [split.shape().width, split.shape().height];
    if size(&train) != size(&test) {
        return Err(DataError::ImageSize {
            path: existing(folder, TEST[0])?,
            found: size(&test),
            expected: size(&train),
        });
    }
    let full = folder
        .canonicalize()
        .unwrap_or_else(|_| folder.to_path_buf());
    let fashion = full.to_string_lossy().to_lowercase().contains("fashion");
    let classes = if fashion {
        FASHION.map(str::to_string).to_vec()
    } else {
        (0..CLASSES).map(|digit| digit.to_string()).collect()
    };
    let name = if fashion { "Fashion-MNIST" } else { "digits" };
    Ok(ImageSet {
        source: format!("{name} from {}", folder.display()),
        mirrors: fashion,
        classes,
        train,
        test,
        notes: Vec::new(),
    })
}

fn existing(folder: &Path, name: &str) -> Result<PathBuf, DataError> {
    find(folder, name).ok_or_else(|| DataError::Missing {
        path: folder.join(name),
        format: NAME,
        needs: NEEDS,
    })
}

fn read_split(folder: &Path, [images, labels]: [&str; 2]) -> Result<Split, DataError> {
    let (images_path, path) = (existing(folder, images)?, existing(folder, labels)?);
    let images = Idx::<3>::read(&images_path)?;
    let labels = Idx::<1>::read(&path)?;
    let [count, height, width] = images.dims;
    if labels.dims != [count] {
        return Err(DataError::Count {
            path,
            labels: labels.dims[0],
            images_path,
            images: count,
        });
    }
    let shape = ImageShape {
        channels: 1,
        height,
        width,
    };
    let mut split = Split::with_capacity(shape, count);
    let pairs = images.bytes.chunks_exact(shape.len()).zip(&labels.bytes);
    for (record, (pixels, label)) in pairs.enumerate() {
        if usize::from(*label) >= CLASSES {
            return Err(DataError::Label {
                path,
                record,
                label: usize::from(*label),
                classes: CLASSES,
            });
        }
        split.push(pixels, u16::from(*label));
    }
    Ok(split)
}

/// The contents of a file of unsigned bytes in `D` dimensions.
struct Idx<const D: usize> {
    dims: [usize; D],
    bytes: Vec<u8>,
}

impl<const D: usize> Idx<D> {
    fn read(path: &Path) -> Result<Self, DataError> {
        let unreadable = |source| DataError::Unreadable {
            path: path.to_path_buf(),
            source,
        };
        let file = File::open(path).map_err(unreadable)?;
        let mut reader: Box<dyn Read> = if path.extension().is_some_and(|ending| ending == "gz") {
            Box::new(MultiGzDecoder::new(file))
        } else {
            Box::new(file)
        };
        let header_len = 4 * (1 + D);
        let mut header = Vec::with_capacity(header_len);
        let mut start = reader.by_ref().take(header_len as u64);
        start.read_to_end(&mut header).map_err(unreadable)?;
        if header.len() < header_len {
            return Err(DataError::Size {
                path: path.to_path_buf(),
                bytes: header.len() as u64,
                expected: format!("at least the {header_len} of a header"),
            });
        }
        let mut numbers = header
            .chunks_exact(4)
            .map(|b| u32::from_be_bytes([b[0], b[1], b[2], b[3]]) as usize);
        // 8 stands for unsigned bytes.
        let magic = numbers.next().unwrap_or_default();
        if magic != 0x0800 + D {
            return Err(DataError::Header {
                path: path.to_path_buf(),
                found: format!("the number {magic:#010x}"),
                expected: format!("{:#010x}, bytes in {D} dimensions", 0x0800 + D),
            });
        }
        let mut dims = [0; D];
        dims.iter_mut().zip(numbers).for_each(|(d, n)| *d = n);
        if dims.contains(&0) || dims[1..].iter().any(|side| *side > LONGEST_SIDE) {
            return Err(DataError::Header {
                path: path.to_path_buf(),
                found: format!("the dimensions {dims:?}"),
                expected: format!("none of 0, and sides of at most {LONGEST_SIDE} pixels"),
            });
        }
        // Each factor is below 2^32 or 2^12, so the product fits.
        let expected = dims.iter().map(|d| *d as u64).product::<u64>();
        let mut bytes = Vec::new();
        // One byte more tells a file that goes on.
        let mut body = reader.take(expected + 1);
        body.read_to_end(&mut bytes).map_err(unreadable)?;
        if bytes.len() as u64 != expected {
            let more = bytes.len() as u64 > expected;
            return Err(DataError::Size {
                path: path.to_path_buf(),
                bytes: (header_len + bytes.len()) as u64,
                expected: format!(
                    "{} for the dimensions {dims:?}{}",
                    header_len as u64 + expected,
                    if more { ", and no more" } else { "" }
                ),
            });
        }
        Ok(Self { dims, bytes })
    }
}
