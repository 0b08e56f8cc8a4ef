use std::collections::BTreeMap;

use super::{RecordError, StateRecord};
use burn::tensor::{DType, Device, Tensor, TensorData};

/// State tensors by parameter path and field.
#[derive(Debug, Clone, Default)]
pub(crate) struct StateStore {
    entries: BTreeMap<String, Entry>,
}

#[derive(Debug, Clone)]
enum Entry {
    Live(Tensor<1>),
    /// Loaded, and not yet on a device: the parameter's device is known at the next step.
    Loaded(TensorData),
}

impl StateStore {
    /// The state tensor of a parameter, if there is one.
    ///
    /// `len` and `dtype` are what the rule needs.
    pub(crate) fn get_at(
        &self,
        (path, device): (&str, &Device),
        field: &str,
        len: usize,
        dtype: DType,
    ) -> Result<Option<Tensor<1>>, RecordError> {
        let (found, found_dtype) = match self.entries.get(&key(path, field)) {
            None => return Ok(None),
            Some(Entry::Live(tensor)) => (tensor.dims().to_vec(), tensor.dtype()),
            Some(Entry::Loaded(data)) => (data.shape().to_vec(), data.dtype()),
        };
        if (&found[..], found_dtype) != (&[len][..], dtype) {
            return Err(RecordError::Mismatch {
                path: path.to_string(),
                field: field.to_string(),
                expected: format!("the shape [{len}] and the type {dtype:?}"),
                found: format!("the shape {found:?} and the type {found_dtype:?}"),
            });
        }
        Ok(self
            .entries
            .get(&key(path, field))
            .map(|entry| match entry {
                Entry::Live(tensor) => tensor.clone().to_device(device),
                Entry::Loaded(data) => Tensor::from_data(data.clone(), (device, dtype)),
            }))
    }

    pub(crate) fn set_at(&mut self, path: &str, field: &str, tensor: Tensor<1>) {
        self.entries.insert(key(path, field), Entry::Live(tensor));
    }

    /// Keeps values that are not on a device yet.
    pub(crate) fn set_data(&mut self, path: &str, field: &str, data: TensorData) {
        self.entries.insert(key(path, field), Entry::Loaded(data));
    }

    pub(crate) fn remove(&mut self, path: &str, field: &str) {
        self.entries.remove(&key(path, field));
    }

    /// Drops all fields of a parameter.
    pub(crate) fn forget(&mut self, path: &str) {
        self.entries
            .retain(|name, _| name.rsplit_once('#').is_none_or(|(own, _)| own != path));
    }

    pub(crate) fn has_path(&self, path: &str) -> bool {
        self.names_with_prefix(&format!("{path}#")).next().is_some()
    }

    /// Paths of the parameters that have entries.
    pub(crate) fn paths(&self) -> impl Iterator<Item = String> {
        let names = self.entries.keys();
        names.filter_map(|name| name.rsplit_once('#').map(|(path, _)| path.to_string()))
    }

    /// What follows a prefix in the names of entries.
    pub(crate) fn names_with_prefix<'a>(
        &'a self,
        prefix: &'a str,
    ) -> impl Iterator<Item = &'a str> {
        let from = self.entries.range(prefix.to_string()..);
        from.map_while(move |(name, _)| name.strip_prefix(prefix))
    }

    /// The values of all entries, read back, by `path#field`.
    pub(crate) fn to_data(&self) -> impl Iterator<Item = (&str, TensorData)> {
        self.entries.iter().map(|(name, entry)| {
            let data = match entry {
                Entry::Live(tensor) => tensor.to_data(),
                Entry::Loaded(data) => data.clone(),
            };
            (name.as_str(), data)
        })
    }

    pub(crate) fn num_bytes(&self) -> usize {
        self.entries
            .values()
            .map(|entry| match entry {
                Entry::Live(tensor) => tensor.dims()[0] * tensor.dtype().size(),
                Entry::Loaded(data) => data.as_bytes().len(),
            })
            .sum()
    }

    pub(crate) fn write(&self, record: &mut StateRecord) {
        for (name, data) in self.to_data() {
            record.tensors.insert(name.to_string(), data);
        }
    }
}

fn key(path: &str, field: &str) -> String {
    format!("{path}#{field}")
}
