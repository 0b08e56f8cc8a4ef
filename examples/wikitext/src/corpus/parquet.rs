//! Parquet files with a column `text`.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use osculate_program::caught;
use parquet::basic::{Compression, LogicalType, Type as Physical};
use parquet::file::metadata::ParquetMetaData;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::Field;
use parquet::schema::types::Type;

use crate::error::WikitextError;

const COLUMN: &str = "text";

/// All rows of a file, one after the other. A row is a line; its line break is added where the file
/// does not hold it. Rows without a text are left out, and noted.
pub(super) fn read(path: &Path, notes: &mut Vec<String>) -> Result<String, WikitextError> {
    let file = File::open(path).map_err(WikitextError::io(path))?;
    let length = file.metadata().map_err(WikitextError::io(path))?.len();
    if length == 0 {
        return Err(WikitextError::Empty {
            path: path.display().to_string(),
        });
    }
    // The decoder trusts what it reads in places, and may panic on damaged pages.
    let (text, nulls) = caught(|| decode(path, file))
        .unwrap_or_else(|_| Err(unreadable(path, "its pages are damaged")))?;
    if let Some(first) = nulls.first() {
        notes.push(format!(
            "{} rows of {} hold no text (null) and are left out, the first of them row {first}, counted from 0",
            nulls.len(),
            path.display()
        ));
    }
    if text.is_empty() {
        return Err(WikitextError::Empty {
            path: path.display().to_string(),
        });
    }
    Ok(text)
}

/// The texts, and the numbers of rows that have none.
fn decode(path: &Path, file: File) -> Result<(String, Vec<i64>), WikitextError> {
    let reader = SerializedFileReader::new(file).map_err(|error| unreadable(path, error))?;
    check_compression(path, reader.metadata())?;
    let metadata = reader.metadata().file_metadata();
    let projection = text_column(path, metadata.schema())?;
    let rows = reader
        .get_row_iter(Some(projection))
        .map_err(|error| unreadable(path, error))?;
    let (mut text, mut count, mut nulls) = (String::new(), 0, Vec::new());
    for row in rows {
        let row = row.map_err(|error| unreadable(path, error))?;
        let wrong = |what: String| unreadable(path, format!("row {count} holds {what}"));
        let line = match row.get_column_iter().next() {
            Some((_, Field::Str(line))) => Some(line.as_str()),
            // Some writers do not mark texts as such.
            Some((_, Field::Bytes(bytes))) => {
                let line = std::str::from_utf8(bytes.data());
                Some(line.map_err(|_| wrong(format!("{} bytes that are no UTF-8", bytes.len())))?)
            }
            Some((_, Field::Null)) => None,
            _ => return Err(wrong("no text".to_string())),
        };
        match line {
            Some(line) => {
                text.push_str(line);
                if !line.ends_with('\n') {
                    text.push('\n');
                }
            }
            None => nulls.push(count),
        }
        count += 1;
    }
    if count != metadata.num_rows() {
        let rows = metadata.num_rows();
        return Err(unreadable(
            path,
            format!("it has {count} of its {rows} rows"),
        ));
    }
    Ok((text, nulls))
}

/// Refuses texts that are compressed in a way that this program does not know.
fn check_compression(path: &Path, metadata: &ParquetMetaData) -> Result<(), WikitextError> {
    let chunks = metadata
        .row_groups()
        .iter()
        .flat_map(|group| group.columns());
    let mut texts = chunks.filter(|chunk| chunk.column_path().string() == COLUMN);
    let known = |compression: &Compression| {
        use Compression::{GZIP, SNAPPY, UNCOMPRESSED};
        matches!(compression, GZIP(_) | SNAPPY | UNCOMPRESSED)
    };
    match texts.find(|chunk| !known(&chunk.compression())) {
        None => Ok(()),
        Some(chunk) => Err(unreadable(
            path,
            format!(
                "its texts are compressed with {:?}, and this program reads snappy, gzip and what is not \
                 compressed; pyarrow.parquet.write_table(pyarrow.parquet.read_table(FILE), FILE) writes it as \
                 snappy",
                chunk.compression()
            ),
        )),
    }
}

/// The schema that holds nothing but the texts.
fn text_column(path: &Path, schema: &Type) -> Result<Type, WikitextError> {
    let texts = schema.get_fields().iter().find(|field| {
        field.name() == COLUMN
            && field.is_primitive()
            && field.get_physical_type() == Physical::BYTE_ARRAY
            && matches!(
                field.get_basic_info().logical_type_ref(),
                None | Some(LogicalType::String)
            )
    });
    let Some(texts) = texts else {
        let describe = |field: &Arc<Type>| {
            let kind = if field.is_primitive() {
                format!("{:?}", field.get_physical_type())
            } else {
                "group".to_string()
            };
            format!("{} ({kind})", field.name())
        };
        return Err(WikitextError::NoTextColumn {
            path: path.display().to_string(),
            columns: schema.get_fields().iter().map(describe).collect(),
        });
    };
    Type::group_type_builder(schema.name())
        .with_fields(vec![texts.clone()])
        .build()
        .map_err(|error| unreadable(path, error))
}

fn unreadable(path: &Path, message: impl std::fmt::Display) -> WikitextError {
    WikitextError::Parquet {
        path: path.display().to_string(),
        message: message.to_string(),
    }
}
