//! Recorded operations with densely numbered tensors, and when each was last used.

use std::collections::{BTreeMap, HashMap, HashSet};

use burn::tensor::TensorData;
use burn_ir::{
    FloatOperationIr, IrVisitorMut, ModuleOperationIr, NumericOperationIr, OperationIr, TensorId,
    TensorIr, TensorStatus,
};

use crate::error::JvpError;
use crate::placeholder;
use crate::tensors::AnyTensor;

/// Identities of the arguments and results of a recording.
pub(crate) struct Boundary {
    pub(crate) arguments: Vec<TensorId>,
    pub(crate) outputs: Vec<TensorId>,
    pub(crate) results: Vec<TensorIr>,
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
    /// Random tensors in the order in which they are drawn, also those that nothing reads: each
    /// moves the generator on.
    pub(crate) draws: Vec<OperationIr>,
    /// Slots of running means whose layers normalise by the batch instead.
    pub(crate) batch_statistics: Vec<usize>,
    pub(crate) outputs: Vec<TensorIr>,
}

impl Graph {
    /// The same graph with some of its results, and without what only the others needed.
    pub(crate) fn with_outputs(&self, keep: impl Fn(usize) -> bool) -> Self {
        let mut graph = self.clone();
        let mut index = 0;
        graph.outputs.retain(|_| {
            index += 1;
            keep(index - 1)
        });
        let mut reads = vec![0; graph.reads.len()];
        for output in &graph.outputs {
            reads[output.id.value() as usize] += 1;
        }
        let mut steps = Vec::with_capacity(graph.steps.len());
        for step in graph.steps.into_iter().rev() {
            if step.outputs().any(|out| reads[out.id.value() as usize] > 0) {
                for input in step.inputs() {
                    reads[input.id.value() as usize] += 1;
                }
                steps.push(step);
            }
        }
        steps.reverse();
        Self {
            steps,
            reads,
            arguments: graph.arguments,
            constants: graph.constants,
            draws: graph.draws,
            batch_statistics: graph.batch_statistics,
            outputs: graph.outputs,
        }
    }

    /// Slots of those of the arguments that some batch normalisation reads as its mean.
    pub(crate) fn normalises_by(&self, arguments: &[usize]) -> Vec<usize> {
        let slots: HashSet<usize> = arguments
            .iter()
            .map(|&argument| self.arguments[argument])
            .collect();
        let mut found: Vec<usize> = self
            .steps
            .iter()
            .filter_map(|step| match step {
                OperationIr::Module(ModuleOperationIr::BatchNorm(norm)) => {
                    Some(norm.mean.id.value() as usize)
                }
                _ => None,
            })
            .filter(|slot| slots.contains(slot))
            .collect();
        found.sort_unstable();
        found.dedup();
        found
    }

    /// Keeps the operations that the results depend on and numbers their tensors.
    pub(crate) fn new(
        operations: Vec<OperationIr>,
        mut values: BTreeMap<TensorId, TensorData>,
        boundary: &Boundary,
    ) -> Result<Self, JvpError> {
        let mut slots = Slots::default();
        let arguments = boundary.arguments.iter().map(|&id| slots.of(id)).collect();
        let given: HashSet<TensorId> = boundary.arguments.iter().copied().collect();

        // Backward from the results: an operation stays where something needs what it makes.
        let mut needed: HashMap<TensorId, u32> = HashMap::new();
        for &id in &boundary.outputs {
            *needed.entry(id).or_default() += 1;
        }
        let mut steps: Vec<OperationIr> = Vec::with_capacity(operations.len());
        let mut draws = Vec::new();
        for operation in operations.into_iter().rev() {
            if is_random(&operation) {
                draws.push(operation);
                continue;
            }
            let makes = operation
                .outputs()
                .any(|out| needed.contains_key(&out.id) && !given.contains(&out.id));
            if !makes || matches!(operation, OperationIr::Init(_) | OperationIr::Drop(_)) {
                continue;
            }
            for input in operation.inputs() {
                *needed.entry(input.id).or_default() += 1;
            }
            steps.push(operation);
        }
        steps.reverse();
        draws.reverse();

        let mut made: HashSet<TensorId> = given;
        for draw in &mut draws {
            made.extend(draw.outputs().map(|tensor| tensor.id));
            draw.visit_mut(&mut slots);
        }
        let mut constants = Vec::new();
        let mut require = |id: TensorId, made: &mut HashSet<TensorId>, slots: &mut Slots| {
            if !made.insert(id) {
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
            made.extend(step.outputs().map(|tensor| tensor.id));
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
            draws,
            batch_statistics: Vec::new(),
            outputs,
        })
    }
}

/// Whether an operation's result is not determined by its inputs.
pub(crate) fn is_random(operation: &OperationIr) -> bool {
    matches!(
        operation,
        OperationIr::Float(_, FloatOperationIr::Random(_))
            | OperationIr::NumericInt(_, NumericOperationIr::IntRandom(_))
    )
}

/// Slots by identity, in the order of first use.
#[derive(Default)]
pub(crate) struct Slots {
    numbers: HashMap<TensorId, usize>,
}

impl Slots {
    pub(crate) fn len(&self) -> usize {
        self.numbers.len()
    }

    pub(crate) fn of(&mut self, id: TensorId) -> usize {
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
