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
/// for another core. As many fit a core's own cache, and keep it busy far longer than the handing over
/// takes.
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
            let at = groups.iter().position(|group| {
                group.dims == blocks.dims
                    && group.compute == compute
                    && group.step == part.member.steps
                    && group.device == part.entry.device
                    && !group.is_full()
            });
            let at = at.unwrap_or_else(|| {
                groups.push(Group::new(blocks.dims.clone(), compute, part));
                groups.len() - 1
            });
            let group = &mut groups[at];
            for block in block..block + blocks.count {
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
            block += blocks.count;
            group.weights.extend(weights.next());
            group.gradients.extend(gradients.next());
            group.probes.extend(probes.next());
            group.products.extend(products.next());
        }
    }
    groups
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

    /// Undoes [`blocks`](Self::blocks), in the parameter's type.
    #[expect(
        clippy::expect_used,
        reason = "the stacks have the shapes of the split"
    )]
    pub(super) fn joined(&self, stacks: Vec<Tensor<2>>) -> Tensor<1> {
        let joined = self.partition.join(stacks);
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

    fn is_full(&self) -> bool {
        let len: usize = self.dims.iter().product();
        self.on_cpu && self.rows.len() * len >= FULL
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
        let stacked = |blocks: &[Tensor<2>]| match blocks {
            [] => None,
            [one] => Some(one.clone()),
            many => Some(Tensor::cat(many.to_vec(), 0)),
        };
        let empty = || Tensor::zeros([0, 0], (&self.device, self.compute));
        let probe = stacked(&self.probes).zip(stacked(&self.products));
        Stack {
            dims: &self.dims,
            rows: &self.rows,
            lr,
            step: self.step,
            weights: stacked(&self.weights).unwrap_or_else(empty),
            gradient: stacked(&self.gradients).unwrap_or_else(empty),
            state,
            product: probe.map(|(probe, product)| ProductPair { probe, product }),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use burn::module::{Module, Param, ParamId};
    use burn::tensor::TensorData;

    use super::*;
    use crate::matrix::{Stacked, Stepped};
    use crate::{ClosureOptimizer, StepPolicy};

    /// Gradient descent that notes the sizes of its stacks.
    #[derive(Debug, Clone, Default)]
    struct Watched {
        stacks: Arc<Mutex<Vec<usize>>>,
    }

    impl MatrixRule for Watched {
        const FIELDS: &'static [&'static str] = &["m"];

        fn name(&self) -> &'static str {
            "watched"
        }

        fn partition(&self, shape: &[usize]) -> BlockPartition {
            BlockPartition::new(shape, usize::MAX)
        }

        fn fields(&self, dims: &[usize], compute: DType) -> Vec<Field> {
            vec![Field::new("m", dims.iter().product(), compute)]
        }

        fn step(&self, stack: Stack<'_>) -> Stepped {
            self.stacks.lock().unwrap().push(stack.len());
            let m = stack.state[0].clone() + stack.gradient;
            Stepped {
                weights: stack.weights - m.clone().mul_scalar(stack.lr),
                state: vec![m],
                solves: Vec::new(),
                refreshed: false,
            }
        }
    }

    #[derive(Module, Debug)]
    struct Net {
        weights: Vec<Param<Tensor<2>>>,
    }

    fn net(sizes: &[usize]) -> Net {
        let device = Device::flex().autodiff();
        let weights = sizes.iter().enumerate().map(|(index, &n)| {
            let values = (0..n * n).map(|i| ((i + index) as f32 * 0.7).sin());
            let data = TensorData::new(values.collect::<Vec<f32>>(), [n, n]);
            let weight = Tensor::<2>::from_data(data, &device);
            Param::initialized(ParamId::new(), weight.require_grad())
        });
        Net {
            weights: weights.collect(),
        }
    }

    fn values(net: &Net) -> Vec<Vec<f32>> {
        let weights = net.weights.iter();
        weights
            .map(|weight| weight.val().into_data().iter().collect())
            .collect()
    }

    fn loss(net: &Net) -> Tensor<1> {
        let terms = net.weights.iter().map(|weight| weight.val().square().sum());
        terms.reduce(|a, b| a + b).unwrap().mul_scalar(0.5)
    }

    #[test]
    fn large_blocks_are_stepped_in_groups_of_their_own() {
        let sizes = [256, 8, 256, 200, 8, 256, 200, 200];
        let rule = Watched::default();
        let mut optimizer = Stacked::new(rule.clone(), StepPolicy::new());
        let mut model = net(&sizes);
        let before = values(&model);
        // Half of what is there goes, then half and a quarter, since the gradient is the weight.
        for _ in 0..2 {
            model = optimizer.step(0.5, model, &loss).unwrap().model;
        }
        for (after, before) in values(&model).iter().zip(before) {
            let off = |(a, b): (&f32, f32)| (a - b * (0.5 - 0.75)).abs();
            assert!(after.iter().zip(before).map(off).all(|off| off < 1e-6));
        }
        let mut stacks = rule.stacks.lock().unwrap().clone();
        stacks.sort_unstable();
        // Of 256, three alone; of 200, two together before the third; of 8, both together.
        assert_eq!(stacks, [1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 2, 2]);
    }
}
