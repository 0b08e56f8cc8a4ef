//! The state of a stack by name, as a rule sees it.

use burn::tensor::Tensor;

use super::error::RuleError;
use super::rule::Field;

/// The state of a stack of blocks, by the names that the rule declared.
///
/// A look-up compares a few static names and allocates nothing.
#[derive(Debug)]
pub struct BlockState {
    rule: &'static str,
    rows: usize,
    fields: Vec<Slot>,
}

#[derive(Debug)]
struct Slot {
    field: Field,
    value: Option<Tensor<2>>,
    changed: bool,
}

/// A field after a step.
pub(crate) struct NewField {
    pub field: Field,
    pub value: Tensor<2>,
    /// Whether the rule put a value; otherwise it is the old one.
    pub changed: bool,
}

impl BlockState {
    pub(crate) fn new(
        rule: &'static str,
        rows: usize,
        fields: impl IntoIterator<Item = (Field, Tensor<2>)>,
    ) -> Self {
        let fields = fields.into_iter();
        Self {
            rule,
            rows,
            fields: fields
                .map(|(field, tensor)| Slot {
                    field,
                    value: Some(tensor),
                    changed: false,
                })
                .collect(),
        }
    }

    /// Whether the block has this field.
    pub fn has(&self, name: &str) -> bool {
        self.fields.iter().any(|slot| slot.field.name == name)
    }

    /// A field that stays as it is, `[k, len]`: it costs nothing to keep, where a field that is taken and put
    /// back is checked and masked as a new one.
    ///
    /// # Errors
    /// As [`take`](Self::take).
    pub fn get(&mut self, name: &str) -> Result<Tensor<2>, RuleError> {
        let rule = self.rule;
        let slot = self.slot(name)?;
        slot.value.clone().ok_or(RuleError::FieldTaken {
            rule,
            field: slot.field.name,
        })
    }

    /// Takes a field out, `[k, len]` in the type in which the block is computed.
    ///
    /// # Errors
    /// [`RuleError::UnknownField`] for a name that was not declared, [`RuleError::FieldTaken`] for one
    /// that was taken before.
    pub fn take(&mut self, name: &str) -> Result<Tensor<2>, RuleError> {
        let rule = self.rule;
        let slot = self.slot(name)?;
        slot.value.take().ok_or(RuleError::FieldTaken {
            rule,
            field: slot.field.name,
        })
    }

    /// Puts a new value in the place of a field.
    ///
    /// # Errors
    /// [`RuleError::UnknownField`], and [`RuleError::FieldShape`] for another shape than declared.
    pub fn put(&mut self, name: &str, value: Tensor<2>) -> Result<(), RuleError> {
        let (rule, rows) = (self.rule, self.rows);
        let slot = self.slot(name)?;
        let (expected, found) = ([rows, slot.field.len], value.dims());
        if expected != found {
            return Err(RuleError::FieldShape {
                rule,
                field: slot.field.name,
                expected,
                found,
            });
        }
        slot.value = Some(value);
        slot.changed = true;
        Ok(())
    }

    fn slot(&mut self, name: &str) -> Result<&mut Slot, RuleError> {
        match self.fields.iter().position(|slot| slot.field.name == name) {
            Some(at) => Ok(&mut self.fields[at]),
            None => Err(RuleError::UnknownField {
                rule: self.rule,
                field: name.to_string(),
                declared: self.fields.iter().map(|slot| slot.field.name).collect(),
            }),
        }
    }

    /// The fields after the step, in the order in which they were declared.
    pub(crate) fn into_fields(self) -> Result<Vec<NewField>, RuleError> {
        let rule = self.rule;
        let fields = self.fields.into_iter();
        fields
            .map(|slot| {
                let (field, changed) = (slot.field, slot.changed);
                let taken = RuleError::FieldTaken {
                    rule,
                    field: field.name,
                };
                let value = slot.value.ok_or(taken)?;
                Ok(NewField {
                    field,
                    value,
                    changed,
                })
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::{DType, Device};

    fn state() -> BlockState {
        let zeros = |len| Tensor::<2>::zeros([2, len], &Device::flex());
        let field = |name, len| Field::new(name, len, DType::F32);
        BlockState::new(
            "rule",
            2,
            [(field("m", 3), zeros(3)), (field("v", 1), zeros(1))],
        )
    }

    #[test]
    fn fields_go_by_name_and_errors_name_them() {
        let mut state = state();
        let v = state.take("v").unwrap();
        assert_eq!(v.dims(), [2, 1]);
        assert!(matches!(
            state.take("v"),
            Err(RuleError::FieldTaken { field: "v", .. })
        ));
        let error = state.take("w").unwrap_err().to_string();
        assert!(error.contains("\"w\"") && error.contains("m, v"), "{error}");
        let error = state.put("v", Tensor::zeros([2, 2], &Device::flex()));
        assert!(matches!(
            error,
            Err(RuleError::FieldShape {
                expected: [2, 1],
                found: [2, 2],
                ..
            })
        ));
        state.put("v", v).unwrap();
        assert!(state.has("m") && !state.has("w"));
        assert_eq!(state.into_fields().unwrap().len(), 2);
    }

    #[test]
    fn a_field_that_is_not_put_back_is_an_error() {
        let mut state = state();
        state.take("m").unwrap();
        assert!(matches!(
            state.into_fields(),
            Err(RuleError::FieldTaken { field: "m", .. })
        ));
    }
}
