//! Damaged files of images: never a panic, and an error that names the file. `PROPTEST_CASES` makes it
//! longer.
#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "../../../crates/osculate-train/tests/common/mutate.rs"]
mod mutate;

use std::fs;
use std::io::Write;
use std::path::Path;

use cifar::data::read_folder;
use flate2::Compression;
use flate2::write::GzEncoder;
use mutate::{changed, changes};
use proptest::prelude::*;

/// Reads a folder. What is read has images of one size with a class each.
fn read(folder: &Path, named: &str) {
    match read_folder(folder, None) {
        Ok(set) => {
            for split in [&set.train, &set.test] {
                assert_eq!(split.shape(), set.shape());
                assert!(
                    split
                        .labels()
                        .iter()
                        .all(|label| usize::from(*label) < set.classes.len())
                );
                assert!(
                    !split.is_empty() && split.image(split.len() - 1).len() == set.shape().len()
                );
            }
        }
        Err(error) => {
            let text = error.to_string();
            assert!(text.contains(named), "{named} is not in: {text}");
        }
    }
}

fn idx(dims: &[u32], bytes: impl Iterator<Item = u8>) -> Vec<u8> {
    let mut file = vec![0, 0, 8, dims.len() as u8];
    file.extend(dims.iter().flat_map(|dim| dim.to_be_bytes()));
    file.extend(bytes);
    file
}

fn zipped(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn encoded(format: image::ImageFormat) -> Vec<u8> {
    let image = image::RgbImage::from_fn(9, 7, |x, y| image::Rgb([x as u8 * 9, y as u8 * 30, 77]));
    let mut bytes = std::io::Cursor::new(Vec::new());
    image.write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

proptest! {
    #[test]
    fn any_binary_file_is_read_or_refused(changes in changes(), cut in 0..3_usize) {
        let folder = tempfile::tempdir().unwrap();
        let record = |image: u8| std::iter::once(image % 10).chain((0..3072).map(move |at| at as u8 ^ image));
        let bytes: Vec<u8> = (0..3).flat_map(record).collect();
        fs::write(folder.path().join("test_batch.bin"), &bytes[..3073]).unwrap();
        // Whole records, whose labels are damaged, and anything else.
        let mut damaged = changed(&bytes, &changes);
        if cut < 2 {
            damaged.resize(3073 * (cut + 1), 0xFF);
        }
        fs::write(folder.path().join("data_batch_1.bin"), damaged).unwrap();
        read(folder.path(), "data_batch_1.bin");
    }

    #[test]
    fn any_idx_file_is_read_or_refused(changes in changes(), which in 0..4_usize, zip in any::<bool>()) {
        let folder = tempfile::tempdir().unwrap();
        let images = idx(&[4, 5, 3], (0..60).map(|byte| byte * 3));
        let labels = idx(&[4], 0..4);
        let names = [
            ("train-images-idx3-ubyte", &images),
            ("train-labels-idx1-ubyte", &labels),
            ("t10k-images-idx3-ubyte", &images),
            ("t10k-labels-idx1-ubyte", &labels),
        ];
        for (number, (name, bytes)) in names.into_iter().enumerate() {
            let bytes = if zip { zipped(bytes) } else { bytes.clone() };
            let bytes = if number == which { changed(&bytes, &changes) } else { bytes };
            let ending = if zip { ".gz" } else { "" };
            fs::write(folder.path().join(format!("{name}{ending}")), bytes).unwrap();
        }
        read(folder.path(), "-ubyte");
    }

    #[test]
    fn any_picture_is_read_or_refused(changes in changes(), jpeg in any::<bool>()) {
        let folder = tempfile::tempdir().unwrap();
        let format = if jpeg { image::ImageFormat::Jpeg } else { image::ImageFormat::Png };
        let bytes = encoded(format);
        for part in ["train", "test"] {
            let at = folder.path().join(part).join("cat");
            fs::create_dir_all(&at).unwrap();
            fs::write(at.join(if jpeg { "1.jpg" } else { "1.png" }), &bytes).unwrap();
        }
        let name = if jpeg { "2.jpg" } else { "2.png" };
        fs::write(folder.path().join("train/cat").join(name), changed(&bytes, &changes)).unwrap();
        read(folder.path(), name);
    }

    /// No image is lost for its name.
    #[cfg(unix)]
    #[test]
    fn any_names_are_read_or_refused(names in proptest::collection::vec((mutate::name(), mutate::name()), 1..6)) {
        use std::collections::BTreeSet;
        use std::os::unix::ffi::OsStrExt;

        let folder = tempfile::tempdir().unwrap();
        let bytes = encoded(image::ImageFormat::Png);
        let mut images = BTreeSet::new();
        for (class, mut name) in names {
            name.push(".png");
            for part in ["train", "test"] {
                let at = folder.path().join(part).join(&class);
                fs::create_dir_all(&at).unwrap();
                fs::write(at.join(&name), &bytes).unwrap();
            }
            let hidden = [&class, &name].iter().any(|name| name.as_bytes()[0] == b'.');
            if !hidden {
                images.insert((class, name));
            }
        }
        if let Ok(set) = read_folder(folder.path(), None) {
            prop_assert_eq!(set.train.len(), images.len());
        }
        read(folder.path(), "");
    }

    #[test]
    fn any_tree_is_read_or_refused(paths in proptest::collection::vec("(train|test)/(cat|dog|a/cat)?/?[a-c]{1}\\.(png|jpg|txt|bmp)", 1..8)) {
        let folder = tempfile::tempdir().unwrap();
        let bytes = encoded(image::ImageFormat::Png);
        for path in paths {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            let _ = fs::write(path, &bytes);
        }
        read(folder.path(), "");
    }
}
