//! Which parameters make blocks, alone or several of a layer together.

use std::sync::Arc;

use burn::tensor::{DType, Tensor};
use osculate_curvature::{ParamEntry, ParamVec};
use osculate_linalg::BlockPartition;

use super::rule::{BlockRule, Joined};
use super::run::BlockInput;
use crate::parameter::Parameter;

/// What is cut into blocks as one: a parameter, or several of a layer.
#[derive(Debug, Clone)]
pub(crate) struct Unit {
    /// Key of its state: the path of its parameter, or the paths of all with a plus between.
    pub key: String,
    /// Positions of its parameters.
    pub members: Vec<usize>,
    joined: Option<Joined>,
    pub parameter: Parameter,
    pub partition: BlockPartition,
}

/// The units of some parameters, made anew only where these change.
#[derive(Debug, Clone, Default)]
pub(crate) struct Units {
    made_for: Vec<(String, Parameter)>,
    units: Vec<Unit>,
    /// Whether they were made anew, and the state of others not yet dropped.
    remade: bool,
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
                .all(|((key, known), (entry, parameter))| *key == entry.path && known == parameter);
        if !same {
            self.units = units(rule, entries, input.parameters);
            let owned = now().map(|(entry, parameter)| (entry.path.clone(), parameter.clone()));
            self.made_for = owned.collect();
            self.remade = true;
        }
        &self.units
    }

    /// Of the keys of states, those whose parameters are in other units now: a block that has gained or
    /// lost a member is another block. They come back once.
    pub(crate) fn replaced(&mut self, keys: impl FnOnce() -> Vec<String>) -> Vec<String> {
        if !std::mem::take(&mut self.remade) {
            return Vec::new();
        }
        let mut keys = keys();
        keys.retain(|key| {
            let shares = |unit: &Unit| {
                let mut members = unit.key.split('+');
                members.any(|member| key.split('+').any(|own| own == member))
            };
            self.units.iter().all(|unit| unit.key != *key) && self.units.iter().any(shares)
        });
        keys
    }
}

/// Cuts parameters into units, layer by layer.
pub(crate) fn units<R: BlockRule>(
    rule: &R,
    entries: &[ParamEntry],
    parameters: &[Parameter],
) -> Vec<Unit> {
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
    let told: Vec<&str> = joined
        .members
        .iter()
        .map(|(at, _)| &*layer[*at].path)
        .collect();
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

impl Unit {
    /// This unit's part of a vector in the compute type, as a stack for each shape of block.
    #[expect(clippy::expect_used, reason = "a rule keeps the number of elements")]
    pub(crate) fn blocks(&self, vector: &ParamVec, compute: DType) -> Vec<Tensor<2>> {
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

/// Stacks on top of each other; `None` of none.
pub(crate) fn stacked(mut stacks: Vec<Tensor<2>>) -> Option<Tensor<2>> {
    match stacks.len() {
        0 | 1 => stacks.pop(),
        _ => Some(Tensor::cat(stacks, 0)),
    }
}
