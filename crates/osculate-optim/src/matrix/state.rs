//! The state of all blocks, kept stacked from step to step.

use std::cell::OnceCell;
use std::collections::{BTreeMap, HashMap};

use burn::module::Module;
use burn::optim::{StateSink, StateSource};
use burn::tensor::{Device, Tensor};
use burn_pack::Scalar;
use osculate_curvature::ParamEntry;

use super::rule::Field;
use crate::record::{RecordError, StateRecord, StateStore};

/// A block of a parameter.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct BlockKey {
    pub path: String,
    pub block: usize,
}

/// What is kept of a parameter on the host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Member {
    /// Gradients received.
    pub steps: u64,
    /// Slot of the first block.
    pub slot: u64,
    /// Failures in a row by block and factor, where there are any.
    pub failures: BTreeMap<(usize, usize), u64>,
}

/// Most factors that a block can have, one for each dimension of a tensor.
const MAX_FACTORS: usize = 8;

impl Member {
    pub(super) fn new(slot: u64) -> Self {
        Self {
            slot,
            ..Self::default()
        }
    }

    /// The counters by name.
    fn counts(&self) -> impl Iterator<Item = (String, u64)> {
        let fixed = [("steps", self.steps), ("slot", self.slot)];
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
            "slot" => self.slot = value,
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

fn failure_name(block: usize, factor: usize) -> String {
    format!("failures.{block}.{factor}")
}

fn field_name(block: usize, field: &str) -> String {
    format!("{block}.{field}")
}

/// The state of blocks that were stacked in the last step.
#[derive(Debug, Clone)]
pub(super) struct Bucket {
    pub keys: Vec<BlockKey>,
    /// `[k, len]` each.
    pub fields: Vec<(Field, Tensor<2>)>,
}

impl Bucket {
    fn row(&self, field: usize, row: usize) -> Tensor<1> {
        self.fields[field].1.clone().narrow(0, row, 1).flatten(0, 1)
    }
}

/// Buckets and rows of stacked blocks.
pub(super) type Places<'a> = HashMap<&'a BlockKey, (usize, usize)>;

/// The state of a rule over the parameters of a model.
///
/// Blocks stay stacked as long as the same ones are stepped together; the state of others rests by
/// block in the store.
#[derive(Debug, Clone, Default)]
pub(super) struct StackState {
    pub members: BTreeMap<String, Member>,
    pub next_slot: u64,
    buckets: Vec<Bucket>,
    store: StateStore,
}

impl StackState {
    /// The stacked state of blocks, zero for those that have none yet.
    pub(super) fn gather<'a>(
        &'a self,
        places: &OnceCell<Places<'a>>,
        keys: &[BlockKey],
        entries: &[&ParamEntry],
        fields: &[Field],
    ) -> Result<Vec<Tensor<2>>, RecordError> {
        let resident = self.buckets.iter().find(|bucket| bucket.keys == keys);
        if let Some(bucket) = resident {
            let same = bucket.fields.iter().map(|(field, _)| field);
            if same.eq(fields) {
                let device = &entries[0].device;
                let tensors = bucket.fields.iter();
                return Ok(tensors
                    .map(|(_, tensor)| tensor.clone().to_device(device))
                    .collect());
            }
        }
        let places = places.get_or_init(|| self.places());
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

    /// Where each stacked block is: bucket and row.
    fn places(&self) -> Places<'_> {
        let buckets = self.buckets.iter().enumerate();
        buckets
            .flat_map(|(bucket, stacked)| {
                let keys = stacked.keys.iter().enumerate();
                keys.map(move |(row, key)| (key, (bucket, row)))
            })
            .collect()
    }

    fn row(
        &self,
        places: &HashMap<&BlockKey, (usize, usize)>,
        key: &BlockKey,
        entry: &ParamEntry,
        field: &Field,
    ) -> Result<Tensor<1>, RecordError> {
        let stacked = places.get(key).and_then(|&(bucket, row)| {
            let bucket = &self.buckets[bucket];
            let position = bucket.fields.iter().position(|(own, _)| own == field)?;
            Some(bucket.row(position, row))
        });
        if let Some(tensor) = stacked {
            return Ok(tensor.to_device(&entry.device));
        }
        let name = field_name(key.block, field.name);
        let stored = self.store.get(entry, &name, field.len, field.dtype)?;
        Ok(stored.unwrap_or_else(|| Tensor::zeros([field.len], (&entry.device, field.dtype))))
    }

    /// Replaces the state of the blocks in `buckets`; all others rest where they are.
    pub(super) fn install(&mut self, buckets: Vec<Bucket>) {
        let old = std::mem::replace(&mut self.buckets, buckets);
        let unchanged = old.len() == self.buckets.len()
            && old.iter().zip(&self.buckets).all(|(a, b)| a.keys == b.keys);
        if unchanged {
            return;
        }
        for bucket in old {
            bucket.put_into(&mut self.store);
        }
        for bucket in &self.buckets {
            for key in &bucket.keys {
                for (field, _) in &bucket.fields {
                    let name = field_name(key.block, field.name);
                    self.store.remove(&key.path, &name);
                }
            }
        }
    }

    /// Every block by itself.
    fn unstacked(&self) -> StateStore {
        let mut store = self.store.clone();
        for bucket in &self.buckets {
            bucket.clone().put_into(&mut store);
        }
        store
    }

    pub(super) fn num_bytes(&self) -> usize {
        let stacked = self.buckets.iter().flat_map(|bucket| &bucket.fields);
        let stacked: usize = stacked
            .map(|(field, tensor)| tensor.shape().num_elements() * field.dtype.size())
            .sum();
        stacked + self.store.num_bytes()
    }

    pub(super) fn check_loaded<M: Module>(&mut self, model: &M) -> Result<(), RecordError> {
        self.store.check_loaded(model)
    }

    pub(super) fn write(&self, record: &mut StateRecord) {
        record.set_count("next_slot", self.next_slot);
        for (path, member) in &self.members {
            for (name, value) in member.counts() {
                record.set_count(&format!("{path}#{name}"), value);
            }
        }
        self.unstacked().write(record);
    }

    pub(super) fn read(record: &StateRecord, fields: &[&str]) -> Result<Self, RecordError> {
        let mut members: BTreeMap<String, Member> = BTreeMap::new();
        for (name, value) in record.counts() {
            if let Some((path, name)) = name.rsplit_once('#') {
                let mut member = members.get(path).cloned().unwrap_or_default();
                if member.set(name, value) {
                    members.insert(path.to_string(), member);
                }
            }
        }
        let own = |name: &str| {
            let (block, field) = name.split_once('.').unwrap_or_default();
            block.parse::<usize>().is_ok() && fields.contains(&field)
        };
        Ok(Self {
            members,
            next_slot: record.count("next_slot")?,
            buckets: Vec::new(),
            store: StateStore::read_where(record, own),
        })
    }

    /// Writes the state of the one parameter at `path` in burn's way.
    pub(super) fn flatten(&self, path: &str, prefix: &str, out: &mut StateSink) {
        let member = self.members.get(path).cloned().unwrap_or_default();
        for (name, value) in member.counts() {
            out.push_scalar(prefix, &name, Scalar::UInt(value));
        }
        let mut blocks = 0;
        for (name, data) in self.unstacked().to_data() {
            if let Some((_, name)) = name.rsplit_once('#') {
                let block = name
                    .split_once('.')
                    .and_then(|(block, _)| block.parse().ok());
                blocks = blocks.max(block.map_or(0, |block: u64| block + 1));
                out.push_tensor(prefix, name, data);
            }
        }
        out.push_scalar(prefix, "blocks", Scalar::UInt(blocks));
    }

    /// Reads what [`flatten`](Self::flatten) wrote, with the element types that it wrote.
    pub(super) fn unflatten(
        path: &str,
        fields: &[&str],
        prefix: &str,
        source: &mut StateSource,
    ) -> Option<Self> {
        let mut member = Member::default();
        let count = |source: &mut StateSource, name: &str| match source.take_scalar(prefix, name)? {
            Scalar::UInt(value) => Some(value),
            _ => None,
        };
        member.steps = count(source, "steps")?;
        member.slot = count(source, "slot")?;
        let blocks = usize::try_from(count(source, "blocks")?).ok()?;
        for block in 0..blocks {
            for factor in 0..MAX_FACTORS {
                if let Some(failures) = count(source, &failure_name(block, factor)) {
                    member.failures.insert((block, factor), failures);
                }
            }
        }
        let mut store = StateStore::default();
        for block in 0..blocks {
            for field in fields {
                let name = field_name(block, field);
                if let Some(data) = source.take_tensor(prefix, &name) {
                    store.set_data(path, &name, data);
                }
            }
        }
        Some(Self {
            next_slot: member.slot + blocks as u64,
            members: BTreeMap::from([(path.to_string(), member)]),
            buckets: Vec::new(),
            store,
        })
    }

    /// Moves everything that is on a device to another.
    pub(super) fn on_device(mut self, device: &Device) -> Self {
        for bucket in &mut self.buckets {
            for (_, tensor) in &mut bucket.fields {
                *tensor = tensor.clone().to_device(device);
            }
        }
        self
    }
}

impl Bucket {
    fn put_into(self, store: &mut StateStore) {
        for (row, key) in self.keys.iter().enumerate() {
            for (position, (field, _)) in self.fields.iter().enumerate() {
                let name = field_name(key.block, field.name);
                store.set_at(&key.path, &name, self.row(position, row));
            }
        }
    }
}
