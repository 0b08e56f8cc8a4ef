use std::fs;
use std::path::Path;

use cifar::data::cifar_binary::{CIFAR_10, CIFAR_100};
use cifar::data::{DataError, Format, read_folder};
use tempfile::tempdir;

use super::{assert_names, byte, write};

const PIXELS: usize = 3072;

/// CIFAR-10 records: the class, then red, green and blue.
fn records(images: std::ops::Range<usize>) -> Vec<u8> {
    images
        .flat_map(|image| {
            let pixels = (0..PIXELS).map(move |pixel| byte(image, pixel));
            std::iter::once((image % 10) as u8).chain(pixels)
        })
        .collect()
}

/// CIFAR-100 records: the coarse class, the fine class, then the pixels.
fn fine_records(images: std::ops::Range<usize>) -> Vec<u8> {
    images
        .flat_map(|image| {
            let pixels = (0..PIXELS).map(move |pixel| byte(image, pixel));
            [(image % 20) as u8, (image % 100) as u8]
                .into_iter()
                .chain(pixels)
        })
        .collect()
}

fn write_cifar_10(folder: &Path) {
    for batch in 0..5 {
        let name = format!("data_batch_{}.bin", batch + 1);
        write(folder, &name, &records(batch * 4..batch * 4 + 4));
    }
    write(folder, "test_batch.bin", &records(20..23));
}

fn write_cifar_100(folder: &Path) {
    write(folder, "train.bin", &fine_records(0..150));
    write(folder, "test.bin", &fine_records(150..153));
}

#[test]
fn cifar_10_comes_back_byte_by_byte() {
    let folder = tempdir().unwrap();
    write_cifar_10(folder.path());
    let set = read_folder(folder.path(), None).unwrap();
    assert_eq!((set.train.len(), set.test.len()), (20, 3));
    assert_eq!(set.classes.len(), 10);
    let shape = set.shape();
    assert_eq!((shape.channels, shape.height, shape.width), (3, 32, 32));
    for image in 0..23 {
        let (split, position) = match image {
            0..20 => (&set.train, image),
            _ => (&set.test, image - 20),
        };
        assert_eq!(usize::from(split.labels()[position]), image % 10);
        let expected: Vec<u8> = (0..PIXELS).map(|pixel| byte(image, pixel)).collect();
        assert_eq!(split.image(position), expected);
    }
    assert!(set.notes.is_empty());
}

#[test]
fn cifar_100_has_its_fine_classes() {
    let folder = tempdir().unwrap();
    write_cifar_100(folder.path());
    let set = read_folder(folder.path(), None).unwrap();
    assert_eq!((set.train.len(), set.test.len()), (150, 3));
    assert_eq!(set.classes.len(), 100);
    for image in 0..150 {
        assert_eq!(usize::from(set.train.labels()[image]), image % 100);
    }
    let expected: Vec<u8> = (0..PIXELS).map(|pixel| byte(152, pixel)).collect();
    assert_eq!(set.test.image(2), expected);
}

#[test]
fn the_archives_own_folder_is_looked_into() {
    let folder = tempdir().unwrap();
    let inner = folder.path().join("cifar-10-batches-bin");
    fs::create_dir(&inner).unwrap();
    write_cifar_10(&inner);
    write(
        &inner,
        "batches.meta.txt",
        b"airplane\nautomobile\nbird\ncat\ndeer\ndog\nfrog\nhorse\nship\ntruck\n\n",
    );
    let set = read_folder(folder.path(), None).unwrap();
    assert_eq!(set.train.len(), 20);
    assert_eq!(set.classes[3], "cat");
    // Both archives in one folder: the user must choose.
    let other = folder.path().join("cifar-100-binary");
    fs::create_dir(&other).unwrap();
    write_cifar_100(&other);
    let error = read_folder(folder.path(), None).unwrap_err();
    assert!(matches!(error, DataError::Ambiguous { .. }));
    assert_names(&error, &["cifar-10", "cifar-100", "--format"]);
    let set = read_folder(folder.path(), Some(Format::Cifar100)).unwrap();
    assert_eq!(set.train.len(), 150);
}

