use std::collections::{BTreeMap, BTreeSet};

use burn::module::{Module, ModuleVisitor, Param, ParamId};
use burn::optim::{GradientsParams, LearningRate, ModuleOptimizer, OptimizerRecord};
use burn::tensor::{Bytes, Tensor, TensorData};
use burn_pack::{Reader, Scalar, Writer};
use osculate_curvature::{FiniteFlags, ParamVec, assign, unflatten};

use super::{ModulePaths, RecordError, StateRecord};

/// Any burn optimizer, with its state keyed by path in records instead of by program-wide identity.
#[derive(Clone)]
pub(crate) struct BaseOptimizer {
    optimizer: ModuleOptimizer,
    /// The optimizer before its first step, to load records into.
    pristine: ModuleOptimizer,
    /// A loaded state that waits for the model which tells the identities of its paths.
    pending: Option<Entries>,
    bytes: usize,
    /// Paths of the parameters that had been updated when `bytes` was counted.
    counted: BTreeSet<String>,
}

/// The state of a base optimizer, by `path#field`.
#[derive(Debug, Clone, Default, PartialEq)]
struct Entries {
    tensors: BTreeMap<String, TensorData>,
    scalars: BTreeMap<String, Scalar>,
}

/// Marks the entries of the base optimizer in a record, before the field's name.
const FIELD: &str = "base.";

impl BaseOptimizer {
    pub(crate) fn new(optimizer: ModuleOptimizer) -> Self {
        Self {
            pristine: optimizer.clone(),
            optimizer,
            pending: None,
            bytes: 0,
            counted: BTreeSet::new(),
        }
    }

    /// Updates the model's weights with a gradient, leaving out the parameters that `finite` flags.
    ///
    /// burn's optimizers change their state in every update they make, so parameters can only be
    /// left out before, on the host: the flags are read back, all in one transfer.
    pub(crate) fn step<M: Module>(
        &mut self,
        lr: LearningRate,
        model: M,
        gradient: &ParamVec,
        finite: Option<&FiniteFlags>,
    ) -> Result<M, RecordError> {
        if let Some(entries) = &self.pending {
            let paths = ModulePaths::of(&model);
            let record = entries.to_burn(|path| paths.id(path).map(|id| id.val()))?;
            self.optimizer = self.pristine.clone().load_record(record);
            self.pending = None;
        }
        let mut converter = Converter {
            path: Vec::new(),
            gradient,
            finite: finite.map(FiniteFlags::to_vec),
            next: 0,
            gradients: GradientsParams::new(),
            tied: false,
            seen: Vec::new(),
            updated: Vec::new(),
        };
        model.visit(&mut converter);
        let Converter {
            gradients,
            tied,
            updated,
            ..
        } = converter;
        let before = tied.then(|| model.clone());
        let mut model = self.optimizer.step(lr, model, gradients);
        if let Some(before) = before {
            // burn updates the first of several parameters with one identity only.
            let values = ParamVec::of_module(&model, gradient.layout());
            model = assign(before, &values);
        }
        let known = self.counted.len();
        self.counted.extend(updated);
        if self.counted.len() > known {
            // Counting reads the state back, so it is done only when there is a parameter more.
            self.bytes = self.entries().num_bytes();
        }
        Ok(model)
    }

    /// Bytes of the state, counted when a parameter was last updated for the first time.
    pub(crate) fn num_bytes(&self) -> usize {
        self.bytes
    }

    fn entries(&self) -> Entries {
        match &self.pending {
            Some(entries) => entries.clone(),
            None => Entries::from_burn(self.optimizer.to_record()),
        }
    }

    pub(crate) fn write(&self, record: &mut StateRecord) {
        let entries = self.entries();
        record.tensors.extend(entries.tensors);
        record.scalars.extend(entries.scalars);
    }

    /// Takes the base optimizer's state out of a record.
    ///
    /// The state is loaded once into a copy and compared, because burn drops or converts what it
    /// cannot rebuild without saying so.
    pub(crate) fn read(&self, record: &StateRecord) -> Result<Self, RecordError> {
        let own = |name: &String| {
            name.rsplit_once('#')
                .is_some_and(|(_, field)| field.starts_with(FIELD))
        };
        let mut entries = Entries::default();
        for (name, data) in record.tensors.iter().filter(|(name, _)| own(name)) {
            entries.tensors.insert(name.clone(), data.clone());
        }
        for (name, value) in record.scalars.iter().filter(|(name, _)| own(name)) {
            entries.scalars.insert(name.clone(), *value);
        }
        let paths: Vec<String> = entries.paths();
        let number = |path: &str| {
            let position = paths.iter().position(|known| known == path)?;
            Some(position as u64 + 1)
        };
        let trial = self.pristine.clone().load_record(entries.to_burn(number)?);
        entries.check_taken_over(&Entries::from_burn(trial.to_record()))?;
        Ok(Self {
            optimizer: self.pristine.clone(),
            pristine: self.pristine.clone(),
            bytes: entries.num_bytes(),
            counted: paths.into_iter().collect(),
            pending: Some(entries),
        })
    }
}

impl Entries {
    fn num_bytes(&self) -> usize {
        self.tensors
            .values()
            .map(|data| data.as_bytes().len())
            .sum()
    }

    fn paths(&self) -> Vec<String> {
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
    /// beside them.
    #[expect(
        clippy::expect_used,
        reason = "a record that burn has just written in memory can be read back"
    )]
    fn from_burn(record: OptimizerRecord) -> Self {
        let bytes = record.into_bytes().expect("burn writes its own record");
        let reader = Reader::from_bytes(bytes).expect("burn's record is in the pack format");
        let paths = reader.metadata().clone();
        let rename = |name: &str| {
            let (id, field) = name.split_once('.')?;
            Some(format!("{}#{FIELD}{field}", paths.get(id)?))
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

    fn to_burn(
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
        let bytes: Bytes = writer.into_bytes().map_err(super::format_error)?;
        OptimizerRecord::from_bytes(bytes).map_err(|error| RecordError::Format {
            message: error.to_string(),
        })
    }

    fn check_taken_over(&self, loaded: &Entries) -> Result<(), RecordError> {
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

/// Turns a vector into burn's gradient container, which is keyed by identity and typed by rank.
struct Converter<'a> {
    path: Vec<String>,
    gradient: &'a ParamVec,
    finite: Option<Vec<bool>>,
    next: usize,
    gradients: GradientsParams,
    seen: Vec<ParamId>,
    tied: bool,
    /// Paths of the parameters that have a gradient to be updated with.
    updated: Vec<String>,
}

impl ModuleVisitor for Converter<'_> {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.push(name.to_string());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let index = self.next;
        let Some(entry) = self.gradient.layout().entries().get(index) else {
            self.tied |= self.seen.contains(&param.id);
            return;
        };
        if entry.path != self.path.join(".") {
            self.tied |= self.seen.contains(&param.id);
            return;
        }
        self.next += 1;
        self.seen.push(param.id);
        if self.finite.as_ref().is_none_or(|finite| finite[index]) {
            let tensor = self.gradient.tensors()[index].clone();
            let tensor = unflatten::<D>(tensor, entry.shape.clone());
            self.gradients.register(param.id, tensor);
            self.updated.push(entry.path.clone());
        }
    }
}
