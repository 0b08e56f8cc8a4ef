//! The readers of WikiText's published formats, on files written here.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use parquet::data_type::{ByteArray, ByteArrayType, Int32Type};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use tempfile::TempDir;
use wikitext::corpus::{Corpus, Part};
use wikitext::error::WikitextError;

const TRAIN: &str = " \n = Robert Boulter = \n \n Robert Boulter is an English film actor . \n";
const VALID: &str = " \n = Homarus gammarus = \n \n The European lobster – 60 cm . \n";
const TEST: &str = " \n = Du Fu = \n \n Du Fu was a Chinese poet . \n";

fn folder(files: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        fs::write(folder.path().join(name), text).unwrap();
    }
    folder
}

/// Writes rows as the data set's parquet files hold them: a column of strings, in row groups.
fn write_parquet(path: &Path, groups: &[&[&str]]) {
    let schema = "message schema { optional binary text (UTF8); }";
    let schema = Arc::new(parse_message_type(schema).unwrap());
    let properties = WriterProperties::builder()
        .set_compression(parquet::basic::Compression::SNAPPY)
        .build();
    let file = fs::File::create(path).unwrap();
    let mut writer = SerializedFileWriter::new(file, schema, Arc::new(properties)).unwrap();
    for rows in groups {
        let mut group = writer.next_row_group().unwrap();
        let mut column = group.next_column().unwrap().unwrap();
        let values: Vec<ByteArray> = rows.iter().map(|row| ByteArray::from(*row)).collect();
        let levels = vec![1; rows.len()];
        column
            .typed::<ByteArrayType>()
            .write_batch(&values, Some(&levels), None)
            .unwrap();
        column.close().unwrap();
        group.close().unwrap();
    }
    writer.close().unwrap();
}

fn parquet_folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    write_parquet(
        &at("train-00000-of-00002.parquet"),
        &[
            &["", " = Robert Boulter = \n"],
            &["", " Robert Boulter is an English"],
        ],
    );
    write_parquet(
        &at("train-00001-of-00002.parquet"),
        &[&[" film actor . \n"]],
    );
    write_parquet(&at("validation-00000-of-00001.parquet"), &[&[VALID]]);
    write_parquet(&at("test-00000-of-00001.parquet"), &[&[TEST]]);
    folder
}

fn error(folder: &TempDir) -> WikitextError {
    Corpus::from_folder(folder.path(), Part::Train).unwrap_err()
}

#[test]
fn tokens_and_raw_files_are_read() {
    for ending in ["tokens", "raw"] {
        let names = ["train", "valid", "test"].map(|part| format!("wiki.{part}.{ending}"));
        let folder = folder(&[(&names[0], TRAIN), (&names[1], VALID), (&names[2], TEST)]);
        let corpus = Corpus::from_folder(folder.path(), Part::Train).unwrap();
        assert_eq!(corpus.train, TRAIN);
        assert_eq!(corpus.valid, VALID);
        assert_eq!(corpus.test.as_deref(), Some(TEST));
        let before = corpus.fingerprint();
        fs::write(folder.path().join(&names[2]), VALID).unwrap();
        let corpus = Corpus::from_folder(folder.path(), Part::Train).unwrap();
        assert_ne!(corpus.fingerprint(), before);
    }
}

#[test]
fn parquet_files_are_read_in_order() {
    let folder = parquet_folder();
    let corpus = Corpus::from_folder(folder.path(), Part::Train).unwrap();
    assert_eq!(
        corpus.train,
        "\n = Robert Boulter = \n\n Robert Boulter is an English\n film actor . \n"
    );
    assert_eq!(corpus.valid, VALID);
    assert_eq!(corpus.test.as_deref(), Some(TEST));
}

#[test]
fn the_validation_part_can_be_trained_on() {
    let folder = folder(&[("wiki.valid.tokens", VALID), ("wiki.test.tokens", TEST)]);
    let corpus = Corpus::from_folder(folder.path(), Part::Valid).unwrap();
    assert_eq!(
        (corpus.train.as_str(), corpus.valid.as_str()),
        (VALID, TEST)
    );
    assert_eq!(corpus.test, None);

    let error = error(&folder);
    assert!(
        matches!(
            error,
            WikitextError::MissingPart {
                part: Part::Train,
                ..
            }
        ),
        "{error}"
    );
    let message = error.to_string();
    for needed in [
        "wiki.train.tokens",
        "wiki.train.raw",
        "train-*.parquet",
        "wiki.valid.tokens",
        "--train-part valid",
    ] {
        assert!(message.contains(needed), "{message}");
    }
    let error = Corpus::from_folder(folder.path(), Part::Test).unwrap_err();
    assert!(matches!(error, WikitextError::Setting { .. }), "{error}");
}

#[test]
fn a_missing_folder_and_an_empty_one_are_told_apart() {
    let folder = folder(&[]);
    assert!(error(&folder).to_string().contains("The folder is empty"));
    let nowhere = folder.path().join("nowhere");
    let error = Corpus::from_folder(&nowhere, Part::Train).unwrap_err();
    assert!(matches!(error, WikitextError::Io { .. }), "{error}");
    assert!(error.to_string().contains("nowhere"));
}