#[test]
fn missing_files_are_named() {
    let folder = tempdir().unwrap();
    write_cifar_10(folder.path());
    fs::remove_file(folder.path().join("data_batch_2.bin")).unwrap();
    let set = read_folder(folder.path(), None).unwrap();
    assert_eq!(set.train.len(), 16);
    assert!(set.notes[0].contains("data_batch_2.bin"), "{:?}", set.notes);

    fs::remove_file(folder.path().join("test_batch.bin")).unwrap();
    let error = read_folder(folder.path(), None).unwrap_err();
    assert!(matches!(error, DataError::Missing { .. }));
    assert_names(&error, &["test_batch.bin", "https://", "--download"]);

    let folder = tempdir().unwrap();
    write(folder.path(), "test_batch.bin", &records(0..1));
    let error = read_folder(folder.path(), None).unwrap_err();
    assert_names(&error, &["data_batch_1.bin", "is missing"]);
    let error = CIFAR_100.read(folder.path()).unwrap_err();
    assert_names(&error, &["train.bin", "is missing"]);
}

#[test]
fn files_of_wrong_size_are_refused() {
    let whole = records(0..4);
    let longer = [whole.as_slice(), &[0; 100]].concat();
    for (bytes, size) in [(&[][..], "0"), (&whole[..5000], "5000"), (&longer, "12392")] {
        let folder = tempdir().unwrap();
        write_cifar_10(folder.path());
        write(folder.path(), "data_batch_3.bin", bytes);
        let error = CIFAR_10.read(folder.path()).unwrap_err();
        assert!(matches!(error, DataError::Size { .. }), "{error}");
        assert_names(&error, &["data_batch_3.bin", size, "3073"]);
    }
    let folder = tempdir().unwrap();
    write_cifar_100(folder.path());
    write(folder.path(), "test.bin", &records(0..2));
    let error = CIFAR_100.read(folder.path()).unwrap_err();
    assert_names(&error, &["test.bin", "6146", "3074"]);
}

#[test]
fn classes_out_of_range_are_refused() {
    let folder = tempdir().unwrap();
    write_cifar_10(folder.path());
    let mut bytes = records(0..4);
    bytes[2 * 3073] = 10;
    write(folder.path(), "data_batch_5.bin", &bytes);
    let error = CIFAR_10.read(folder.path()).unwrap_err();
    assert!(matches!(
        error,
        DataError::Label {
            record: 2,
            label: 10,
            classes: 10,
            ..
        }
    ));
    assert_names(&error, &["data_batch_5.bin", "record 2", "label 10"]);

    let folder = tempdir().unwrap();
    write_cifar_100(folder.path());
    let mut bytes = fine_records(0..3);
    // A coarse class is not looked at; a fine class of 100 does not exist.
    bytes[0] = 255;
    bytes[3074 + 1] = 100;
    write(folder.path(), "train.bin", &bytes);
    let error = CIFAR_100.read(folder.path()).unwrap_err();
    assert_names(&error, &["train.bin", "record 1", "label 100"]);
}

#[test]
fn a_list_of_names_must_fit() {
    let folder = tempdir().unwrap();
    write_cifar_10(folder.path());
    write(folder.path(), "batches.meta.txt", b"cat\ndog\n");
    let error = CIFAR_10.read(folder.path()).unwrap_err();
    assert_names(&error, &["batches.meta.txt", "2 names", "10"]);
}

/// The sample of real images, where it is there.
#[test]
fn the_sample_of_real_images_is_read() {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    let Some(folder) = manifest
        .ancestors()
        .map(|folder| folder.join("shared/data/cifar-10-sample"))
        .find(|folder| folder.is_dir())
    else {
        eprintln!("skipped: there is no shared/data/cifar-10-sample beside the checkout");
        return;
    };
    let set = read_folder(&folder, None).unwrap();
    assert_eq!((set.train.len(), set.test.len()), (10_000, 2_000));
    for split in [&set.train, &set.test] {
        for class in 0..10 {
            let count = split
                .labels()
                .iter()
                .filter(|label| **label == class)
                .count();
            assert_eq!(count, split.len() / 10);
        }
    }
    assert_eq!(set.classes[0], "airplane");
}
