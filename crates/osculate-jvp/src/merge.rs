//! What is computed twice is computed once.

use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{Hash, Hasher};

use burn::tensor::TensorData;
use burn_ir::{IrVisitorMut, OperationIr, TensorId, TensorIr, TensorStatus};

use crate::graph::{Boundary, is_random};

/// Drops operations that repeat an earlier one on the same tensors, and lets what read their
/// results read the earlier ones. Differentiating twice along one direction makes many.
pub(crate) fn merge_duplicates(
    operations: &mut Vec<OperationIr>,
    values: &BTreeMap<TensorId, TensorData>,
    boundary: &mut Boundary,
) {
    let mut renamed = Renamed::default();
    let mut seen: HashMap<u64, Vec<(OperationIr, Vec<TensorId>)>> = HashMap::new();
    let arguments: HashSet<TensorId> = boundary.arguments.iter().copied().collect();
    operations.retain_mut(|operation| {
        let outputs: Vec<TensorId> = operation.outputs().map(|tensor| tensor.id).collect();
        operation.visit_mut(&mut renamed);
        if is_random(operation) || outputs.iter().any(|id| arguments.contains(id)) {
            return true;
        }
        let data = match (&*operation, outputs.as_slice()) {
            // What a constant is stands in its data: the operation names a shape alone.
            (OperationIr::Init(_), &[id]) => values.get(&id),
            _ => None,
        };
        let mut key = operation.clone();
        key.visit_mut(&mut Anonymous { outputs: &outputs });
        let mut hasher = DefaultHasher::new();
        key.hash(&mut hasher);
        data.map(TensorData::as_bytes).hash(&mut hasher);
        let bucket = seen.entry(hasher.finish()).or_default();
        let same = |(other, earlier): &&(OperationIr, Vec<TensorId>)| {
            *other == key && data == earlier.first().and_then(|id| data.and(values.get(id)))
        };
        if let Some((_, earlier)) = bucket.iter().find(same) {
            let pairs = outputs.iter().copied().zip(earlier.iter().copied());
            renamed.names.extend(pairs);
            return false;
        }
        bucket.push((key, outputs));
        true
    });
    for output in &mut boundary.outputs {
        *output = renamed.of(*output);
    }
    for result in &mut boundary.results {
        result.id = renamed.of(result.id);
    }
}

/// Tensors that stand for others. Names are final when they are given.
#[derive(Default)]
struct Renamed {
    names: HashMap<TensorId, TensorId>,
}

impl Renamed {
    fn of(&self, id: TensorId) -> TensorId {
        self.names.get(&id).copied().unwrap_or(id)
    }
}

impl IrVisitorMut for Renamed {
    fn visit_tensor_mut(&mut self, tensor: &mut TensorIr) {
        tensor.id = self.of(tensor.id);
        tensor.status = TensorStatus::ReadOnly;
    }
}

/// Gives results names by position, so that equal operations compare as equal.
struct Anonymous<'a> {
    outputs: &'a [TensorId],
}

impl IrVisitorMut for Anonymous<'_> {
    fn visit_tensor_mut(&mut self, tensor: &mut TensorIr) {
        if let Some(position) = self.outputs.iter().position(|id| *id == tensor.id) {
            tensor.id = TensorId::new(u64::MAX - position as u64);
        }
    }
}
