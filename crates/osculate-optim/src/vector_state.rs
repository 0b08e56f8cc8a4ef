//! Named state of the roles that see all parameters at once: gradient sources, vector rules, step-size
//! policies and averaging.

use std::collections::BTreeMap;
use std::sync::Arc;

use burn::tensor::{DType, Device, Tensor, TensorData};
use osculate_curvature::{FiniteFlags, ParamLayout, ParamVec};

use crate::driver::{finite, select};
use crate::engine::RuleError;
use crate::record::{RecordError, StateRecord, StateStore};

/// A state vector over all parameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VectorField {
    /// Its name.
    pub name: &'static str,
    /// Whether it is in the type in which statistics are kept, `F32` for half-precision parameters, or
    /// in the parameter's own.
    pub wide: bool,
}

impl VectorField {
    /// A vector in the type in which statistics are kept.
    pub const fn wide(name: &'static str) -> Self {
        Self { name, wide: true }
    }

    /// A vector in the parameters' own types.
    pub const fn own(name: &'static str) -> Self {
        Self { name, wide: false }
    }

    /// The type that it has for a parameter of a type.
    pub(crate) fn dtype(self, own: DType) -> DType {
        match (self.wide, own) {
            (false, own) => own,
            (true, DType::F64) => DType::F64,
            (true, _) => DType::F32,
        }
    }
}

/// The state of a role in the course of a step, by name: vectors over all parameters, and scalars on the
/// device.
///
/// Vectors are zero, and scalars are zero, before they are first put. What is not put stays.
#[derive(Debug)]
pub struct VectorState {
    role: &'static str,
    vectors: Vec<(VectorField, Slot)>,
    scalars: Vec<(&'static str, Tensor<1>, bool)>,
}

#[derive(Debug)]
struct Slot {
    value: ParamVec,
    /// The parameters that had no value before.
    fresh: Vec<bool>,
    /// The value of these that stands for one before, once a role has said so.
    first: Option<ParamVec>,
    put: bool,
}

impl VectorState {
    /// A vector.
    ///
    /// # Errors
    /// [`RuleError::UnknownField`] for a name that was not declared.
    pub fn vector(&self, name: &str) -> Result<&ParamVec, RuleError> {
        match self.vectors.iter().find(|(field, _)| field.name == name) {
            Some((_, slot)) => Ok(&slot.value),
            None => Err(self.unknown(name)),
        }
    }

    /// A vector, where every parameter has been in a step before; `None` where one is fresh.
    ///
    /// # Errors
    /// [`RuleError::UnknownField`] for a name that was not declared.
    pub fn whole(&self, name: &str) -> Result<Option<&ParamVec>, RuleError> {
        match self.vectors.iter().find(|(field, _)| field.name == name) {
            Some((_, slot)) => Ok((!slot.fresh.contains(&true)).then_some(&slot.value)),
            None => Err(self.unknown(name)),
        }
    }

    /// A vector with the values of `first` for fresh parameters. Where the step of such a parameter is
    /// skipped, that is what is kept.
    ///
    /// # Errors
    /// [`RuleError::UnknownField`] for a name that was not declared.
    pub fn start_at(&mut self, name: &str, first: &ParamVec) -> Result<ParamVec, RuleError> {
        let value = self.or_first(name, first)?;
        let mut vectors = self.vectors.iter_mut();
        if let Some((_, slot)) = vectors.find(|(field, _)| field.name == name) {
            slot.first = Some(value.clone());
        }
        Ok(value)
    }

    /// [`start_at`](Self::start_at) where nothing is kept after, as in an evaluation.
    ///
    /// # Errors
    /// [`RuleError::UnknownField`] for a name that was not declared.
    pub fn or_first(&self, name: &str, first: &ParamVec) -> Result<ParamVec, RuleError> {
        let found = self.vectors.iter().find(|(field, _)| field.name == name);
        let Some((_, slot)) = found else {
            return Err(self.unknown(name));
        };
        let mut parts = slot.fresh.iter().zip(first.tensors());
        Ok(slot.value.map(|(_, value)| match parts.next() {
            Some((true, first)) => first.clone().cast(value.dtype()),
            _ => value.clone(),
        }))
    }

