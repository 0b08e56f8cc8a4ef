//! Which blocks are stacked together.

use burn::tensor::{Bool, DType, Device, Tensor};
use osculate_curvature::{FiniteFlags, ParamEntry, ParamVec};
use osculate_jvp::is_cpu;

use super::rule::{BlockRule, Field, Row, Stack, StackedCurvature};
use super::run::BlockInput;
use super::state::BlockState;
use super::store::{BlockKey, BlockStore, ParameterCounters};
use super::units::{Unit, num_blocks, stacked};
use crate::curvature::CurvatureEstimate;
use crate::parameter::Orientation;

/// A unit in a step, with its counters.
pub(crate) struct Part<'a> {
    pub unit: &'a Unit,
    pub entry: &'a ParamEntry,
    pub counters: ParameterCounters,
}

pub(crate) fn parts<'a>(
    units: &'a [Unit],
    store: &BlockStore,
    input: &BlockInput<'a>,
    next_phase: &mut u64,
) -> Vec<Part<'a>> {
    let entries = input.weights.layout().entries();
    let parts = units.iter().map(|unit| {
        let counters = match store.counters.get(&unit.key) {
            Some(counters) => counters.clone(),
            None => ParameterCounters::new(*next_phase),
        };
        let blocks = num_blocks(&unit.partition) as u64;
        *next_phase = (*next_phase).max(counters.phase + blocks);
        Part {
            unit,
            entry: &entries[unit.members[0]],
            counters,
        }
    });
    parts.collect()
}

/// Elements with which a group is full on CPU backends: the next blocks of its shape make another group,
/// for another core. So many keep a core busy far longer than the handing over takes.
const FULL: usize = 1 << 16;

/// Blocks that are stacked: equal in dimensions, type, device, step, and orientation where it matters.
pub(crate) struct Group {
    pub dims: Vec<usize>,
    pub compute: DType,
    pub on_cpu: bool,
    pub keys: Vec<BlockKey>,
    pub rows: Vec<Row>,
    /// Positions of the parts that the rows belong to.
    pub parts: Vec<usize>,
    device: Device,
    step: u64,
    orientation: Orientation,
    weights: Vec<Tensor<2>>,
    gradients: Vec<Tensor<2>>,
    probes: Vec<Tensor<2>>,
    estimates: Vec<Tensor<2>>,
}

pub(crate) fn groups<R: BlockRule>(
    rule: &R,
    parts: &[Part<'_>],
    input: &BlockInput<'_>,
) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    let (probe, estimate) = match input.curvature {
        Some(CurvatureEstimate::Product { probe, product }) => (Some(probe), Some(product)),
        Some(CurvatureEstimate::Diagonal(diagonal)) => (None, Some(diagonal)),
        Some(CurvatureEstimate::Solution(_)) | None => (None, None),
    };
    for (position, part) in parts.iter().enumerate() {
        let compute = part.entry.compute_dtype();
        let orientation = match rule.is_oriented() {
            true => part.unit.parameter.orientation(),
            false => Orientation::OutIn,
        };
        let blocks_of = |vector: Option<&ParamVec>| {
            let blocks = vector.map(|vector| part.unit.blocks(vector, compute));
            blocks.unwrap_or_default().into_iter()
        };
        let mut weights = blocks_of(Some(input.weights));
        let mut gradients = blocks_of(Some(input.gradient));
        let (mut probes, mut estimates) = (blocks_of(probe), blocks_of(estimate));
        let mut block = 0;
        for blocks in part.unit.partition.groups() {
            let stacks = [
                weights.next(),
                gradients.next(),
                probes.next(),
                estimates.next(),
            ];
            let mut taken = 0;
            while taken < blocks.count {
                // Of a shape only the group that was opened last can have room.
                let at = groups.iter().rposition(|group| {
                    group.dims == blocks.dims
                        && group.compute == compute
                        && group.step == part.counters.steps
                        && group.orientation == orientation
                        && group.device == part.entry.device
                });
                let at = at.filter(|&at| groups[at].room() > 0);
                let at = at.unwrap_or_else(|| {
                    groups.push(Group::new(blocks.dims.clone(), compute, orientation, part));
                    groups.len() - 1
                });
                let group = &mut groups[at];
                let count = group.room().min(blocks.count - taken);
                for block in block + taken..block + taken + count {
                    group.parts.push(position);
                    group.keys.push(BlockKey {
                        path: part.unit.key.clone(),
                        block,
                    });
                    group.rows.push(Row {
                        path: part.unit.parameter.path.clone(),
                        block,
                        phase: part.counters.phase + block as u64,
                    });
                }
                let cut = |stack: Tensor<2>| {
                    if count == blocks.count {
                        stack
                    } else {
                        stack.narrow(0, taken, count)
                    }
                };
                let [weights, gradients, probes, estimates] =
                    stacks.clone().map(|stack| stack.map(cut));
                group.weights.extend(weights);
                group.gradients.extend(gradients);
                group.probes.extend(probes);
                group.estimates.extend(estimates);
                taken += count;
            }
            block += blocks.count;
        }
    }
    groups
}

