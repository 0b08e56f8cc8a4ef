//! Partial evaluation: a graph is split into what depends on some of its arguments and what does
//! not.

use burn_ir::{
    BaseOperationIr, CreationOpIr, IrVisitorMut, ModuleOperationIr, OperationIr, ShapeOpIr,
    TensorIr,
};

use crate::context::slot;
use crate::error::JvpError;
use crate::graph::{Graph, Slots};

/// A graph in parts.
#[derive(Debug, Clone)]
pub(crate) struct Split {
    /// What no moving argument reaches. Its results are what the stages read of it, and those of the
    /// whole that no stage makes.
    pub(crate) still: Graph,
    pub(crate) stages: Vec<Stage>,
    /// Positions among the results of the whole, and of the still part, of what no stage makes.
    pub(crate) fixed: Vec<(usize, usize)>,
}

/// What one group of moving arguments reaches.
#[derive(Debug, Clone)]
pub(crate) struct Stage {
    /// Arguments are kept values, then the moving arguments.
    pub(crate) graph: Graph,
    /// Positions of the kept values among the results of the still part.
    pub(crate) kept: Vec<usize>,
    /// For each of the graph's results, its position among those of the whole.
    pub(crate) results: Vec<usize>,
}

/// Splits off what depends on the last arguments, which come in groups of the given sizes. No
/// operation may depend on two groups.
pub(crate) fn split(mut graph: Graph, groups: &[usize]) -> Result<Split, JvpError> {
    read_shapes_elsewhere(&mut graph);
    let own = graph.arguments.len() - groups.iter().sum::<usize>();
    let mut stage_of: Vec<Option<usize>> = vec![None; graph.reads.len()];
    let mut moving = graph.arguments[own..].iter();
    for (group, &size) in groups.iter().enumerate() {
        for &slot in moving.by_ref().take(size) {
            stage_of[slot] = Some(group);
        }
    }
    let mut still = Vec::new();
    let mut parts = vec![Vec::new(); groups.len()];
    for step in core::mem::take(&mut graph.steps) {
        let mut reached = None;
        for input in step.inputs() {
            match (reached, stage_of[slot(input)]) {
                (Some(one), Some(other)) if one != other => {
                    return Err(JvpError::Internal {
                        what: "an operation depends on a direction and on a cotangent".to_string(),
                    });
                }
                (None, stage) => reached = stage,
                _ => {}
            }
        }
        for out in step.outputs() {
            stage_of[slot(out)] = reached;
        }
        match reached {
            Some(stage) => parts[stage].push(step),
            None => still.push(step),
        }
    }

    let mut kept: Vec<TensorIr> = Vec::new();
    let mut stages = Vec::with_capacity(groups.len());
    let mut first = own;
    for (index, (steps, &size)) in parts.into_iter().zip(groups).enumerate() {
        let moving = &graph.arguments[first..first + size];
        first += size;
        let outputs = graph.outputs.iter().enumerate();
        let outputs = outputs.filter(|(_, out)| stage_of[slot(out)] == Some(index));
        let (results, outputs) = outputs.map(|(at, out)| (at, out.clone())).unzip();
        let is_still = |tensor: &&TensorIr| stage_of[slot(tensor)].is_none();
        let mut read = Vec::new();
        for tensor in steps.iter().flat_map(OperationIr::inputs).filter(is_still) {
            let at = position(&mut kept, tensor);
            if !read.contains(&at) {
                read.push(at);
            }
        }
        let arguments = read.iter().map(|&at| slot(&kept[at]));
        let arguments = arguments.chain(moving.iter().copied()).collect();
        stages.push(Stage {
            graph: stage(steps, arguments, outputs),
            kept: read,
            results,
        });
    }
    let fixed = graph.outputs.iter().enumerate();
    let fixed = fixed.filter(|(_, out)| stage_of[slot(out)].is_none());
    let fixed = fixed
        .map(|(at, out)| (at, position(&mut kept, out)))
        .collect();
    graph.arguments.truncate(own);
    graph.steps = still;
    graph.outputs = kept;
    Ok(Split {
        still: graph.with_outputs(|_| true),
        stages,
        fixed,
    })
}

/// Where a tensor is kept.
fn position(kept: &mut Vec<TensorIr>, tensor: &TensorIr) -> usize {
    let known = kept.iter().position(|other| other.id == tensor.id);
    known.unwrap_or_else(|| {
        kept.push(tensor.clone());
        kept.len() - 1
    })
}

