//! Which parameters make blocks, and which blocks are stacked together.

use std::sync::Arc;

use burn::tensor::{Bool, DType, Device, Tensor};
use osculate_curvature::{FiniteFlags, ParamEntry, ParamVec};
use osculate_jvp::is_cpu;
use osculate_linalg::BlockPartition;

use super::rule::{BlockRule, Field, Joined, Row, Stack, StackedCurvature};
use super::run::BlockInput;
use super::state::BlockState;
use super::store::{BlockKey, BlockStore, ParameterCounters};
use crate::curvature::CurvatureEstimate;
use crate::parameter::{Orientation, Parameter};

/// What is cut into blocks as one: a parameter, or several of a layer.
#[derive(Debug, Clone)]
pub(crate) struct Unit {
    /// Key of its state: the path of its parameter, or the paths of all with a plus between.
    pub key: String,
    /// Positions of its parameters.
    pub members: Vec<usize>,
    joined: Option<Joined>,
    parameter: Parameter,
    partition: BlockPartition,
}

/// The units of some parameters, made anew only where these change.
#[derive(Debug, Clone, Default)]
pub(crate) struct Units {
    made_for: Vec<(String, Parameter)>,
    units: Vec<Unit>,
}

impl Units {
    /// The units of the parameters of an input, in the order of the module.
    pub(crate) fn of<R: BlockRule>(&mut self, rule: &R, input: &BlockInput<'_>) -> &[Unit] {
        let entries = input.weights.layout().entries();
        let now = || entries.iter().zip(input.parameters);
        let known = self.made_for.iter();
        let same = known.len() == entries.len()
            && known
                .zip(now())
                .all(|((key, known), (entry, parameter))| {
                    *key == entry.path && known == parameter
                });
        if !same {
            self.units = units(rule, entries, input.parameters);
            let owned = now().map(|(entry, parameter)| (entry.path.clone(), parameter.clone()));
            self.made_for = owned.collect();
        }
        &self.units
    }
}

fn units<R: BlockRule>(rule: &R, entries: &[ParamEntry], parameters: &[Parameter]) -> Vec<Unit> {
    let mut units = Vec::new();
    let mut start = 0;
    for layer in parameters.chunk_by(|a, b| a.layer_path() == b.layer_path()) {
        let joined = rule.joins(layer).filter(|joined| fits(joined, layer));
        let members = joined.iter().flat_map(|joined| &joined.members);
        let joined_positions: Vec<usize> = members.map(|(at, _)| start + at).collect();
        if let Some(joined) = joined {
            units.push(joint_unit(rule, entries, layer, start, joined));
        }
        for at in start..start + layer.len() {
            if joined_positions.contains(&at) {
                continue;
            }
            units.push(Unit {
                key: entries[at].path.clone(),
                members: vec![at],
                joined: None,
                parameter: parameters[at].clone(),
                partition: rule.partition(&parameters[at]),
            });
        }
        start += layer.len();
    }
    units.retain(|unit| num_blocks(&unit.partition) > 0);
    units
}

/// Whether the members exist once each, have the elements of their matrices, and one element type.
fn fits(joined: &Joined, layer: &[Parameter]) -> bool {
    let other = 1 - joined.axis.min(1);
    let mut seen = Vec::new();
    !joined.members.is_empty()
        && joined.axis < 2
        && joined.members.iter().all(|(at, shape)| {
            let new = !seen.contains(at);
            seen.push(*at);
            let first = &joined.members[0];
            new && layer.get(*at).is_some_and(|parameter| {
                parameter.num_elements() == shape[0] * shape[1]
                    && shape[other] == first.1[other]
                    && layer
                        .get(first.0)
                        .is_some_and(|first| first.dtype == parameter.dtype)
            })
        })
}

fn joint_unit<R: BlockRule>(
    rule: &R,
    entries: &[ParamEntry],
    layer: &[Parameter],
    start: usize,
    joined: Joined,
) -> Unit {
    let members: Vec<usize> = joined.members.iter().map(|(at, _)| start + at).collect();
    let mut shape = joined.members[0].1;
    let sizes = joined.members.iter().map(|(_, shape)| shape[joined.axis]);
    shape[joined.axis] = sizes.sum();
    let paths: Vec<&str> = members.iter().map(|&at| &*entries[at].path).collect();
    let told: Vec<&str> = joined.members.iter().map(|(at, _)| &*layer[*at].path).collect();
    let first = &layer[joined.members[0].0];
    let parameter = Parameter {
        path: Arc::from(told.join("+")),
        shape: shape.to_vec(),
        ..first.clone()
    };
    Unit {
        key: paths.join("+"),
        members,
        joined: Some(joined),
        partition: rule.partition(&parameter),
        parameter,
    }
}

/// Number of blocks; none of a tensor without elements.
pub(crate) fn num_blocks(partition: &BlockPartition) -> usize {
    let groups = partition.groups().iter();
    groups
        .filter(|group| group.num_elements() > 0)
        .map(|group| group.count)
        .sum()
}

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
        None => (None, None),
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

/// Stacks on top of each other; `None` of none.
fn stacked(mut stacks: Vec<Tensor<2>>) -> Option<Tensor<2>> {
    match stacks.len() {
        0 | 1 => stacks.pop(),
        _ => Some(Tensor::cat(stacks, 0)),
    }
}

impl Unit {
    /// This unit's part of a vector in the compute type, as a stack for each shape of block.
    #[expect(clippy::expect_used, reason = "a rule keeps the number of elements")]
    fn blocks(&self, vector: &ParamVec, compute: DType) -> Vec<Tensor<2>> {
        let member = |at: usize| vector.tensors()[at].clone().cast(compute);
        let flat = match &self.joined {
            None => member(self.members[0]),
            Some(joined) => {
                let shapes = joined.members.iter().map(|(_, shape)| *shape);
                let matrices = self.members.iter().zip(shapes);
                let matrices = matrices.map(|(&at, shape)| member(at).reshape(shape));
                Tensor::cat(matrices.collect(), joined.axis).flatten::<1>(0, 1)
            }
        };
        let blocks = self.partition.split(flat.unsqueeze::<2>());
        blocks.expect("a partition of the unit's elements")
    }

    /// Undoes [`blocks`](Self::blocks): a flat tensor for each member. The stacks come in the order of
    /// their blocks, that of one shape in one or several.
    #[expect(
        clippy::expect_used,
        reason = "the stacks have the shapes of the split"
    )]
    pub(crate) fn members_of(&self, stacks: Vec<Tensor<2>>) -> Vec<(usize, Tensor<1>)> {
        let mut stacks = stacks.into_iter();
        let groups = self.partition.groups().iter();
        let whole = groups.filter_map(|blocks| {
            let (mut rows, mut parts) = (0, Vec::new());
            while rows < blocks.count
                && let Some(part) = stacks.next()
            {
                rows += part.dims()[0];
                parts.push(part);
            }
            stacked(parts)
        });
        let whole = self.partition.join(whole.collect());
        let whole = whole.expect("the stacks of the partition");
        let flat = whole.flatten::<1>(0, 1);
        let Some(joined) = &self.joined else {
            return vec![(self.members[0], flat)];
        };
        let matrix = flat.reshape([self.parameter.shape[0], self.parameter.shape[1]]);
        let mut start = 0;
        let members = self.members.iter().zip(&joined.members);
        members
            .map(|(&at, (_, shape))| {
                let size = shape[joined.axis];
                let own = matrix.clone().narrow(joined.axis, start, size);
                start += size;
                (at, own.flatten::<1>(0, 1))
            })
            .collect()
    }
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