impl Group {
    fn new(dims: Vec<usize>, compute: DType, orientation: Orientation, part: &Part<'_>) -> Self {
        Self {
            dims,
            compute,
            on_cpu: is_cpu(&part.entry.device),
            keys: Vec::new(),
            rows: Vec::new(),
            parts: Vec::new(),
            device: part.entry.device.clone(),
            step: part.counters.steps,
            orientation,
            weights: Vec::new(),
            gradients: Vec::new(),
            probes: Vec::new(),
            estimates: Vec::new(),
        }
    }

    /// How many more blocks it takes.
    fn room(&self) -> usize {
        if !self.on_cpu {
            return usize::MAX;
        }
        let len: usize = self.dims.iter().product();
        FULL.div_ceil(len.max(1)).saturating_sub(self.rows.len())
    }

    /// The state of a block, in types that the device can keep: a state that is to be in half
    /// precision is in the compute type on backends without it.
    pub(crate) fn fields(&self, rule: &impl BlockRule) -> Vec<Field> {
        let mut fields = rule.fields(&self.dims, self.compute);
        for field in &mut fields {
            if !self.device.supports_dtype(field.dtype) {
                field.dtype = self.compute;
            }
        }
        fields
    }

    /// Flags of the rows' parameters, `[k, 1]`. A row of several parameters has all of their flags.
    pub(crate) fn row_flags(&self, parts: &[Part<'_>], flags: &FiniteFlags) -> Tensor<2, Bool> {
        let rows = self.parts.iter().map(|&part| {
            let members = parts[part].unit.members.iter();
            let flags = members.map(|&at| flags.tensors()[at].clone());
            // A unit has at least one member.
            flags.reduce(Tensor::bool_and).unwrap_or_else(|| {
                Tensor::<1>::ones([1], (&self.device, self.compute)).equal_elem(1.0)
            })
        });
        Tensor::cat(rows.collect(), 0).reshape([self.parts.len(), 1])
    }

    pub(crate) fn stack(
        &self,
        state: BlockState,
        seed: u64,
        finite: Option<Tensor<2, Bool>>,
    ) -> Stack<'_> {
        let empty = || Tensor::zeros([0, 0], (&self.device, self.compute));
        let probe = stacked(self.probes.clone());
        let curvature = stacked(self.estimates.clone()).map(|estimate| match probe {
            Some(probe) => StackedCurvature::Product {
                probe,
                product: estimate,
                finite,
            },
            None => StackedCurvature::Diagonal {
                value: estimate,
                finite,
            },
        });
        Stack {
            dims: &self.dims,
            rows: &self.rows,
            step: self.step,
            orientation: self.orientation,
            seed,
            weights: stacked(self.weights.clone()).unwrap_or_else(empty),
            gradient: stacked(self.gradients.clone()).unwrap_or_else(empty),
            state,
            curvature,
        }
    }
}

#[cfg(test)]
mod tests;