    /// Keeps a new vector, cast to the field's type.
    ///
    /// # Errors
    /// [`RuleError::UnknownField`] for a name that was not declared.
    pub fn put(&mut self, name: &str, value: ParamVec) -> Result<(), RuleError> {
        let found = self
            .vectors
            .iter()
            .position(|(field, _)| field.name == name);
        let Some(at) = found else {
            return Err(self.unknown(name));
        };
        let (field, slot) = &mut self.vectors[at];
        slot.value = value.map(|(entry, x)| x.clone().cast(field.dtype(entry.dtype)));
        slot.put = true;
        Ok(())
    }

    /// A scalar, of one element: `F64` where the device has it, `F32` otherwise.
    ///
    /// # Errors
    /// [`RuleError::UnknownField`] for a name that was not declared.
    pub fn scalar(&self, name: &str) -> Result<Tensor<1>, RuleError> {
        match self.scalars.iter().find(|(own, ..)| *own == name) {
            Some((_, value, _)) => Ok(value.clone()),
            None => Err(self.unknown(name)),
        }
    }

    /// Keeps a new scalar. One that is not finite is dropped: the old one stays.
    ///
    /// # Errors
    /// [`RuleError::UnknownField`] for a name that was not declared.
    pub fn put_scalar(&mut self, name: &str, value: Tensor<1>) -> Result<(), RuleError> {
        let found = self.scalars.iter().position(|(own, ..)| *own == name);
        let Some(at) = found else {
            return Err(self.unknown(name));
        };
        let (_, old, put) = &mut self.scalars[at];
        let value = value.cast(old.dtype());
        *old = select(&finite(&value), value, old.clone());
        *put = true;
        Ok(())
    }

