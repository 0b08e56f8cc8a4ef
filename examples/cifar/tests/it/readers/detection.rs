use std::path::Path;

use cifar::data::{DataError, Format, read_folder};
use tempfile::tempdir;

use super::{assert_names, write};

#[test]
fn an_unknown_folder_is_told_what_was_looked_for_and_how_to_get_it() {
    let folder = tempdir().unwrap();
    write(folder.path(), "readme.txt", b"text");
    let error = read_folder(folder.path(), None).unwrap_err();
    assert!(matches!(error, DataError::NothingFound { .. }));
    assert_names(
        &error,
        &[
            "data_batch_1.bin",
            "train.bin",
            "train-images-idx3-ubyte",
            "train/<class>/*.png",
            "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
            "--download",
            "dataset-fashion-mnist",
        ],
    );
    assert_names(&error, &[&folder.path().display().to_string()]);
}

#[test]
fn a_missing_folder_is_named() {
    for format in [None, Some(Format::Idx), Some(Format::PngFolder)] {
        let error = read_folder(Path::new("/no/such/folder"), format).unwrap_err();
        assert_names(&error, &["/no/such/folder"]);
    }
}