/// A graph of these operations, with slots of its own.
fn stage(mut steps: Vec<OperationIr>, arguments: Vec<usize>, mut outputs: Vec<TensorIr>) -> Graph {
    let mut slots = Slots::default();
    let arguments = arguments.into_iter();
    let arguments = arguments.map(|slot| slots.of(burn_ir::TensorId::new(slot as u64)));
    let arguments = arguments.collect();
    for step in &mut steps {
        step.visit_mut(&mut slots);
    }
    for out in &mut outputs {
        slots.visit_tensor_mut(out);
    }
    let mut reads = vec![0; slots.len()];
    let inputs = steps.iter().flat_map(OperationIr::inputs);
    for tensor in inputs.chain(&outputs) {
        reads[slot(tensor)] += 1;
    }
    Graph {
        steps,
        reads,
        arguments,
        constants: Vec::new(),
        draws: Vec::new(),
        batch_statistics: Vec::new(),
        outputs,
    }
}

/// Lets operations that read nothing but the shape of an operand read it off a view of one zero:
/// neither is their result made to depend on that operand, nor is the operand kept for them.
fn read_shapes_elsewhere(graph: &mut Graph) {
    let mut steps = Vec::with_capacity(graph.steps.len());
    for mut step in core::mem::take(&mut graph.steps) {
        if let Some(operand) = shape_operand(&mut step) {
            graph.reads[slot(operand)] -= 1;
            let mut made = |shape| {
                let id = burn_ir::TensorId::new(graph.reads.len() as u64);
                graph.reads.push(1);
                TensorIr {
                    id,
                    shape,
                    ..operand.clone()
                }
            };
            let zero = made(vec![1; operand.shape.num_dims()].into());
            let wide = made(operand.shape.clone());
            *operand = wide.clone();
            let zeros = BaseOperationIr::Zeros(CreationOpIr { out: zero.clone() });
            let expand = BaseOperationIr::Expand(ShapeOpIr {
                input: zero,
                out: wide,
            });
            steps.extend([zeros, expand].map(OperationIr::BaseFloat));
        }
        steps.push(step);
    }
    graph.steps = steps;
}

/// The operand of a backward operation of which only the shape counts: an operation that is linear
/// in it has a derivative that does not depend on it.
fn shape_operand(step: &mut OperationIr) -> Option<&mut TensorIr> {
    use ModuleOperationIr as M;
    let OperationIr::Module(operation) = step else {
        return None;
    };
    Some(match operation {
        M::EmbeddingBackward(o) => &mut o.weights,
        M::Conv1dXBackward(o) => &mut o.x,
        M::Conv1dWeightBackward(o) => &mut o.weight,
        M::Conv1dBiasBackward(o) => &mut o.x,
        M::Conv2dXBackward(o) => &mut o.x,
        M::Conv2dWeightBackward(o) => &mut o.weight,
        M::Conv2dBiasBackward(o) => &mut o.x,
        M::Conv3dXBackward(o) => &mut o.x,
        M::Conv3dWeightBackward(o) => &mut o.weight,
        M::Conv3dBiasBackward(o) => &mut o.x,
        M::ConvTranspose1dWeightBackward(o) => &mut o.weight,
        M::ConvTranspose1dBiasBackward(o) => &mut o.x,
        M::ConvTranspose2dWeightBackward(o) => &mut o.weight,
        M::ConvTranspose2dBiasBackward(o) => &mut o.x,
        M::ConvTranspose3dWeightBackward(o) => &mut o.weight,
        M::ConvTranspose3dBiasBackward(o) => &mut o.x,
        M::AvgPool1dBackward(o) => &mut o.x,
        M::AvgPool2dBackward(o) => &mut o.x,
        M::AdaptiveAvgPool1dBackward(o) => &mut o.x,
        M::AdaptiveAvgPool2dBackward(o) => &mut o.x,
        M::AdaptiveAvgPool3dBackward(o) => &mut o.x,
        M::MaxPool1dWithIndicesBackward(o) => &mut o.x,
        M::MaxPool2dWithIndicesBackward(o) => &mut o.x,
        M::InterpolateBackward(o) => &mut o.x,
        _ => return None,
    })
}