    fn unknown(&self, name: &str) -> RuleError {
        let vectors = self.vectors.iter().map(|(field, _)| field.name);
        RuleError::UnknownField {
            rule: self.role,
            field: name.to_string(),
            declared: vectors
                .chain(self.scalars.iter().map(|(name, ..)| *name))
                .collect(),
        }
    }
}

/// The kept state of a role.
#[derive(Debug, Clone, Default)]
pub(crate) struct VectorStore {
    vectors: StateStore,
    scalars: BTreeMap<String, Scalar>,
}

#[derive(Debug, Clone)]
enum Scalar {
    Live(Tensor<1>),
    Loaded(TensorData),
}

impl VectorStore {
    /// The state for a step over a layout.
    pub(crate) fn open(
        &self,
        role: &'static str,
        fields: &[VectorField],
        scalars: &[&'static str],
        layout: &Arc<ParamLayout>,
    ) -> Result<VectorState, RecordError> {
        let vectors = fields.iter().map(|field| {
            let (value, fresh) = self.partly(*field, layout)?;
            let slot = Slot {
                value,
                fresh,
                first: None,
                put: false,
            };
            Ok((*field, slot))
        });
        let vectors = vectors.collect::<Result<_, RecordError>>()?;
        let device = layout.entries().first().map(|entry| entry.device.clone());
        let device = device.unwrap_or_default();
        let dtype = scalar_dtype(&device);
        let scalars = scalars.iter().map(|name| {
            let value = match self.scalars.get(*name) {
                Some(Scalar::Live(value)) => value.clone().to_device(&device).cast(dtype),
                Some(Scalar::Loaded(data)) => loaded(data, name, (&device, dtype))?,
                None => Tensor::zeros([1], (&device, dtype)),
            };
            Ok((*name, value, false))
        });
        Ok(VectorState {
            role,
            vectors,
            scalars: scalars.collect::<Result<_, RecordError>>()?,
        })
    }

    /// A vector with zeros for fresh parameters, and which these are.
    fn partly(
        &self,
        field: VectorField,
        layout: &Arc<ParamLayout>,
    ) -> Result<(ParamVec, Vec<bool>), RecordError> {
        let mut fresh = Vec::with_capacity(layout.len());
        let tensors = layout.entries().iter().map(|entry| {
            let (n, dtype) = (entry.num_elements(), field.dtype(entry.dtype));
            let at = (entry.path.as_str(), &entry.device);
            let kept = self.vectors.get_at(at, field.name, n, dtype)?;
            fresh.push(kept.is_none());
            Ok(kept.unwrap_or_else(|| Tensor::zeros([n], (&entry.device, dtype))))
        });
        let tensors = tensors.collect::<Result<_, RecordError>>()?;
        Ok((ParamVec::new(layout.clone(), tensors), fresh))
    }

    /// Takes over what was put, but that of parameters whose flag is not set. Cannot fail.
    pub(crate) fn commit(&mut self, state: VectorState, keep: Option<&FiniteFlags>) {
        let VectorState {
            vectors, scalars, ..
        } = state;
        for (field, slot) in vectors.into_iter().filter(|(_, slot)| slot.put) {
            for (index, (entry, new)) in slot.value.iter().enumerate() {
                let new = match keep {
                    None => new.clone(),
                    Some(keep) => {
                        let at = (entry.path.as_str(), &entry.device);
                        let dtype = new.dtype();
                        let old = self
                            .vectors
                            .get_at(at, field.name, entry.num_elements(), dtype);
                        let old = old.ok().flatten().unwrap_or_else(|| match &slot.first {
                            Some(first) => first.tensors()[index].clone().cast(dtype),
                            None => new.zeros_like(),
                        });
                        select(&keep.tensors()[index], new.clone(), old)
                    }
                };
                self.vectors.set_at(&entry.path, field.name, new);
            }
        }
        for (name, value, _) in scalars.into_iter().filter(|(.., put)| *put) {
            self.scalars.insert(name.to_string(), Scalar::Live(value));
        }
    }

    pub(crate) fn forget(&mut self, path: &str) {
        self.vectors.forget(path);
    }

    pub(crate) fn paths(&self) -> impl Iterator<Item = String> {
        self.vectors.paths()
    }

    pub(crate) fn num_bytes(&self) -> usize {
        let scalars = self.scalars.values();
        let scalars = scalars.map(|value| match value {
            Scalar::Live(value) => value.dtype().size(),
            Scalar::Loaded(data) => data.as_bytes().len(),
        });
        self.vectors.num_bytes() + scalars.sum::<usize>()
    }

    /// Writes vectors as `path#role.field` and scalars as `#role.field`.
    pub(crate) fn write(&self, record: &mut StateRecord, role: &str) {
        for (name, data) in self.vectors.to_data() {
            if let Some((path, field)) = name.rsplit_once('#') {
                let name = format!("{path}#{role}.{field}");
                record.tensors.insert(name, data);
            }
        }
        for (name, value) in &self.scalars {
            let data = match value {
                Scalar::Live(value) => value.to_data(),
                Scalar::Loaded(data) => data.clone(),
            };
            record.tensors.insert(format!("#{role}.{name}"), data);
        }
    }

    /// Reads what [`write`](Self::write) wrote, and the fields of `first` by their names alone, as the
    /// first records had them.
    pub(crate) fn read(record: &StateRecord, role: &str, first: &[&str]) -> Self {
        let mut store = Self::default();
        for (name, data) in &record.tensors {
            let Some((path, field)) = name.rsplit_once('#') else {
                continue;
            };
            let own = field
                .strip_prefix(role)
                .and_then(|field| field.strip_prefix('.'))
                .or_else(|| first.contains(&field).then_some(field));
            let Some(own) = own else { continue };
            if path.is_empty() {
                let value = Scalar::Loaded(data.clone());
                store.scalars.insert(own.to_string(), value);
            } else {
                store.vectors.set_data(path, own, data.clone());
            }
        }
        store
    }
}

/// A number of a record, on a device.
fn loaded(
    data: &TensorData,
    name: &str,
    (device, dtype): (&Device, DType),
) -> Result<Tensor<1>, RecordError> {
    let own = data.dtype();
    if data.shape()[..] != [1] || !own.is_float() {
        return Err(RecordError::Missing {
            name: name.to_string(),
        });
    }
    Ok(Tensor::<1>::from_data(data.clone(), (device, own)).cast(dtype))
}

/// The loss where the scalars of a layout's state are, in their type.
pub(crate) fn loss_for_state(loss: &Tensor<1>, layout: &ParamLayout) -> Tensor<1> {
    let device = layout.entries().first().map(|entry| entry.device.clone());
    let device = device.unwrap_or_else(|| loss.device());
    let dtype = scalar_dtype(&device);
    loss.clone().to_device(&device).cast(dtype)
}

/// The type of scalars on a device.
pub(crate) fn scalar_dtype(device: &Device) -> DType {
    if device.supports_dtype(DType::F64) {
        DType::F64
    } else {
        DType::F32
    }
}