#[test]
fn damaged_texts_are_named() {
    let folder = folder(&[("wiki.train.tokens", ""), ("wiki.valid.tokens", VALID)]);
    assert!(matches!(error(&folder), WikitextError::Empty { .. }));

    let path = folder.path().join("wiki.train.tokens");
    let mut bytes = TRAIN.as_bytes().to_vec();
    bytes[10] = 0xFF;
    fs::write(&path, bytes).unwrap();
    let found = error(&folder);
    assert!(
        matches!(found, WikitextError::NotUtf8 { at: 10, .. }),
        "{found}"
    );

    // The dash in the validation part has three bytes: a file cut within it.
    fs::write(&path, TRAIN).unwrap();
    let dash = VALID.find('–').unwrap();
    fs::write(
        folder.path().join("wiki.valid.tokens"),
        &VALID.as_bytes()[..dash + 1],
    )
    .unwrap();
    let found = error(&folder);
    assert!(matches!(found, WikitextError::NotUtf8 { .. }), "{found}");
}

/// A text of one's own need not end with a line break; one that was cut off looks the same.
#[test]
fn a_text_without_a_last_line_break_is_read_and_noted() {
    let cut = &TRAIN[..TRAIN.len() - 9];
    let folder = folder(&[("wiki.train.tokens", cut), ("wiki.valid.tokens", VALID)]);
    let corpus = Corpus::from_folder(folder.path(), Part::Train).unwrap();
    assert_eq!(corpus.train, cut);
    let [note] = &corpus.notes[..] else {
        panic!("{:?}", corpus.notes);
    };
    assert!(
        note.contains("wiki.train.tokens") && note.contains("cut off"),
        "{note}"
    );
}

#[test]
fn files_of_a_part_that_are_not_read_are_noted() {
    let folder = folder(&[
        ("wiki.train.tokens", TRAIN),
        ("wiki.train.raw", TRAIN),
        ("train-00000-of-00001.parquet", "of another download"),
        ("wiki.valid.tokens", VALID),
        ("wiki.test.tokens", TEST),
        ("LICENSE", "text"),
    ]);
    let corpus = Corpus::from_folder(folder.path(), Part::Train).unwrap();
    let [note] = &corpus.notes[..] else {
        panic!("{:?}", corpus.notes);
    };
    for part in [
        "from wiki.train.tokens",
        "wiki.train.raw",
        "train-00000-of-00001.parquet",
    ] {
        assert!(note.contains(part), "{note}");
    }
}

/// A column of texts with another schema, and with rows that are absent where `None`.
fn write_column(path: &Path, schema: &str, rows: &[Option<&[u8]>]) {
    let schema = Arc::new(parse_message_type(schema).unwrap());
    let file = fs::File::create(path).unwrap();
    let properties = Arc::new(WriterProperties::default());
    let mut writer = SerializedFileWriter::new(file, schema, properties).unwrap();
    let mut group = writer.next_row_group().unwrap();
    let mut column = group.next_column().unwrap().unwrap();
    let values: Vec<ByteArray> = rows
        .iter()
        .flatten()
        .map(|row| ByteArray::from(row.to_vec()))
        .collect();
    let levels: Vec<i16> = rows.iter().map(|row| i16::from(row.is_some())).collect();
    column
        .typed::<ByteArrayType>()
        .write_batch(&values, Some(&levels), None)
        .unwrap();
    column.close().unwrap();
    group.close().unwrap();
    writer.close().unwrap();
}

#[test]
fn rows_without_a_text_are_left_out_and_noted() {
    let folder = parquet_folder();
    let path = folder.path().join("train-00001-of-00002.parquet");
    let rows = [None, Some(&b" film actor . \n"[..]), None, Some(b"")];
    write_column(
        &path,
        "message schema { optional binary text (UTF8); }",
        &rows,
    );
    let corpus = Corpus::from_folder(folder.path(), Part::Train).unwrap();
    assert!(
        corpus.train.ends_with("English\n film actor . \n\n"),
        "{:?}",
        corpus.train
    );
    let [note] = &corpus.notes[..] else {
        panic!("{:?}", corpus.notes);
    };
    for part in ["train-00001", "2 rows", "row 0"] {
        assert!(note.contains(part), "{note}");
    }
}

/// Texts that are not marked as such are read; bytes that are none are counted, not shown.
#[test]
fn a_binary_column_is_text_or_an_error_of_one_line() {
    let folder = parquet_folder();
    let path = folder.path().join("train-00001-of-00002.parquet");
    let schema = "message schema { optional binary text; }";
    write_column(&path, schema, &[Some(b" film actor . \n")]);
    let corpus = Corpus::from_folder(folder.path(), Part::Train).unwrap();
    assert!(corpus.train.ends_with(" film actor . \n"));
    let noise = vec![0xFF_u8; 100_000];
    write_column(&path, schema, &[Some(b"text"), Some(&noise)]);
    let found = error(&folder).to_string();
    assert!(found.contains("row 1 holds 100000 bytes"), "{found}");
    assert!(found.len() < 400, "{}", found.len());
}

