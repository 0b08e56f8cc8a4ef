//! Which blocks are stacked together.

use std::sync::Arc;

use burn::tensor::{DType, Device, Tensor};
use osculate_curvature::{ParamEntry, ParamVec};
use osculate_jvp::is_cpu;
use osculate_linalg::BlockPartition;

use super::engine::Request;
use super::rule::{Field, MatrixRule, ProductPair, Row, Stack};
use super::state::{BlockKey, Member, StackState};

/// One parameter of a request.
pub(super) struct Part<'a> {
    pub index: usize,
    pub entry: &'a ParamEntry,
    pub partition: BlockPartition,
    pub member: Member,
    pub path: Arc<str>,
}

/// Elements with which a group is full on CPU backends: the next blocks of its shape make another group,
/// for another core. So many keep a core busy far longer than the handing over takes.
const FULL: usize = 1 << 16;

/// Blocks that are stacked: equal in dimensions, type, device and step.
pub(super) struct Group {
    pub dims: Vec<usize>,
    pub compute: DType,
    device: Device,
    pub on_cpu: bool,
    step: u64,
    pub keys: Vec<BlockKey>,
    pub rows: Vec<Row>,
    /// Positions of the parts that the rows belong to.
    pub parts: Vec<usize>,
    weights: Vec<Tensor<2>>,
    gradients: Vec<Tensor<2>>,
    probes: Vec<Tensor<2>>,
    products: Vec<Tensor<2>>,
}

pub(super) fn parts<'a, R: MatrixRule>(
    rule: &R,
    state: &StackState,
    request: &Request<'a>,
    next_slot: &mut u64,
) -> Vec<Part<'a>> {
    let entries = request.weights.layout().entries().iter().enumerate();
    entries
        .filter_map(|(index, entry)| {
            let partition = rule.partition(&entry.shape);
            let blocks = num_blocks(&partition);
            let member = match state.members.get(&entry.path) {
                Some(member) => member.clone(),
                None => Member::new(*next_slot),
            };
            *next_slot = (*next_slot).max(member.slot + blocks as u64);
            let path = match request.alias {
                Some(alias) => alias.clone(),
                None => Arc::from(entry.path.as_str()),
            };
            (blocks > 0).then_some(Part {
                index,
                entry,
                partition,
                member,
                path,
            })
        })
        .collect()
}

/// Number of blocks; none of a tensor without elements.
pub(super) fn num_blocks(partition: &BlockPartition) -> usize {
    let groups = partition.groups().iter();
    groups
        .filter(|group| group.num_elements() > 0)
        .map(|group| group.count)
        .sum()
}

pub(super) fn groups(parts: &[Part<'_>], request: &Request<'_>) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for (position, part) in parts.iter().enumerate() {
        let compute = part.entry.compute_dtype();
        let mut weights = part.blocks(request.weights).into_iter();
        let mut gradients = part.blocks(request.gradient).into_iter();
        let product = request.product;
        let product = product.map(|(v, h)| (part.blocks(v), part.blocks(h)));
        let (probes, products) = product.unwrap_or_default();
        let (mut probes, mut products) = (probes.into_iter(), products.into_iter());
        let mut block = 0;
        for blocks in part.partition.groups() {
            let stacks = [
                weights.next(),
                gradients.next(),
                probes.next(),
                products.next(),
            ];
            let mut taken = 0;
            while taken < blocks.count {
                // Of a shape only the group that was opened last can have room.
                let at = groups.iter().rposition(|group| {
                    group.dims == blocks.dims
                        && group.compute == compute
                        && group.step == part.member.steps
                        && group.device == part.entry.device
                });
                let at = at.filter(|&at| groups[at].room() > 0);
                let at = at.unwrap_or_else(|| {
                    groups.push(Group::new(blocks.dims.clone(), compute, part));
                    groups.len() - 1
                });
                let group = &mut groups[at];
                let count = group.room().min(blocks.count - taken);
                for block in block + taken..block + taken + count {
                    group.parts.push(position);
                    group.keys.push(BlockKey {
                        path: part.entry.path.clone(),
                        block,
                    });
                    group.rows.push(Row {
                        path: part.path.clone(),
                        block,
                        slot: part.member.slot + block as u64,
                    });
                }
                let part = |stack: Tensor<2>| {
                    if count == blocks.count {
                        stack
                    } else {
                        stack.narrow(0, taken, count)
                    }
                };
                let [weights, gradients, probes, products] =
                    stacks.clone().map(|stack| stack.map(part));
                group.weights.extend(weights);
                group.gradients.extend(gradients);
                group.probes.extend(probes);
                group.products.extend(products);
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

impl Part<'_> {
    /// This parameter's part of a vector in the compute type, as a stack for each shape of block.
    #[expect(clippy::expect_used, reason = "a rule keeps the number of elements")]
    fn blocks(&self, vector: &ParamVec) -> Vec<Tensor<2>> {
        let flat = vector.tensors()[self.index].clone();
        let flat = flat.cast(self.entry.compute_dtype()).unsqueeze::<2>();
        let blocks = self.partition.split(flat);
        blocks.expect("a partition of the parameter's elements")
    }

    /// Undoes [`blocks`](Self::blocks), in the parameter's type. The stacks come in the order of their
    /// blocks, that of one shape in one or several.
    #[expect(
        clippy::expect_used,
        reason = "the stacks have the shapes of the split"
    )]
    pub(super) fn joined(&self, stacks: Vec<Tensor<2>>) -> Tensor<1> {
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
        let joined = self.partition.join(whole.collect());
        let joined = joined.expect("the stacks of the partition");
        joined.flatten::<1>(0, 1).cast(self.entry.dtype)
    }
}

impl Group {
    fn new(dims: Vec<usize>, compute: DType, part: &Part<'_>) -> Self {
        Self {
            dims,
            compute,
            device: part.entry.device.clone(),
            on_cpu: is_cpu(&part.entry.device),
            step: part.member.steps,
            keys: Vec::new(),
            rows: Vec::new(),
            parts: Vec::new(),
            weights: Vec::new(),
            gradients: Vec::new(),
            probes: Vec::new(),
            products: Vec::new(),
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
    pub(super) fn fields(&self, rule: &impl MatrixRule) -> Vec<Field> {
        let mut fields = rule.fields(&self.dims, self.compute);
        for field in &mut fields {
            if !self.device.supports_dtype(field.dtype) {
                field.dtype = self.compute;
            }
        }
        fields
    }

    pub(super) fn stack(&self, lr: f64, state: Vec<Tensor<2>>) -> Stack<'_> {
        let empty = || Tensor::zeros([0, 0], (&self.device, self.compute));
        let probe = stacked(self.probes.clone()).zip(stacked(self.products.clone()));
        Stack {
            dims: &self.dims,
            rows: &self.rows,
            lr,
            step: self.step,
            weights: stacked(self.weights.clone()).unwrap_or_else(empty),
            gradient: stacked(self.gradients.clone()).unwrap_or_else(empty),
            state,
            product: probe.map(|(probe, product)| ProductPair { probe, product }),
        }
    }
}

#[cfg(test)]
mod tests;
