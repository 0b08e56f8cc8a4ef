//! Whose state is kept: a parameter's, with its identity, shape and element type.

use std::collections::BTreeMap;

use burn::module::ParamId;
use burn::tensor::DType;

use super::report::FreshState;
use crate::parameter::{Parameter, ParameterTable};
use crate::record::{RecordError, StateRecord};

/// A parameter as it was when its state was last used.
#[derive(Debug, Clone, PartialEq)]
struct Owner {
    /// Not known of a state that was loaded and not yet used.
    id: Option<ParamId>,
    /// Not known of a state from the first records.
    form: Option<String>,
}

/// The parameters that have state, by path.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ownership {
    owners: BTreeMap<String, Owner>,
    /// Whether a state was loaded, and not yet compared with a model.
    unchecked: bool,
}

/// What was found out about the state of a model's parameters.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    /// Parameters that are others than before.
    pub fresh: Vec<FreshState>,
    /// Parameters that the model has no more.
    pub gone: Vec<String>,
}

fn form(shape: &[usize], dtype: DType) -> String {
    format!("{shape:?} {dtype:?}")
}

impl Ownership {
    /// Compares the owners with a model's parameters.
    ///
    /// # Errors
    /// [`RecordError::Mismatch`] for the loaded state of a parameter that the model does not have.
    pub(crate) fn changes(&self, table: &ParameterTable) -> Result<Changes, RecordError> {
        let mut changes = Changes::default();
        for (path, owner) in &self.owners {
            let Some((id, parameter)) = table.get(path) else {
                if self.unchecked {
                    return Err(RecordError::no_parameter(path, "state"));
                }
                changes.gone.push(path.clone());
                continue;
            };
            let now = form(&parameter.shape, parameter.dtype);
            let change = match owner {
                Owner {
                    form: Some(before), ..
                } if *before != now => format!("was {before}, is {now}"),
                Owner { id: Some(own), .. } if own != id => {
                    "another parameter of the same path and shape".to_string()
                }
                _ => continue,
            };
            changes.fresh.push(FreshState {
                path: path.clone(),
                change,
            });
        }
        Ok(changes)
    }

    pub(crate) fn forget(&mut self, path: &str) {
        self.owners.remove(path);
    }

    /// The state of the loaded owners is that of a model's parameters from now on.
    pub(crate) fn checked(&mut self, table: &ParameterTable) {
        self.unchecked = false;
        for (path, owner) in &mut self.owners {
            if let (None, Some((id, parameter))) = (owner.id, table.get(path)) {
                owner.id = Some(*id);
                owner.form = Some(form(&parameter.shape, parameter.dtype));
            }
        }
    }

    /// Whether the state of a path is not that of another parameter, as far as is known.
    pub(crate) fn may_be(&self, path: &str, id: ParamId, shape: &[usize], dtype: DType) -> bool {
        self.owners.get(path).is_some_and(|owner| {
            owner.id.is_none_or(|own| own == id)
                && (owner.form.as_ref()).is_none_or(|own| *own == form(shape, dtype))
        })
    }

    /// Whether all of these parameters are owners as they are.
    pub(crate) fn knows<'a>(
        &self,
        mut parameters: impl Iterator<Item = (ParamId, &'a Parameter)>,
    ) -> bool {
        parameters.all(|(id, parameter)| {
            let owner = self.owners.get(&*parameter.path);
            owner.is_some_and(|owner| owner.id == Some(id))
        })
    }

    /// Takes parameters down as owners.
    pub(crate) fn own<'a>(&mut self, parameters: impl Iterator<Item = (ParamId, &'a Parameter)>) {
        for (id, parameter) in parameters {
            let owner = Owner {
                id: Some(id),
                form: Some(form(&parameter.shape, parameter.dtype)),
            };
            self.owners.insert(parameter.path.to_string(), owner);
        }
    }

    pub(crate) fn write(&self, record: &mut StateRecord) {
        for (path, owner) in &self.owners {
            if let Some(form) = &owner.form {
                record.parameters.insert(path.clone(), form.clone());
            }
        }
    }

    /// The owners of a record; `paths` are those of its states.
    pub(crate) fn read(record: &StateRecord, paths: impl Iterator<Item = String>) -> Self {
        let mut owners: BTreeMap<String, Owner> = paths
            .map(|path| {
                let form = record.parameters.get(&path).cloned();
                (path, Owner { id: None, form })
            })
            .collect();
        for (path, form) in &record.parameters {
            let owner = owners.entry(path.clone());
            owner.or_insert(Owner {
                id: None,
                form: Some(form.clone()),
            });
        }
        Self {
            owners,
            unchecked: true,
        }
    }
}
