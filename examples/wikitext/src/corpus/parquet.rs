//! Parquet files with a column `text`.

use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use parquet::basic::{LogicalType, Type as Physical};
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::Field;
use parquet::schema::types::Type;

use crate::error::WikitextError;

const COLUMN: &str = "text";

/// All rows of a file, one after the other. A row is a line; its line break is added where the file
/// does not hold it.
pub(super) fn read(path: &Path) -> Result<String, WikitextError> {
    let file = File::open(path).map_err(WikitextError::io(path))?;
    let length = file.metadata().map_err(WikitextError::io(path))?.len();
    if length == 0 {
        return Err(WikitextError::Empty {
            path: path.display().to_string(),
        });
    }
    // The decoder trusts what it reads in places, and may panic on damaged pages.
    let text = catch_unwind(AssertUnwindSafe(|| decode(path, file)))
        .unwrap_or_else(|_| Err(unreadable(path, "its pages are damaged")))?;
    if text.is_empty() {
        return Err(WikitextError::Empty {
            path: path.display().to_string(),
        });
    }
    Ok(text)
}

fn decode(path: &Path, file: File) -> Result<String, WikitextError> {
    let reader = SerializedFileReader::new(file).map_err(|error| unreadable(path, error))?;
    let metadata = reader.metadata().file_metadata();
    let projection = text_column(path, metadata.schema())?;
    let rows = reader
        .get_row_iter(Some(projection))
        .map_err(|error| unreadable(path, error))?;
    let (mut text, mut count) = (String::new(), 0);
    for row in rows {
        let row = row.map_err(|error| unreadable(path, error))?;
        let line = match row.get_column_iter().next() {
            Some((_, Field::Str(line))) => line.as_str(),
            Some((_, Field::Null)) => "",
            other => {
                let found = other.map_or("nothing".to_string(), |(_, field)| field.to_string());
                return Err(unreadable(path, format!("row {count} holds {found}")));
            }
        };
        text.push_str(line);
        if !line.ends_with('\n') {
            text.push('\n');
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
    Ok(text)
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
