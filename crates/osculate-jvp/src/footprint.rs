//! How much memory a replay takes, from the shapes alone.

use burn_ir::{BaseOperationIr, NumericOperationIr, OperationIr, TensorIr};

use crate::context::slot;
use crate::graph::Graph;

/// Bytes of what a replay makes: arguments, constants and random tensors are there before it.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Footprint {
    /// The most at once.
    pub(crate) peak: usize,
    /// Of the results.
    pub(crate) results: usize,
}

/// The footprint of a graph, for operations that keep nothing of their own and views that share the memory
/// of what they view. A replay also `overwrites`: arithmetic happens in the memory of an operand at its
/// last use, which a tape prevents.
pub(crate) fn footprint(graph: &Graph, overwrites: bool) -> Footprint {
    let slots = graph.reads.len();
    // The slot whose memory a slot shares, its size, and how often it will still be read.
    let mut root: Vec<usize> = (0..slots).collect();
    let mut bytes = vec![0; slots];
    let mut reads = vec![0; slots];
    let (mut now, mut peak) = (0, 0);
    for step in &graph.steps {
        let view = viewed(step).map(|input| root[slot(input)]);
        for out in step.outputs() {
            let index = slot(out);
            match view {
                Some(viewed) => root[index] = viewed,
                None if graph.reads[index] == 0 => {}
                None => {
                    bytes[index] = out.shape.num_elements() * out.dtype.size();
                    now += bytes[index];
                }
            }
            reads[root[index]] += graph.reads[index];
        }
        let freed = if overwrites && is_arithmetic(step) {
            let operands = step.inputs().map(|input| root[slot(input)]);
            let last = operands.filter(|&index| reads[index] == 1);
            let made = step.outputs().map(|out| bytes[slot(out)]).sum::<usize>();
            last.map(|index| bytes[index])
                .find(|&size| size == made)
                .unwrap_or(0)
        } else {
            0
        };
        peak = peak.max(now - freed);
        for input in step.inputs() {
            let index = root[slot(input)];
            reads[index] = u32::saturating_sub(reads[index], 1);
            if reads[index] == 0 {
                now -= core::mem::take(&mut bytes[index]);
            }
        }
    }
    Footprint { peak, results: now }
}

/// Whether an operation can overwrite an operand of the result's size.
fn is_arithmetic(step: &OperationIr) -> bool {
    use NumericOperationIr as N;
    let OperationIr::NumericFloat(_, operation) = step else {
        return false;
    };
    matches!(
        operation,
        N::Add(_) | N::Sub(_) | N::Mul(_) | N::Div(_) | N::AddScalar(_) | N::MulScalar(_)
    )
}

/// What an operation is a view of.
fn viewed(step: &OperationIr) -> Option<&TensorIr> {
    let (OperationIr::BaseFloat(operation)
    | OperationIr::BaseInt(operation)
    | OperationIr::BaseBool(operation)) = step
    else {
        return None;
    };
    match operation {
        BaseOperationIr::Reshape(o) | BaseOperationIr::Expand(o) => Some(&o.input),
        BaseOperationIr::SwapDims(o) => Some(&o.input),
        BaseOperationIr::Permute(o) => Some(&o.input),
        _ => None,
    }
}
