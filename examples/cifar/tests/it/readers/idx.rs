use std::fs;
use std::io::Write;
use std::path::Path;

use cifar::data::{DataError, idx, read_folder};
use flate2::Compression;
use flate2::write::GzEncoder;
use tempfile::tempdir;

use super::{assert_names, byte, write};

const SIDE: usize = 28;
const PIXELS: usize = SIDE * SIDE;

fn header(magic: u32, dims: &[u32]) -> Vec<u8> {
    let numbers = std::iter::once(&magic).chain(dims);
    numbers.flat_map(|number| number.to_be_bytes()).collect()
}

fn images(range: std::ops::Range<usize>) -> Vec<u8> {
    let mut bytes = header(0x0803, &[range.len() as u32, SIDE as u32, SIDE as u32]);
    for image in range {
        bytes.extend((0..PIXELS).map(|pixel| byte(image, pixel)));
    }
    bytes
}

fn labels(range: std::ops::Range<usize>) -> Vec<u8> {
    let mut bytes = header(0x0801, &[range.len() as u32]);
    bytes.extend(range.map(|image| (image % 10) as u8));
    bytes
}

fn compressed(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn write_all(folder: &Path) {
    write(folder, "train-images-idx3-ubyte", &images(0..12));
    write(folder, "train-labels-idx1-ubyte", &labels(0..12));
    write(folder, "t10k-images-idx3-ubyte", &images(12..17));
    write(folder, "t10k-labels-idx1-ubyte", &labels(12..17));
}

fn write_compressed(folder: &Path) {
    write(
        folder,
        "train-images-idx3-ubyte.gz",
        &compressed(&images(0..12)),
    );
    write(
        folder,
        "train-labels-idx1-ubyte.gz",
        &compressed(&labels(0..12)),
    );
    write(
        folder,
        "t10k-images-idx3-ubyte.gz",
        &compressed(&images(12..17)),
    );
    write(
        folder,
        "t10k-labels-idx1-ubyte.gz",
        &compressed(&labels(12..17)),
    );
}

#[test]
fn plain_and_compressed_files_come_back_byte_by_byte() {
    for writer in [write_all, write_compressed] {
        let folder = tempdir().unwrap();
        writer(folder.path());
        let set = read_folder(folder.path(), None).unwrap();
        assert_eq!((set.train.len(), set.test.len()), (12, 5));
        let shape = set.shape();
        assert_eq!((shape.channels, shape.height, shape.width), (1, SIDE, SIDE));
        assert_eq!(set.classes[9], "9");
        assert!(!set.mirrors);
        for image in 0..17 {
            let (split, position) = match image {
                0..12 => (&set.train, image),
                _ => (&set.test, image - 12),
            };
            assert_eq!(usize::from(split.labels()[position]), image % 10);
            let expected: Vec<u8> = (0..PIXELS).map(|pixel| byte(image, pixel)).collect();
            assert_eq!(split.image(position), expected);
        }
    }
}

#[test]
fn fashion_is_known_by_the_folder() {
    let folder = tempdir().unwrap();
    let inner = folder.path().join("fashion-mnist");
    fs::create_dir(&inner).unwrap();
    write_compressed(&inner);
    let set = read_folder(&inner, None).unwrap();
    assert_eq!(set.classes[9], "ankle boot");
    assert!(set.mirrors);
}

#[test]
fn missing_files_are_named() {
    let folder = tempdir().unwrap();
    write_all(folder.path());
    fs::remove_file(folder.path().join("t10k-labels-idx1-ubyte")).unwrap();
    let error = read_folder(folder.path(), None).unwrap_err();
    assert!(matches!(error, DataError::Missing { .. }));
    assert_names(
        &error,
        &["t10k-labels-idx1-ubyte", ".gz", "dataset-fashion-mnist"],
    );
}

/// What a file must be replaced with, and what the error must then say.
#[test]
fn damaged_files_are_refused() {
    let whole = images(0..12);
    let cases: [(&str, Vec<u8>, &[&str]); 8] = [
        ("train-images-idx3-ubyte", vec![], &["0 bytes", "header"]),
        (
            "train-images-idx3-ubyte",
            whole[..9].to_vec(),
            &["9 bytes", "16"],
        ),
        (
            "train-images-idx3-ubyte",
            whole[..5000].to_vec(),
            &["5000 bytes", "9424"],
        ),
        (
            "t10k-images-idx3-ubyte",
            [images(12..17), vec![0; 10]].concat(),
            &["3936", "no more"],
        ),
        (
            "train-images-idx3-ubyte",
            labels(0..12),
            &["0x00000801", "0x00000803"],
        ),
        (
            "train-labels-idx1-ubyte",
            labels(0..11),
            &["11 labels", "12 images"],
        ),
        (
            "train-labels-idx1-ubyte",
            [header(0x0801, &[12]), vec![3; 7], vec![10; 5]].concat(),
            &["record 7", "label 10"],
        ),
        // Four thousand million images: the file is not believed, and nothing is allocated.
        (
            "train-images-idx3-ubyte",
            header(0x0803, &[u32::MAX, 28, 28]),
            &["16 bytes", "4294967295"],
        ),
    ];
    for (name, bytes, parts) in cases {
        let folder = tempdir().unwrap();
        write_all(folder.path());
        write(folder.path(), name, &bytes);
        let error = idx::read(folder.path()).unwrap_err();
        assert_names(&error, parts);
        assert_names(&error, &[name]);
    }
    let headers = [[0, 28, 28], [12, 0, 28], [12, 28, 1 << 20]];
    for dims in headers {
        let folder = tempdir().unwrap();
        write_all(folder.path());
        write(
            folder.path(),
            "train-images-idx3-ubyte",
            &header(0x0803, &dims),
        );
        let error = idx::read(folder.path()).unwrap_err();
        assert!(matches!(error, DataError::Header { .. }), "{error}");
        assert_names(&error, &[&format!("{dims:?}")]);
    }
}

#[test]
fn damaged_compression_is_refused() {
    let whole = compressed(&images(0..12));
    let mut flipped = whole.clone();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 0x55;
    for bytes in [
        whole[..whole.len() / 2].to_vec(),
        flipped,
        b"not gzip".to_vec(),
    ] {
        let folder = tempdir().unwrap();
        write_compressed(folder.path());
        write(folder.path(), "train-images-idx3-ubyte.gz", &bytes);
        let error = idx::read(folder.path()).unwrap_err();
        assert_names(&error, &["train-images-idx3-ubyte.gz"]);
    }
}

#[test]
fn parts_of_different_sizes_are_refused() {
    let folder = tempdir().unwrap();
    write_all(folder.path());
    let small = [header(0x0803, &[5, 14, 14]), vec![0; 5 * 14 * 14]].concat();
    write(folder.path(), "t10k-images-idx3-ubyte", &small);
    let error = idx::read(folder.path()).unwrap_err();
    assert!(matches!(error, DataError::ImageSize { .. }), "{error}");
    assert_names(&error, &["14 x 14", "28 x 28"]);
}
