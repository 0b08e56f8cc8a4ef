//! Readers on files that these tests write in the published formats, and on damaged ones.

mod cifar_binary;
mod detection;
mod idx;
mod png_folder;

use std::fs;
use std::path::Path;

/// A byte that depends on image and pixel, so that a shift by one is noticed.
fn byte(image: usize, pixel: usize) -> u8 {
    (image * 131 + pixel * 7 + pixel / 97) as u8
}

fn write(folder: &Path, name: &str, bytes: &[u8]) {
    fs::write(folder.join(name), bytes).unwrap();
}

/// The message of an error, which must name all of these.
fn assert_names(error: &dyn std::error::Error, parts: &[&str]) {
    let message = error.to_string();
    for part in parts {
        assert!(message.contains(part), "{part:?} is not in: {message}");
    }
}
