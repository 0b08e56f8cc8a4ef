//! Records taken apart as a program that reads the pack format would.

use burn::tensor::Bytes;
use burn_pack::{Reader, Tensor, Writer};
use osculate_optim::StateRecord;

/// What stands before a path in the metadata.
const PARAMETER: &str = "osculate.parameter.";

fn reader(record: &StateRecord) -> Reader {
    let bytes = record.to_bytes().expect("a record");
    Reader::from_bytes(Bytes::from_bytes_vec(bytes)).expect("a pack")
}

/// The path that an entry is about: of `path#field`, and of the metadata of a parameter.
fn path_of(name: &str) -> Option<&str> {
    match name.rsplit_once('#') {
        Some((path, _)) => Some(path),
        None => name.strip_prefix(PARAMETER),
    }
}

/// The names of all entries, of tensors, numbers and metadata, that are about a path.
pub fn entries_of(record: &StateRecord, path: &str) -> Vec<String> {
    let reader = reader(record);
    let names = reader.scalars().keys().chain(reader.metadata().keys());
    let mut names: Vec<String> = names.cloned().collect();
    names.extend(record.tensor_names().map(str::to_string));
    names.retain(|name| path_of(name).is_some_and(|own| own.split('+').any(|own| own == path)));
    names
}

/// A record without anything about some paths: that of an optimizer that has never met them.
pub fn without(record: &StateRecord, paths: &[&str]) -> StateRecord {
    let other = |name: &str| path_of(name).is_none_or(|own| !paths.contains(&own));
    let reader = reader(record);
    let (metadata, scalars) = (reader.metadata().clone(), reader.scalars().clone());
    let tensors = reader.into_tensors().expect("in memory").into_iter();
    let tensors = tensors.filter_map(|tensor| {
        let (name, dtype, shape, _, bytes) = tensor.into_parts().expect("in memory");
        other(&name).then(|| Tensor::new(name, dtype, shape, None, bytes))
    });
    let mut writer = Writer::new(tensors.collect());
    for (name, value) in scalars.iter().filter(|(name, _)| other(name)) {
        writer = writer.with_scalar(name, *value);
    }
    for (name, value) in metadata.iter().filter(|(name, _)| other(name)) {
        writer = writer.with_metadata(name, value);
    }
    let bytes = writer.into_bytes().expect("a pack").to_vec();
    StateRecord::from_bytes(bytes).expect("a record")
}
