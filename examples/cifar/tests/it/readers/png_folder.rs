use std::fs;
use std::path::Path;

use cifar::data::{DataError, png_folder, read_folder};
use image::{GrayImage, ImageBuffer, Luma, LumaA, Rgb, RgbImage, Rgba};
use tempfile::tempdir;

use super::{assert_names, byte};

const SIZE: [u32; 2] = [6, 5];

/// A colour image whose byte of channel, row and column is that of the plane order.
fn colour(image: usize, [width, height]: [u32; 2]) -> RgbImage {
    ImageBuffer::from_fn(width, height, |column, row| {
        let at = |channel: u32| {
            let pixel = (channel * height + row) * width + column;
            byte(image, pixel as usize)
        };
        Rgb([at(0), at(1), at(2)])
    })
}

fn save(folder: &Path, name: &str, image: &RgbImage) {
    fs::create_dir_all(folder).unwrap();
    image.save(folder.join(name)).unwrap();
}

/// Two classes, three training images and one test image each.
fn write_all(root: &Path) {
    for (class, name) in ["cat", "dog"].into_iter().enumerate() {
        for index in 0..3 {
            let image = colour(class * 10 + index, SIZE);
            save(
                &root.join("train").join(name),
                &format!("{index}.png"),
                &image,
            );
        }
        let image = colour(class * 10 + 3, SIZE);
        save(&root.join("test").join(name), "0.PNG", &image);
    }
}

#[test]
fn images_come_back_byte_by_byte_in_planes() {
    let root = tempdir().unwrap();
    write_all(root.path());
    fs::write(root.path().join("train/cat/readme.txt"), "text").unwrap();
    fs::write(root.path().join("train/.hidden"), "text").unwrap();
    let set = read_folder(root.path(), None).unwrap();
    assert_eq!(set.classes, ["cat", "dog"]);
    // Files that are no images are left out, and said to be; hidden ones are nobody's business.
    let [note] = &set.notes[..] else {
        panic!("{:?}", set.notes);
    };
    assert!(
        note.contains("readme.txt") && !note.contains("hidden"),
        "{note}"
    );
    assert_eq!((set.train.len(), set.test.len()), (6, 2));
    let shape = set.shape();
    assert_eq!((shape.channels, shape.height, shape.width), (3, 5, 6));
    for (position, image) in [0, 1, 2, 10, 11, 12].into_iter().enumerate() {
        let expected: Vec<u8> = (0..shape.len()).map(|pixel| byte(image, pixel)).collect();
        assert_eq!(set.train.image(position), expected);
    }
    assert_eq!(set.train.labels(), [0, 0, 0, 1, 1, 1]);
    assert_eq!(set.test.labels(), [0, 1]);
}

#[test]
fn classes_may_be_grouped() {
    let root = tempdir().unwrap();
    for part in ["train", "test"] {
        for (group, name) in [("pets", "dog"), ("pets", "cat"), ("farm", "sheep")] {
            let folder = root.path().join(part).join(group).join(name);
            save(&folder, "0.png", &colour(1, SIZE));
        }
    }
    let set = read_folder(root.path(), None).unwrap();
    assert_eq!(set.classes, ["cat", "dog", "sheep"]);
    // In the order of the paths: farm/sheep, pets/cat, pets/dog.
    assert_eq!(set.train.labels(), [2, 0, 1]);
}

#[test]
fn grey_images_have_one_channel_and_mixed_ones_are_converted() {
    let root = tempdir().unwrap();
    let grey = GrayImage::from_fn(4, 4, |x, y| Luma([(10 * x + y) as u8]));
    let clear = ImageBuffer::from_fn(4, 4, |x, y| LumaA([(10 * x + y) as u8, 7]));
    let deep = ImageBuffer::from_fn(4, 4, |x, y| Luma([(10 * x + y) as u16 * 257]));
    for part in ["train", "test"] {
        let folder = root.path().join(part).join("digit");
        fs::create_dir_all(&folder).unwrap();
        grey.save(folder.join("a.png")).unwrap();
        clear.save(folder.join("b.png")).unwrap();
        deep.save(folder.join("c.png")).unwrap();
    }
    let set = read_folder(root.path(), None).unwrap();
    assert_eq!(set.shape().channels, 1);
    for position in 0..3 {
        assert_eq!(set.train.image(position), grey.as_raw().as_slice());
    }

    let coloured = ImageBuffer::from_fn(4, 4, |x, y| Rgba([x as u8, y as u8, 9, 100]));
    coloured
        .save(root.path().join("train/digit/0.png"))
        .unwrap();
    let set = read_folder(root.path(), None).unwrap();
    assert_eq!(set.shape().channels, 3);
    assert_eq!(set.train.image(0)[2 * 16..], [9; 16]);
    assert_eq!(set.train.image(1)[..16], grey.as_raw()[..]);
    assert_eq!(set.train.image(1)[16..32], grey.as_raw()[..]);
}

