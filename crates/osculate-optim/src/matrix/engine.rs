//! Runs a rule over the parameters of a model, block by block, stack by stack.

use std::sync::Arc;

use burn::tensor::{Bool, DType, Device, Tensor};
use osculate_curvature::{FiniteFlags, ParamEntry, ParamVec};
use osculate_linalg::BlockPartition;

use super::rule::{MatrixRule, ProductPair, Row, Stack, Stepped};
use super::state::{BlockKey, Bucket, Member, StackState};
use crate::config::NonFinitePolicy;
use crate::error::StepErrorCause;

/// What the engine is to make a step of.
pub(super) struct Request<'a> {
    pub lr: f64,
    pub weights: &'a ParamVec,
    /// In the layout of the weights; zero where `flags` are not set.
    pub gradient: &'a ParamVec,
    pub product: Option<(&'a ParamVec, &'a ParamVec)>,
    /// Set where the gradient is finite.
    pub flags: Option<&'a FiniteFlags>,
    pub non_finite: NonFinitePolicy,
    /// The path to tell the rule, for the only parameter of the request.
    pub alias: Option<&'a Arc<str>>,
    /// Whether too many solver failures in a row are an error.
    pub strict: bool,
}

/// A step that is made and not yet committed to the state.
pub(super) struct Prepared {
    /// New weights, in the order of the request's layout.
    pub weights: Vec<Tensor<1>>,
    /// Set where weights and state after the step are finite.
    pub flags: Option<FiniteFlags>,
    pub solver_failures: usize,
    pub refreshed: bool,
    buckets: Vec<Bucket>,
    members: Vec<(String, Member)>,
    next_slot: u64,
}

/// One parameter of a request.
struct Part<'a> {
    index: usize,
    entry: &'a ParamEntry,
    partition: BlockPartition,
    member: Member,
    path: Arc<str>,
}

/// Blocks that are stacked: equal in dimensions, type, device and step.
struct Group {
    dims: Vec<usize>,
    compute: DType,
    device: Device,
    step: u64,
    keys: Vec<BlockKey>,
    rows: Vec<Row>,
    /// Positions of the parts that the rows belong to.
    parts: Vec<usize>,
    weights: Vec<Tensor<2>>,
    gradients: Vec<Tensor<2>>,
    probes: Vec<Tensor<2>>,
    products: Vec<Tensor<2>>,
}

/// A group after its rule.
struct Made {
    group: Group,
    old: Vec<Tensor<2>>,
    stepped: Stepped,
}

impl Prepared {
    /// Takes the new state over. Cannot fail.
    pub(super) fn commit(self, state: &mut StackState) {
        state.next_slot = self.next_slot;
        state.members.extend(self.members);
        state.install(self.buckets);
    }
}

/// Makes a step without changing the state.
pub(super) fn prepare<R: MatrixRule>(
    rule: &R,
    state: &StackState,
    request: &Request<'_>,
) -> Result<Prepared, StepErrorCause> {
    let mut next_slot = state.next_slot;
    let parts = parts(rule, state, request, &mut next_slot);
    let mut made = Vec::new();
    for group in groups(&parts, request) {
        let fields = rule.fields(&group.dims, group.compute);
        let entries: Vec<&ParamEntry> = group.parts.iter().map(|&p| parts[p].entry).collect();
        let stored = state.gather(&group.keys, &entries, &fields)?;
        let old: Vec<Tensor<2>> = stored
            .into_iter()
            .map(|field| field.cast(group.compute))
            .collect();
        let stepped = rule.step(group.stack(request.lr, old.clone()));
        made.push(Made {
            group,
            old,
            stepped,
        });
    }

    let (members, solver_failures) = count_failures(rule, &parts, &made, request.strict)?;
    let refreshed = made.iter().any(|made| made.stepped.refreshed);
    let mut weights = new_weights(&parts, &made, request);
    let flags = (request.non_finite != NonFinitePolicy::Propagate)
        .then(|| update_flags(&parts, &made, &weights, request));
    if let (NonFinitePolicy::Error, Some(flags)) = (request.non_finite, &flags) {
        let paths = flags.flagged_paths();
        if !paths.is_empty() {
            return Err(StepErrorCause::NonFiniteUpdate { paths });
        }
    }
    if let (NonFinitePolicy::Skip, Some(flags)) = (request.non_finite, &flags) {
        for part in &parts {
            let old = request.weights.tensors()[part.index].clone();
            let flag = flags.tensors()[part.index].clone().expand(old.dims());
            weights[part.index] = old.mask_where(flag, weights[part.index].clone());
        }
    }
    let buckets = made
        .into_iter()
        .map(|made| made.into_bucket(rule, &parts, flags.as_ref(), request.non_finite))
        .collect();
    Ok(Prepared {
        weights,
        flags,
        solver_failures,
        refreshed,
        buckets,
        members,
        next_slot,
    })
}

fn parts<'a, R: MatrixRule>(
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

