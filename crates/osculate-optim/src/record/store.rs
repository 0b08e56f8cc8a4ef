use std::collections::BTreeMap;

use burn::module::Module;
use burn::tensor::{DType, Tensor, TensorData};
use osculate_curvature::ParamEntry;

use super::{ModulePaths, RecordError, StateRecord};

/// The state tensors of an update rule, by parameter path and field.
#[derive(Debug, Clone, Default)]
pub(crate) struct StateStore {
    slots: BTreeMap<String, Slot>,
    /// Loaded, and not yet compared with a model.
    unchecked: bool,
}

#[derive(Debug, Clone)]
enum Slot {
    Live(Tensor<1>),
    /// Loaded, and not yet on a device: the parameter's device is known at the next step.
    Loaded(TensorData),
}

impl StateStore {
    /// The state tensor of a parameter, if there is one.
    ///
    /// `len` and `dtype` are what the rule needs.
    pub(crate) fn get(
        &self,
        entry: &ParamEntry,
        field: &str,
        len: usize,
        dtype: DType,
    ) -> Result<Option<Tensor<1>>, RecordError> {
        let tensor = match self.slots.get(&key(&entry.path, field)) {
            None => return Ok(None),
            Some(Slot::Live(tensor)) => tensor.clone(),
            Some(Slot::Loaded(data)) => {
                check(entry, field, len, dtype, data.num_elements(), data.dtype())?;
                Tensor::from_data(data.clone(), (&entry.device, dtype))
            }
        };
        check(entry, field, len, dtype, tensor.dims()[0], tensor.dtype())?;
        Ok(Some(tensor.to_device(&entry.device)))
    }

    /// Checks that the model has every parameter that a state was loaded for, which is known at the
    /// first step after loading.
    pub(crate) fn check_loaded<M: Module>(&mut self, model: &M) -> Result<(), RecordError> {
        if !self.unchecked {
            return Ok(());
        }
        let paths = ModulePaths::of(model);
        for name in self.slots.keys() {
            let (path, field) = name.rsplit_once('#').unwrap_or((name, ""));
            if paths.id(path).is_none() {
                return Err(RecordError::no_parameter(path, field));
            }
        }
        self.unchecked = false;
        Ok(())
    }

    pub(crate) fn set(&mut self, entry: &ParamEntry, field: &str, tensor: Tensor<1>) {
        self.set_at(&entry.path, field, tensor);
    }

    pub(crate) fn set_at(&mut self, path: &str, field: &str, tensor: Tensor<1>) {
        self.slots.insert(key(path, field), Slot::Live(tensor));
    }

    /// Keeps values that are not on a device yet.
    pub(crate) fn set_data(&mut self, path: &str, field: &str, data: TensorData) {
        self.slots.insert(key(path, field), Slot::Loaded(data));
    }

    pub(crate) fn remove(&mut self, path: &str, field: &str) {
        self.slots.remove(&key(path, field));
    }

    /// The values of all entries, read back, by `path#field`.
    pub(crate) fn to_data(&self) -> impl Iterator<Item = (&str, TensorData)> {
        self.slots.iter().map(|(name, slot)| {
            let data = match slot {
                Slot::Live(tensor) => tensor.to_data(),
                Slot::Loaded(data) => data.clone(),
            };
            (name.as_str(), data)
        })
    }

    pub(crate) fn num_bytes(&self) -> usize {
        self.slots
            .values()
            .map(|slot| match slot {
                Slot::Live(tensor) => tensor.dims()[0] * tensor.dtype().size(),
                Slot::Loaded(data) => data.as_bytes().len(),
            })
            .sum()
    }

    pub(crate) fn write(&self, record: &mut StateRecord) {
        for (name, data) in self.to_data() {
            record.tensors.insert(name.to_string(), data);
        }
    }

    /// Takes the entries of the given fields out of a record.
    pub(crate) fn read(record: &StateRecord, fields: &[&'static str]) -> Self {
        Self::read_where(record, |field| fields.contains(&field))
    }

    /// Takes the entries of the fields that `own` names out of a record.
    pub(crate) fn read_where(record: &StateRecord, own: impl Fn(&str) -> bool) -> Self {
        let slots = record
            .tensors
            .iter()
            .filter(|(name, _)| name.rsplit_once('#').is_some_and(|(_, field)| own(field)))
            .map(|(name, data)| (name.clone(), Slot::Loaded(data.clone())))
            .collect();
        Self {
            slots,
            unchecked: true,
        }
    }
}

fn key(path: &str, field: &str) -> String {
    format!("{path}#{field}")
}

fn check(
    entry: &ParamEntry,
    field: &str,
    len: usize,
    dtype: DType,
    found_len: usize,
    found_dtype: DType,
) -> Result<(), RecordError> {
    if (len, dtype) == (found_len, found_dtype) {
        return Ok(());
    }
    Err(RecordError::Mismatch {
        path: entry.path.clone(),
        field: field.to_string(),
        expected: format!("{len} elements of type {dtype:?}"),
        found: format!("{found_len} elements of type {found_dtype:?}"),
    })
}
