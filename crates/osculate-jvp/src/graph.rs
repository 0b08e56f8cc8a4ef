//! Recorded operations with densely numbered tensors, and when each was last used.

use std::collections::{BTreeMap, HashMap};

use burn::tensor::TensorData;
use burn_ir::{IrVisitorMut, OperationIr, TensorId, TensorIr, TensorStatus};

use crate::error::JvpError;
use crate::placeholder;
use crate::tensors::AnyTensor;

/// Identities of the arguments and results of a recording.
pub(crate) struct Boundary {
    pub(crate) arguments: Vec<TensorId>,
    pub(crate) outputs: Vec<TensorId>,
    results: Vec<TensorIr>,
}

impl Boundary {
    pub(crate) fn new(arguments: &[AnyTensor], results: &[AnyTensor]) -> Result<Self, JvpError> {
        let ids = |tensors: &[AnyTensor]| -> Result<Vec<TensorId>, JvpError> {
            tensors.iter().map(placeholder::id).collect()
        };
        let outputs = ids(results)?;
        let results = results
            .iter()
            .zip(&outputs)
            .map(|(tensor, &id)| TensorIr {
                id,
                shape: tensor.shape(),
                status: TensorStatus::ReadOnly,
                dtype: tensor.dtype(),
            })
            .collect();
        Ok(Self {
            arguments: ids(arguments)?,
            outputs,
            results,
        })
    }
}

/// Operations in execution order on tensors numbered by slot.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Graph {
    pub(crate) steps: Vec<OperationIr>,
    /// How often each slot is read, by steps and as a result.
    pub(crate) reads: Vec<u32>,
    pub(crate) arguments: Vec<usize>,
    pub(crate) constants: Vec<(usize, TensorData)>,
    pub(crate) outputs: Vec<TensorIr>,
}

impl Graph {
    /// Keeps the operations that the results depend on and numbers their tensors.
    pub(crate) fn new(
        operations: Vec<OperationIr>,
        mut values: BTreeMap<TensorId, TensorData>,
        boundary: &Boundary,
    ) -> Result<Self, JvpError> {
        let mut slots = Slots::default();
        let arguments = boundary.arguments.iter().map(|&id| slots.of(id)).collect();
        let given: HashMap<TensorId, ()> =
            boundary.arguments.iter().map(|&id| (id, ())).collect();

        // Backward from the results: an operation stays where something needs what it makes.
        let mut needed: HashMap<TensorId, u32> = HashMap::new();
        for &id in &boundary.outputs {
            *needed.entry(id).or_default() += 1;
        }
        let mut steps: Vec<OperationIr> = Vec::with_capacity(operations.len());
        for operation in operations.into_iter().rev() {
            let makes = operation
                .outputs()
                .any(|out| needed.contains_key(&out.id) && !given.contains_key(&out.id));
            if !makes || matches!(operation, OperationIr::Init(_) | OperationIr::Drop(_)) {
                continue;
            }
            for input in operation.inputs() {
                *needed.entry(input.id).or_default() += 1;
            }
            steps.push(operation);
        }
        steps.reverse();

        let mut made: HashMap<TensorId, ()> = given;
        let mut constants = Vec::new();
        let mut require = |id: TensorId, made: &mut HashMap<TensorId, ()>, slots: &mut Slots| {
            if made.insert(id, ()).is_some() {
                return Ok(());
            }
            let data = values.remove(&id).ok_or_else(|| JvpError::Internal {
                what: format!("{id} is read and nothing makes it"),
            })?;
            constants.push((slots.of(id), data));
            Ok(())
        };
        for step in &mut steps {
            let inputs: Vec<TensorId> = step.inputs().map(|tensor| tensor.id).collect();
            for id in inputs {
                require(id, &mut made, &mut slots)?;
            }
            made.extend(step.outputs().map(|tensor| (tensor.id, ())));
            step.visit_mut(&mut slots);
        }
        let mut outputs = boundary.results.clone();
        for output in &mut outputs {
            require(output.id, &mut made, &mut slots)?;
            slots.visit_tensor_mut(output);
        }
        let mut reads = vec![0; slots.numbers.len()];
        for (id, count) in needed {
            if let Some(&slot) = slots.numbers.get(&id) {
                reads[slot] = count;
            }
        }
        Ok(Self {
            steps,
            reads,
            arguments,
            constants,
            outputs,
        })
    }
}

/// Slots by identity, in the order of first use.
#[derive(Default)]
struct Slots {
    numbers: HashMap<TensorId, usize>,
}

impl Slots {
    fn of(&mut self, id: TensorId) -> usize {
        let next = self.numbers.len();
        *self.numbers.entry(id).or_insert(next)
    }
}

impl IrVisitorMut for Slots {
    fn visit_tensor_mut(&mut self, tensor: &mut TensorIr) {
        tensor.id = TensorId::new(self.of(tensor.id) as u64);
        // When a handle was dropped is an accident of the recording.
        tensor.status = TensorStatus::ReadOnly;
    }
}