/// The codec stands in the file's footer, as 1 for snappy and 6 for zstd, doubled as thrift has it.
#[test]
fn a_compression_that_is_not_known_is_named() {
    let folder = parquet_folder();
    let path = folder.path().join("train-00000-of-00002.parquet");
    let whole = fs::read(&path).unwrap();
    let places = (0..whole.len()).filter(|at| whole[*at] == 2);
    let mut told = places.filter_map(|at| {
        let mut bytes = whole.clone();
        bytes[at] = 12;
        fs::write(&path, bytes).unwrap();
        let error = Corpus::from_folder(folder.path(), Part::Train)
            .err()?
            .to_string();
        error.contains("ZSTD").then_some(error)
    });
    let told = told.next().unwrap();
    assert!(
        told.contains("snappy") && told.contains("train-00000"),
        "{told}"
    );
}

#[test]
fn a_number_that_is_there_twice_is_refused() {
    let folder = parquet_folder();
    let at = |name: &str| folder.path().join(name);
    fs::copy(
        at("train-00000-of-00002.parquet"),
        at("train-0-of-2.parquet"),
    )
    .unwrap();
    let found = error(&folder);
    assert!(
        matches!(found, WikitextError::MixedShards { .. }),
        "{found}"
    );
}

#[test]
fn damaged_parquet_files_are_named_wherever_they_are_cut() {
    let folder = parquet_folder();
    let path = folder.path().join("train-00000-of-00002.parquet");
    let whole = fs::read(&path).unwrap();
    for length in (1..whole.len()).step_by(7) {
        fs::write(&path, &whole[..length]).unwrap();
        let found = error(&folder);
        assert!(
            matches!(found, WikitextError::Parquet { .. }),
            "{length}: {found}"
        );
        assert!(found.to_string().contains("train-00000"), "{found}");
    }
    fs::write(&path, "").unwrap();
    assert!(matches!(error(&folder), WikitextError::Empty { .. }));
    fs::write(&path, TRAIN).unwrap();
    assert!(matches!(error(&folder), WikitextError::Parquet { .. }));
}

#[test]
fn a_byte_changed_in_a_parquet_file_never_panics() {
    let folder = parquet_folder();
    let path = folder.path().join("train-00000-of-00002.parquet");
    let whole = fs::read(&path).unwrap();
    let text = Corpus::from_folder(folder.path(), Part::Train)
        .unwrap()
        .train;
    let mut failures = 0;
    for at in (0..whole.len()).step_by(3) {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x5A;
        fs::write(&path, bytes).unwrap();
        match Corpus::from_folder(folder.path(), Part::Train) {
            // A byte of a text, or one that nobody reads.
            Ok(corpus) => assert!(corpus.train.len() < 2 * text.len()),
            Err(error) => {
                failures += 1;
                assert!(error.to_string().contains("train-00000"), "{error}");
            }
        }
    }
    assert!(failures > 0);
}

#[test]
fn a_missing_file_of_several_is_named() {
    let folder = parquet_folder();
    fs::remove_file(folder.path().join("train-00000-of-00002.parquet")).unwrap();
    let found = error(&folder);
    assert!(
        matches!(
            found,
            WikitextError::MissingShard {
                present: 1,
                expected: 2,
                ..
            }
        ),
        "{found}"
    );
    assert!(
        found.to_string().contains("train-00000-of-00002.parquet"),
        "{found}"
    );
}

#[test]
fn files_of_several_sets_are_not_joined() {
    let folder = parquet_folder();
    let at = |name: &str| folder.path().join(name);
    for other in ["train-00000-of-00001.parquet", "train.parquet"] {
        write_parquet(&at(other), &[&["another set\n"]]);
        let found = error(&folder);
        assert!(
            matches!(found, WikitextError::MixedShards { .. }),
            "{found}"
        );
        assert!(found.to_string().contains(other), "{found}");
        fs::remove_file(at(other)).unwrap();
    }
}

#[test]
fn other_columns_are_listed() {
    let folder = parquet_folder();
    let path = folder.path().join("train-00000-of-00002.parquet");
    let schema = "message schema { required int32 text; }";
    let schema = Arc::new(parse_message_type(schema).unwrap());
    let file = fs::File::create(&path).unwrap();
    let mut writer =
        SerializedFileWriter::new(file, schema, Arc::new(WriterProperties::default())).unwrap();
    let mut group = writer.next_row_group().unwrap();
    let mut column = group.next_column().unwrap().unwrap();
    column
        .typed::<Int32Type>()
        .write_batch(&[1, 2], None, None)
        .unwrap();
    column.close().unwrap();
    group.close().unwrap();
    writer.close().unwrap();
    let found = error(&folder);
    assert!(
        matches!(found, WikitextError::NoTextColumn { .. }),
        "{found}"
    );
    assert!(found.to_string().contains("text (INT32)"), "{found}");
}
