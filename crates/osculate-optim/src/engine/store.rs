//! The state of all blocks, kept stacked from step to step.

use std::cell::OnceCell;
use std::collections::{BTreeMap, HashMap};

use burn::tensor::{Device, Tensor};
use osculate_curvature::ParamEntry;

use super::rule::Field;
use crate::record::{RecordError, StateRecord, StateStore};

/// A block of a parameter.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct BlockKey {
    pub path: String,
    pub block: usize,
}

/// What is kept of a parameter on the host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ParameterCounters {
    /// Gradients received.
    pub steps: u64,
    /// Phase of the first block in the order in which refreshes take turns.
    pub phase: u64,
    /// Failures in a row by block and factor, where there are any.
    pub failures: BTreeMap<(usize, usize), u64>,
}

impl ParameterCounters {
    pub(crate) fn new(phase: u64) -> Self {
        Self {
            phase,
            ..Self::default()
        }
    }

    /// The counters by name. The names are those of the first records: `slot` is the phase.
    pub(crate) fn counts(&self) -> impl Iterator<Item = (String, u64)> {
        let fixed = [("steps", self.steps), ("slot", self.phase)];
        let failures = self.failures.iter();
        fixed
            .into_iter()
            .map(|(name, value)| (name.to_string(), value))
            .chain(failures.map(|((block, factor), &n)| (failure_name(*block, *factor), n)))
    }

    /// Takes over a counter, if its name is one of [`counts`](Self::counts).
    fn set(&mut self, name: &str, value: u64) -> bool {
        match name {
            "steps" => self.steps = value,
            "slot" => self.phase = value,
            _ => {
                let Some(place) = name.strip_prefix("failures.") else {
                    return false;
                };
                let place = place.split_once('.');
                let place = place.and_then(|(b, f)| Some((b.parse().ok()?, f.parse().ok()?)));
                let Some(place) = place else { return false };
                self.failures.insert(place, value);
            }
        }
        true
    }
}

pub(crate) fn failure_name(block: usize, factor: usize) -> String {
    format!("failures.{block}.{factor}")
}

pub(crate) fn field_name(block: usize, field: &str) -> String {
    format!("{block}.{field}")
}

/// The state of blocks that were stacked in the last step.
#[derive(Debug, Clone)]
pub(crate) struct StackedState {
    pub keys: Vec<BlockKey>,
    /// `[k, len]` each.
    pub fields: Vec<(Field, Tensor<2>)>,
}

impl StackedState {
    fn row(&self, field: usize, row: usize) -> Tensor<1> {
        self.fields[field].1.clone().narrow(0, row, 1).flatten(0, 1)
    }

    fn put_into(self, store: &mut StateStore) {
        for (row, key) in self.keys.iter().enumerate() {
            for (position, (field, _)) in self.fields.iter().enumerate() {
                let name = field_name(key.block, field.name);
                store.set_at(&key.path, &name, self.row(position, row));
            }
        }
    }
}

/// Stacked states and rows of stacked blocks.
pub(crate) type Places<'a> = HashMap<&'a BlockKey, (usize, usize)>;

/// The state of a rule over the parameters of a model.
///
/// Blocks stay stacked as long as the same ones are stepped together; the state of others rests by
/// block in the store.
#[derive(Debug, Clone, Default)]
pub(crate) struct BlockStore {
    pub counters: BTreeMap<String, ParameterCounters>,
    pub next_phase: u64,
    stacked: Vec<StackedState>,
    resting: StateStore,
}

