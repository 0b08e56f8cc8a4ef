//! The state of a burn optimizer by parameter path.

use std::collections::BTreeMap;

use burn::optim::OptimizerRecord;
use burn::tensor::{Bytes, DType, TensorData};
use burn_pack::{Reader, Scalar, Writer};
use osculate_linalg::compute_dtype;

use crate::engine::{BLOCKS, extent_name};
use crate::record::{RecordError, format_error};

/// The state of a base optimizer, by `path#field`.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Entries {
    pub tensors: BTreeMap<String, TensorData>,
    pub scalars: BTreeMap<String, Scalar>,
}

/// Marks the entries of the base optimizer in a record, before the field's name.
pub(super) const FIELD: &str = "base.";
/// The number in which burn keeps the rank of a state's parameter.
const RANK: &str = "__rank";

impl Entries {
    pub fn num_bytes(&self) -> usize {
        self.tensors
            .values()
            .map(|data| data.as_bytes().len())
            .sum()
    }

    pub fn paths(&self) -> Vec<String> {
        let mut paths: Vec<String> = self
            .tensors
            .keys()
            .chain(self.scalars.keys())
            .filter_map(|name| name.rsplit_once('#'))
            .map(|(path, _)| path.to_string())
            .collect();
        paths.sort();
        paths.dedup();
        paths
    }