fn groups(parts: &[Part<'_>], request: &Request<'_>) -> Vec<Group> {
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
    fn joined(&self, stacks: Vec<Tensor<2>>) -> Tensor<1> {
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

    fn stack(&self, lr: f64, state: Vec<Tensor<2>>) -> Stack<'_> {
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

/// The members after the step, and how many solves failed.
fn count_failures<R: MatrixRule>(
    rule: &R,
    parts: &[Part<'_>],
    made: &[Made],
    strict: bool,
) -> Result<(Vec<(String, Member)>, usize), StepErrorCause> {
    let mut members: Vec<Member> = parts.iter().map(|part| part.member.clone()).collect();
    let mut failed = 0;
    for made in made {
        for solve in &made.stepped.solves {
            let part = made.group.parts[solve.row];
            let block = made.group.rows[solve.row].block;
            let failures = &mut members[part].failures;
            let Err(message) = &solve.result else {
                failures.remove(&(block, solve.factor));
                continue;
            };
            failed += 1;
            let count = failures.entry((block, solve.factor)).or_insert(0);
            *count += 1;
            let path = &parts[part].path;
            tracing::warn!(%path, block, factor = solve.factor, count, %message, "solver failed");
            if strict && *count > rule.tolerated_failures() {
                return Err(StepErrorCause::Solver {
                    path: path.to_string(),
                    block,
                    factor: solve.factor,
                    failures: *count,
                    message: message.clone(),
                });
            }
        }
    }
    let members = parts
        .iter()
        .zip(members)
        .map(|(part, mut member)| {
            member.steps += 1;
            (part.entry.path.clone(), member)
        })
        .collect();
    Ok((members, failed))
}

/// The weights that the rules made, in the parameters' types.
fn new_weights(parts: &[Part<'_>], made: &[Made], request: &Request<'_>) -> Vec<Tensor<1>> {
    let mut stacks: Vec<Vec<(usize, Tensor<2>)>> = vec![Vec::new(); parts.len()];
    for made in made {
        // The blocks of one shape of one parameter are neighbours in their group.
        let rows = &made.group.rows;
        let mut start = 0;
        for run in made.group.parts.chunk_by(|a, b| a == b) {
            let stack = made.stepped.weights.clone().narrow(0, start, run.len());
            stacks[run[0]].push((rows[start].block, stack));
            start += run.len();
        }
    }
    let mut weights = request.weights.tensors().to_vec();
    for (part, mut stacks) in parts.iter().zip(stacks) {
        stacks.sort_by_key(|(block, _)| *block);
        let stacks = stacks.into_iter().map(|(_, stack)| stack).collect();
        weights[part.index] = part.joined(stacks);
    }
    weights
}

/// Whether a parameter's gradient was finite, and all of its weights and state still are.
fn update_flags(
    parts: &[Part<'_>],
    made: &[Made],
    weights: &[Tensor<1>],
    request: &Request<'_>,
) -> FiniteFlags {
    let layout = request.weights.layout();
    let mut flags: Vec<Tensor<1, Bool>> = match request.flags {
        Some(flags) => flags.tensors().to_vec(),
        None => layout
            .entries()
            .iter()
            .map(|entry| Tensor::<1>::ones([1], (&entry.device, DType::F32)).equal_elem(1.0))
            .collect(),
    };
    for made in made {
        // A sum is finite only where all of its terms are.
        let sums = made.stepped.state.iter().chain([&made.stepped.weights]);
        let rows = sums
            .map(|tensor| tensor.clone().sum_dim(1).is_finite())
            .reduce(Tensor::bool_and);
        let Some(rows) = rows else { continue };
        let rows = rows.flatten::<1>(0, 1);
        for (row, &part) in made.group.parts.iter().enumerate() {
            let flag = &mut flags[parts[part].index];
            *flag = flag.clone().bool_and(rows.clone().narrow(0, row, 1));
        }
    }
    for part in parts {
        // The cast to half precision can overflow where the sum did not.
        let compute = part.entry.compute_dtype();
        if part.entry.dtype != compute {
            let cast = weights[part.index].clone().cast(compute);
            let flag = &mut flags[part.index];
            *flag = flag.clone().bool_and(cast.sum().is_finite());
        }
    }
    FiniteFlags::new(layout.clone(), flags)
}

impl Made {
    fn into_bucket<R: MatrixRule>(
        self,
        rule: &R,
        parts: &[Part<'_>],
        flags: Option<&FiniteFlags>,
        non_finite: NonFinitePolicy,
    ) -> Bucket {
        let fields = rule.fields(&self.group.dims, self.group.compute);
        let keep = flags
            .filter(|_| non_finite == NonFinitePolicy::Skip)
            .map(|flags| {
                let rows = self.group.parts.iter();
                let rows = rows.map(|&part| flags.tensors()[parts[part].index].clone());
                let k = self.group.parts.len();
                Tensor::cat(rows.collect(), 0).reshape([k, 1])
            });
        let fields = fields
            .into_iter()
            .zip(self.stepped.state.into_iter().zip(self.old))
            .map(|(field, (new, old))| {
                let kept = match &keep {
                    Some(flag) => {
                        let flag = flag.clone().expand(new.dims());
                        old.mask_where(flag, new)
                    }
                    None => new,
                };
                let kept = kept.cast(field.dtype);
                (field, kept)
            })
            .collect();
        Bucket {
            keys: self.group.keys,
            fields,
        }
    }
}