impl BlockStore {
    /// The stacked state of blocks, zero for those that have none yet.
    pub(crate) fn gather<'a>(
        &'a self,
        places: &OnceCell<Places<'a>>,
        keys: &[BlockKey],
        entries: &[&ParamEntry],
        fields: &[Field],
    ) -> Result<Vec<Tensor<2>>, RecordError> {
        let resident = self.stacked.iter().find(|stacked| stacked.keys == keys);
        if let Some(stacked) = resident {
            let same = stacked.fields.iter().map(|(field, _)| field);
            if same.eq(fields) {
                let device = &entries[0].device;
                let tensors = stacked.fields.iter();
                return Ok(tensors
                    .map(|(_, tensor)| tensor.clone().to_device(device))
                    .collect());
            }
        }
        let places = places.get_or_init(|| self.places());
        for key in keys.iter().filter(|key| !places.contains_key(*key)) {
            self.check_whole(key, fields)?;
        }
        fields
            .iter()
            .map(|field| {
                let rows = keys
                    .iter()
                    .zip(entries)
                    .map(|(key, entry)| self.row(places, key, entry, field))
                    .collect::<Result<Vec<_>, _>>()?;
                Ok(Tensor::stack(rows, 0))
            })
            .collect()
    }

    /// Where each stacked block is: stack and row.
    fn places(&self) -> Places<'_> {
        let stacks = self.stacked.iter().enumerate();
        stacks
            .flat_map(|(stack, stacked)| {
                let keys = stacked.keys.iter().enumerate();
                keys.map(move |(row, key)| (key, (stack, row)))
            })
            .collect()
    }

    /// A resting state has all the fields of its rule and no other, or none at all.
    fn check_whole(&self, key: &BlockKey, fields: &[Field]) -> Result<(), RecordError> {
        let prefix = format!("{}#{}.", key.path, key.block);
        let kept: Vec<&str> = self.resting.names_with_prefix(&prefix).collect();
        if kept.is_empty() {
            return Ok(());
        }
        let missing = fields.iter().find(|field| !kept.contains(&field.name));
        if let Some(field) = missing {
            return Err(RecordError::Missing {
                name: format!("{prefix}{}", field.name),
            });
        }
        let declared = |name: &&str| fields.iter().any(|field| field.name == *name);
        match kept.iter().find(|name| !declared(name)) {
            Some(name) => Err(RecordError::Unknown {
                name: format!("{prefix}{name}"),
                declared: fields.iter().map(|field| field.name.to_string()).collect(),
            }),
            None => Ok(()),
        }
    }

    fn row(
        &self,
        places: &Places<'_>,
        key: &BlockKey,
        entry: &ParamEntry,
        field: &Field,
    ) -> Result<Tensor<1>, RecordError> {
        let stacked = places.get(key).and_then(|&(stack, row)| {
            let stacked = &self.stacked[stack];
            let position = stacked.fields.iter().position(|(own, _)| own == field)?;
            Some(stacked.row(position, row))
        });
        if let Some(tensor) = stacked {
            return Ok(tensor.to_device(&entry.device));
        }
        let name = field_name(key.block, field.name);
        let at = (key.path.as_str(), &entry.device);
        let stored = self.resting.get_at(at, &name, field.len, field.dtype)?;
        Ok(stored.unwrap_or_else(|| Tensor::zeros([field.len], (&entry.device, field.dtype))))
    }

    /// Replaces the state of the blocks in `stacked`; all others rest where they are.
    pub(crate) fn install(&mut self, stacked: Vec<StackedState>) {
        let old = std::mem::replace(&mut self.stacked, stacked);
        let unchanged = old.len() == self.stacked.len()
            && old.iter().zip(&self.stacked).all(|(a, b)| a.keys == b.keys);
        if unchanged {
            return;
        }
        for stacked in old {
            stacked.put_into(&mut self.resting);
        }
        for stacked in &self.stacked {
            for key in &stacked.keys {
                for (field, _) in &stacked.fields {
                    let name = field_name(key.block, field.name);
                    self.resting.remove(&key.path, &name);
                }
            }
        }
    }

    /// Drops the state of a parameter.
    pub(crate) fn forget(&mut self, path: &str) {
        if self.counters.remove(path).is_none() && !self.resting.has_path(path) {
            return;
        }
        let stacked = std::mem::take(&mut self.stacked);
        for stacked in stacked {
            stacked.put_into(&mut self.resting);
        }
        self.resting.forget(path);
    }

    /// Every block by itself.
    pub(crate) fn unstacked(&self) -> StateStore {
        let mut store = self.resting.clone();
        for stacked in &self.stacked {
            stacked.clone().put_into(&mut store);
        }
        store
    }

    pub(crate) fn num_bytes(&self) -> usize {
        let stacked = self.stacked.iter().flat_map(|stacked| &stacked.fields);
        let stacked: usize = stacked
            .map(|(field, tensor)| tensor.shape().num_elements() * field.dtype.size())
            .sum();
        stacked + self.resting.num_bytes()
    }

    /// Paths of the parameters that have state.
    pub(crate) fn paths(&self) -> Vec<String> {
        let mut paths: Vec<String> = self.counters.keys().cloned().collect();
        paths.extend(self.resting.paths());
        paths.sort();
        paths.dedup();
        paths
    }

    pub(crate) fn write(&self, record: &mut StateRecord, prefix: &str) {
        record.set_count(&format!("{prefix}next_slot"), self.next_phase);
        for (path, counters) in &self.counters {
            for (name, value) in counters.counts() {
                record.set_count(&format!("{path}#{name}"), value);
            }
        }
        self.unstacked().write(record);
    }

    /// The state of the parameters that are this store's in a record.
    pub(crate) fn read(record: &StateRecord, prefix: &str, own: impl Fn(&str) -> bool) -> Self {
        let mut counters: BTreeMap<String, ParameterCounters> = BTreeMap::new();
        for (name, value) in record.counts() {
            let Some((path, name)) = name.rsplit_once('#') else {
                continue;
            };
            let mut counter = counters.get(path).cloned().unwrap_or_default();
            if own(path) && counter.set(name, value) {
                counters.insert(path.to_string(), counter);
            }
        }
        let mut resting = StateStore::default();
        for (name, data) in &record.tensors {
            let Some((path, field)) = name.rsplit_once('#') else {
                continue;
            };
            if !own(path) {
                continue;
            }
            let block = field.split_once('.').map(|(block, _)| block);
            match block.map(str::parse::<usize>) {
                Some(Ok(_)) => resting.set_data(path, field, data.clone()),
                Some(Err(_)) => {}
                // The first records of AdaHessian and Sophia have no blocks.
                None if !VECTOR_FIELDS.contains(&field) => {
                    resting.set_data(path, &field_name(0, field), data.clone());
                }
                None => {}
            }
        }
        Self {
            counters,
            next_phase: record.count(&format!("{prefix}next_slot")).unwrap_or(0),
            stacked: Vec::new(),
            resting,
        }
    }

    /// A state with one parameter's counters and tensors.
    pub(crate) fn with_parameter(
        path: &str,
        counters: ParameterCounters,
        tensors: impl IntoIterator<Item = (String, burn::tensor::TensorData)>,
        blocks: u64,
    ) -> Self {
        let mut resting = StateStore::default();
        for (name, data) in tensors {
            resting.set_data(path, &name, data);
        }
        Self {
            next_phase: counters.phase + blocks,
            counters: BTreeMap::from([(path.to_string(), counters)]),
            stacked: Vec::new(),
            resting,
        }
    }

    /// Moves everything that is on a device to another.
    pub(crate) fn on_device(mut self, device: &Device) -> Self {
        for stacked in &mut self.stacked {
            for (_, tensor) in &mut stacked.fields {
                *tensor = tensor.clone().to_device(device);
            }
        }
        self
    }
}

/// Fields that whole vectors have in the first records, which are no state of blocks.
const VECTOR_FIELDS: [&str; 1] = ["orthogonal"];