    /// Reads a burn record, whose entries are named `id.field`, with the paths of the identities
    /// beside them. Of several identities of one path only the one that lives is read.
    #[expect(
        clippy::expect_used,
        reason = "a record that burn has just written in memory can be read back"
    )]
    pub fn from_burn(record: OptimizerRecord, lives: impl Fn(&str, &str) -> bool) -> Self {
        let bytes = record.into_bytes().expect("burn writes its own record");
        let reader = Reader::from_bytes(bytes).expect("burn's record is in the pack format");
        let paths = reader.metadata().clone();
        let rename = |name: &str| {
            let (id, field) = name.split_once('.')?;
            let path = paths.get(id)?;
            lives(path, id).then(|| format!("{path}#{FIELD}{field}"))
        };
        let mut entries = Self::default();
        for (name, value) in reader.scalars() {
            if let Some(name) = rename(name) {
                entries.scalars.insert(name, *value);
            }
        }
        for tensor in reader.into_tensors().expect("the tensors are in memory") {
            let (name, dtype, shape, _, bytes) =
                tensor.into_parts().expect("the tensor is in memory");
            if let Some(name) = rename(&name) {
                let data = TensorData::from_bytes(bytes, shape, dtype);
                entries.tensors.insert(name, data);
            }
        }
        entries
    }

    /// Drops the entries of a parameter.
    pub fn forget(&mut self, path: &str) {
        let other = |name: &String| name.rsplit_once('#').is_none_or(|(own, _)| own != path);
        self.tensors.retain(|name, _| other(name));
        self.scalars.retain(|name, _| other(name));
    }

    /// Whether the state of a parameter is of its rank, and the tensors that have it have its shape too.
    pub fn fits(&self, path: &str, shape: &[usize]) -> bool {
        let prefix = format!("{path}#");
        let rank = self.scalars.get(&format!("{prefix}{FIELD}{RANK}"));
        if rank.is_some_and(|rank| u64::try_from(*rank) != Ok(shape.len() as u64)) {
            return false;
        }
        if self.is_of_blocks(&prefix) {
            // Its tensors have shapes of their own, so the parameter's is written beside them.
            let own = |(dim, n): (usize, &usize)| {
                let own = self
                    .scalars
                    .get(&format!("{prefix}{FIELD}{}", extent_name(dim)));
                own.is_none_or(|own| u64::try_from(*own) == Ok(*n as u64))
            };
            return shape.iter().enumerate().all(own);
        }
        let own = self.tensors.range(prefix.clone()..);
        own.take_while(|(name, _)| name.starts_with(&prefix))
            .all(|(_, data)| {
                let found = data.shape();
                match found.len() == shape.len() {
                    true => found.num_elements() == 1 || found[..] == *shape,
                    // Without its number, burn takes the rank of a tensor.
                    false => rank.is_some(),
                }
            })
    }

    /// Widens half-precision state, which earlier versions wrote, to the type that burn's optimizers compute in. A
    /// block rule chooses its types itself.
    pub fn widen(&mut self) {
        let blocks = |name: &str| {
            let path = name.rsplit_once('#').map_or("", |(path, _)| path);
            self.is_of_blocks(&format!("{path}#"))
        };
        let widened = self.tensors.iter().filter_map(|(name, data)| {
            let wide = compute_dtype(data.dtype());
            let widens = wide != data.dtype() && !blocks(name);
            widens.then(|| (name.clone(), data.clone().convert_dtype(wide)))
        });
        let widened: Vec<_> = widened.collect();
        self.tensors.extend(widened);
    }

    /// Whether entries are those of a block rule, in fields of each block.
    fn is_of_blocks(&self, prefix: &str) -> bool {
        let scalars = self.scalars.range(prefix.to_string()..);
        let mut scalars = scalars.take_while(|(name, _)| name.starts_with(prefix));
        scalars.any(|(name, _)| name.ends_with(&format!(".{BLOCKS}")))
    }

    /// Whether the tensors of a parameter are in the type that its state is kept in: burn's optimizers panic on
    /// others in their next step. A rule's own state has types of its own, and looks at them itself.
    pub fn check_dtype(&self, path: &str, dtype: DType) -> Result<(), RecordError> {
        let prefix = format!("{path}#");
        if self.is_of_blocks(&prefix) {
            return Ok(());
        }
        let own = self.tensors.range(prefix.clone()..);
        let mut own = own.take_while(|(name, _)| name.starts_with(&prefix));
        let other = own.find(|(_, data)| data.dtype().is_float() && data.dtype() != dtype);
        match other {
            Some((name, data)) => Err(RecordError::Mismatch {
                path: path.to_string(),
                field: name[prefix.len()..].to_string(),
                expected: format!("the type {dtype:?}"),
                found: format!("the type {:?}", data.dtype()),
            }),
            None => Ok(()),
        }
    }

    pub fn to_burn(
        &self,
        identity: impl Fn(&str) -> Option<u64>,
    ) -> Result<OptimizerRecord, RecordError> {
        let rename = |name: &str| {
            let missing = || RecordError::Missing {
                name: name.to_string(),
            };
            let (path, field) = name.rsplit_once('#').ok_or_else(missing)?;
            let field = field.strip_prefix(FIELD).ok_or_else(missing)?;
            let id = identity(path).ok_or_else(|| RecordError::no_parameter(path, field))?;
            Ok((id, format!("{id}.{field}"), path.to_string()))
        };
        let mut tensors = Vec::new();
        let mut paths = BTreeMap::new();
        for (name, data) in &self.tensors {
            let (id, name, path) = rename(name)?;
            paths.insert(id.to_string(), path);
            let (bytes, shape, dtype) = data.clone().into_parts();
            tensors.push(burn_pack::Tensor::new(name, dtype, shape, Some(id), bytes));
        }
        let mut scalars = BTreeMap::new();
        for (name, value) in &self.scalars {
            let (id, name, path) = rename(name)?;
            paths.insert(id.to_string(), path);
            scalars.insert(name, *value);
        }
        let mut writer = Writer::new(tensors);
        for (name, value) in scalars {
            writer = writer.with_scalar(&name, value);
        }
        for (id, path) in paths {
            writer = writer.with_metadata(&id, &path);
        }
        let bytes: Bytes = writer.into_bytes().map_err(format_error)?;
        OptimizerRecord::from_bytes(bytes).map_err(|error| RecordError::Format {
            message: error.to_string(),
        })
    }

    pub fn check_taken_over(&self, loaded: &Entries) -> Result<(), RecordError> {
        for (name, data) in &self.tensors {
            let not_taken_over = || RecordError::NotTakenOver { name: name.clone() };
            let other = loaded.tensors.get(name).ok_or_else(not_taken_over)?;
            if other.dtype() != data.dtype() {
                return Err(RecordError::DtypeLost {
                    name: name.clone(),
                    saved: data.dtype(),
                    reloaded: other.dtype(),
                });
            }
            if other.as_bytes() != data.as_bytes() {
                return Err(not_taken_over());
            }
        }
        match self
            .scalars
            .iter()
            .find(|(name, value)| loaded.scalars.get(*name) != Some(value))
        {
            Some((name, _)) => Err(RecordError::NotTakenOver { name: name.clone() }),
            None => Ok(()),
        }
    }
}
