//! Damaged files of texts: never a panic, and an error that names the file. `PROPTEST_CASES` makes it longer.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "../../../crates/osculate-train/tests/common/mutate.rs"]
mod mutate;

use std::fs;
use std::path::Path;
use std::sync::{Arc, LazyLock};

use mutate::{changed, changes};
use parquet::basic::Compression;
use parquet::data_type::{ByteArray, ByteArrayType};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use proptest::prelude::*;
use wikitext::corpus::{Corpus, Part};
use wikitext::tokenizer::Tokenizer;

const TEXT: &str = " \n = Du Fu = \n \n Du Fu – a Chinese poet . \n";

fn read(folder: &Path) -> Result<Corpus, String> {
    Corpus::from_folder(folder, Part::Train).map_err(|error| {
        let text = error.to_string();
        assert!(text.len() < 2000, "{text}");
        text
    })
}

/// A parquet file of some rows, in one of the compressions that are read.
fn parquet(compression: Compression) -> Vec<u8> {
    let schema = "message schema { optional binary text (UTF8); optional int32 other; }";
    let schema = Arc::new(parse_message_type(schema).unwrap());
    let properties = WriterProperties::builder().set_compression(compression);
    let mut bytes = Vec::new();
    let mut writer =
        SerializedFileWriter::new(&mut bytes, schema, Arc::new(properties.build())).unwrap();
    let mut group = writer.next_row_group().unwrap();
    let mut column = group.next_column().unwrap().unwrap();
    let rows: Vec<ByteArray> = TEXT.split_inclusive('\n').map(ByteArray::from).collect();
    column
        .typed::<ByteArrayType>()
        .write_batch(&rows, Some(&vec![1; rows.len()]), None)
        .unwrap();
    column.close().unwrap();
    let mut column = group.next_column().unwrap().unwrap();
    column
        .typed::<parquet::data_type::Int32Type>()
        .write_batch(&[], Some(&vec![0; rows.len()]), None)
        .unwrap();
    column.close().unwrap();
    group.close().unwrap();
    writer.close().unwrap();
    bytes
}

static FILES: LazyLock<[Vec<u8>; 3]> = LazyLock::new(|| {
    [
        Compression::UNCOMPRESSED,
        Compression::SNAPPY,
        Compression::GZIP(Default::default()),
    ]
    .map(parquet)
});

static TOKENIZER: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let folder = tempfile::tempdir().unwrap();
    let bpe = Tokenizer::train_bpe(&TEXT.repeat(9), 280).unwrap();
    bpe.save(folder.path()).unwrap();
    fs::read(folder.path().join("tokenizer.json")).unwrap()
});

/// Found by the test below: a file that ends within the decoder.
#[test]
fn a_tokenizer_that_makes_its_library_panic_is_refused() {
    let text = std::str::from_utf8(&TOKENIZER).unwrap();
    let decoder = text.find("\"decoder\":{").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tokenizer.json");
    for end in decoder..decoder + 40 {
        fs::write(&path, &text[..end]).unwrap();
        let error = Tokenizer::from_file(&path).unwrap_err().to_string();
        assert!(error.contains("tokenizer.json"), "{error}");
    }
}

proptest! {
    #[test]
    fn any_parquet_file_is_read_or_refused(file in 0..3_usize, changes in changes()) {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("train.parquet"), changed(&FILES[file], &changes)).unwrap();
        fs::write(at("wiki.valid.tokens"), TEXT).unwrap();
        if let Err(text) = read(folder.path()) {
            prop_assert!(text.contains("train.parquet"), "{text}");
        }
    }

    #[test]
    fn any_text_is_read_or_refused(changes in changes()) {
        let folder = tempfile::tempdir().unwrap();
        let bytes = changed(TEXT.as_bytes(), &changes);
        fs::write(folder.path().join("wiki.train.tokens"), &bytes).unwrap();
        fs::write(folder.path().join("wiki.valid.tokens"), TEXT).unwrap();
        match read(folder.path()) {
            Ok(corpus) => prop_assert_eq!(corpus.train.into_bytes(), bytes),
            Err(text) => prop_assert!(text.contains("wiki.train.tokens"), "{text}"),
        }
    }

    /// Other files beside, and the folder itself, may have any name.
    #[cfg(unix)]
    #[test]
    fn any_names_beside_the_texts_change_nothing(within in mutate::name(), beside in mutate::name()) {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join(within);
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join(beside), "").unwrap();
        for part in ["train", "valid"] {
            fs::write(folder.join(format!("wiki.{part}.tokens")), TEXT).unwrap();
        }
        let corpus = read(&folder).unwrap();
        prop_assert_eq!(corpus.train, TEXT);
    }

    #[test]
    fn any_name_of_a_file_is_read_or_not(
        names in proptest::collection::vec("(train|validation|valid|test)(-[0-9]{1,3}-of-[0-9]{1,3})?\\.parquet", 1..5),
    ) {
        let folder = tempfile::tempdir().unwrap();
        for name in &names {
            fs::write(folder.path().join(name), &FILES[1]).unwrap();
        }
        if let Ok(corpus) = read(folder.path()) {
            // Each text is there once for each number, and no number twice.
            prop_assert!(corpus.train.len().is_multiple_of(TEXT.len()));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases.div_ceil(4), ..ProptestConfig::default() })]

    #[test]
    fn any_tokenizer_is_read_or_refused(changes in changes()) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokenizer.json");
        fs::write(&path, changed(&TOKENIZER, &changes)).unwrap();
        match Tokenizer::from_file(&path) {
            Ok(tokenizer) => {
                if let Ok(ids) = tokenizer.encode(TEXT) {
                    prop_assert!(ids.iter().all(|id| (*id as usize) < tokenizer.vocab()));
                    let _ = tokenizer.decode(&ids);
                }
            }
            Err(error) => prop_assert!(error.to_string().contains("tokenizer.json")),
        }
    }
}