#[test]
fn jpeg_files_are_images_as_well() {
    let root = tempdir().unwrap();
    write_all(root.path());
    let grey = ImageBuffer::from_pixel(SIZE[0], SIZE[1], Rgb([90, 120, 200]));
    let folder = root.path().join("train/cat");
    for name in ["1.jpg", "2.JPEG"] {
        save(&folder, name, &grey);
    }
    let set = read_folder(root.path(), None).unwrap();
    assert_eq!(set.train.len(), 8);
    assert_eq!(set.notes, Vec::<String>::new());
    assert_eq!(set.train.labels(), [0, 0, 0, 0, 0, 1, 1, 1]);
    // 0.png, 1.jpg, 1.png, ..: one colour survives the compression but for rounding.
    for (channel, expected) in [90_u8, 120, 200].into_iter().enumerate() {
        let plane = &set.train.image(1)[channel * 30..(channel + 1) * 30];
        assert!(
            plane.iter().all(|byte| byte.abs_diff(expected) < 6),
            "{plane:?}"
        );
    }
}

#[test]
fn images_that_would_be_lost_are_refused() {
    let root = tempdir().unwrap();
    write_all(root.path());
    let check = |name: &str, parts: &[&str]| {
        let path = root.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::copy(root.path().join("train/cat/0.png"), &path).unwrap();
        let error = read_folder(root.path(), None).unwrap_err();
        assert_names(&error, parts);
        fs::remove_file(path).unwrap();
    };
    check("train/cat/3.webp", &["3.webp", "PNG or JPEG"]);
    check("test/dog/3.TIFF", &["3.TIFF", "PNG or JPEG"]);
    check("train/loose.png", &["train/loose.png", "no class"]);
    check("test/loose.jpg", &["test/loose.jpg", "no class"]);
    check(
        "train/pets/dog/0.png",
        &["train/dog", "train/pets/dog", "one name"],
    );
}

#[test]
fn damaged_images_are_refused() {
    let root = tempdir().unwrap();
    write_all(root.path());
    let path = root.path().join("train/dog/1.png");
    let whole = fs::read(&path).unwrap();
    let mut flipped = whole.clone();
    let end = flipped.len() - 20;
    flipped[end] ^= 0xff;
    for bytes in [
        Vec::new(),
        whole[..whole.len() / 2].to_vec(),
        flipped,
        b"text".to_vec(),
    ] {
        fs::write(&path, bytes).unwrap();
        let error = png_folder::read(root.path()).unwrap_err();
        assert!(matches!(error, DataError::Image { .. }), "{error}");
        assert_names(&error, &["1.png", "dog"]);
    }
}

#[test]
fn images_of_another_size_are_refused() {
    let root = tempdir().unwrap();
    write_all(root.path());
    save(&root.path().join("test/dog"), "1.png", &colour(0, [7, 5]));
    let error = png_folder::read(root.path()).unwrap_err();
    assert!(matches!(error, DataError::ImageSize { .. }), "{error}");
    assert_names(&error, &["1.png", "7 x 5", "6 x 5"]);
}

#[test]
fn folders_that_lack_something_are_refused() {
    let root = tempdir().unwrap();
    write_all(root.path());
    save(&root.path().join("test/horse"), "0.png", &colour(0, SIZE));
    let error = png_folder::read(root.path()).unwrap_err();
    assert!(matches!(error, DataError::Class { .. }), "{error}");
    assert_names(&error, &["horse", "cat, dog"]);

    fs::remove_dir_all(root.path().join("test/horse")).unwrap();
    fs::create_dir(root.path().join("train/horse")).unwrap();
    let error = png_folder::read(root.path()).unwrap_err();
    assert!(matches!(error, DataError::Empty { .. }), "{error}");
    assert_names(&error, &["horse", "*.png"]);

    fs::remove_dir_all(root.path().join("test")).unwrap();
    let error = png_folder::read(root.path()).unwrap_err();
    assert!(matches!(error, DataError::Missing { .. }), "{error}");
    assert_names(&error, &["test", "<class>"]);

    let root = tempdir().unwrap();
    write_all(root.path());
    fs::remove_dir_all(root.path().join("train")).unwrap();
    fs::create_dir(root.path().join("train")).unwrap();
    let error = read_folder(root.path(), None).unwrap_err();
    assert_names(&error, &["train", "<class>/*.png"]);
}
