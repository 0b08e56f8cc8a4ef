//! Runs a rule over parameters, block by block, stack by stack.

use std::cell::OnceCell;

use burn::tensor::{Bool, Tensor};
use osculate_curvature::{FiniteFlags, ParamEntry, ParamVec};
use rayon::prelude::*;

use super::blocks::{Group, Part, groups, parts};
use super::error::RuleError;
use super::rule::{BlockRule, Field, Row, Stepped};
use super::state::{BlockState, NewField};
use super::store::{BlockStore, ParameterCounters, StackedState};
use super::units::Units;
use crate::curvature::CurvatureEstimate;
use crate::driver::{NonFinitePolicy, StepErrorCause};
use crate::parameter::Parameter;

/// What a rule is to make directions of.
pub(crate) struct BlockInput<'a> {
    /// The parameters of `weights`, in the same order.
    pub parameters: &'a [Parameter],
    pub weights: &'a ParamVec,
    /// In the layout of the weights; zero where `flags` are not set.
    pub gradient: &'a ParamVec,
    /// In the layout of the weights; zero where `curvature_flags` are not set.
    pub curvature: Option<&'a CurvatureEstimate>,
    pub curvature_flags: Option<&'a FiniteFlags>,
    /// Set where the gradient is finite.
    pub flags: Option<&'a FiniteFlags>,
    pub seed: u64,
    pub non_finite: NonFinitePolicy,
    /// Whether too many solver failures in a row are an error.
    pub strict: bool,
}

/// Directions that are made, with a state that is not yet committed.
pub(crate) struct Prepared {
    /// Directions in the compute type, in the order of the input's layout; zero for tensors without
    /// elements.
    pub directions: Vec<Tensor<1>>,
    /// For each parameter, whether it stands still; `None` where none does.
    pub hold: Option<Vec<Option<Tensor<1, Bool>>>>,
    /// Set where the new state is finite, and the gradient was.
    pub flags: Option<FiniteFlags>,
    /// Elements that were not clipped and elements that took part, for each group.
    pub unclipped: Vec<(Tensor<1>, Tensor<1>)>,
    pub solver_failures: usize,
    pub refreshed: bool,
    made: Vec<Made>,
    /// Members of each part, by position in the layout.
    members: Vec<Vec<usize>>,
    counters: Vec<(String, ParameterCounters)>,
    next_phase: u64,
}

/// A group after its rule.
struct Made {
    group: Group,
    old: Vec<Tensor<2>>,
    new: Vec<NewField>,
    stepped: Stepped,
    /// Whether the state of each row is finite, where the policy asks.
    finite: Option<Tensor<1, Bool>>,
}

/// Makes directions without changing the state.
pub(crate) fn prepare<R: BlockRule>(
    rule: &R,
    store: &BlockStore,
    units: &mut Units,
    input: &BlockInput<'_>,
) -> Result<Prepared, StepErrorCause> {
    let mut next_phase = store.next_phase;
    let parts = parts(units.of(rule, input), store, input, &mut next_phase);
    let (mut work, places) = (Vec::new(), OnceCell::new());
    for group in groups(rule, &parts, input) {
        let fields = group.fields(rule);
        let entries: Vec<&ParamEntry> = group.parts.iter().map(|&p| parts[p].entry).collect();
        let stored = store.gather(&places, &group.keys, &entries, &fields)?;
        let finite = match (input.curvature, input.curvature_flags) {
            (Some(_), Some(flags)) => Some(group.row_flags(&parts, flags)),
            _ => None,
        };
        work.push((group, fields, stored, finite));
    }
    let asked = input.non_finite != NonFinitePolicy::Propagate;
    let on_cpu = work.iter().all(|(group, ..)| group.on_cpu);
    let made = each(work, on_cpu, |(group, fields, stored, finite)| {
        make(rule, input.seed, asked, group, (fields, stored), finite)
    });
    let made = made.into_iter().collect::<Result<Vec<_>, RuleError>>()?;

    let (counters, solver_failures) = count_failures(rule, &parts, &made, input.strict)?;
    let flags = asked.then(|| state_flags(&parts, &made, input));
    Ok(Prepared {
        directions: directions(&parts, &made, input),
        hold: holds(&parts, &made, input),
        flags,
        unclipped: unclipped(&parts, &made, input),
        solver_failures,
        refreshed: made.iter().any(|made| made.stepped.refreshed),
        members: parts.iter().map(|part| part.unit.members.clone()).collect(),
        made,
        counters,
        next_phase,
    })
}

/// Maps groups, on CPUs side by side: what a CPU backend does for one keeps one core busy, but for its
/// matrix products. A pool's thread that waits for a product may begin another group; no lock is held over
/// an operation that it could meet there.
pub(crate) fn each<T: Send, R: Send>(
    groups: Vec<T>,
    on_cpu: bool,
    map: impl Fn(T) -> R + Sync + Send,
) -> Vec<R> {
    if on_cpu && groups.len() > 1 {
        groups.into_par_iter().map(map).collect()
    } else {
        groups.into_iter().map(map).collect()
    }
}

fn make<R: BlockRule>(
    rule: &R,
    seed: u64,
    asked: bool,
    group: Group,
    (fields, stored): (Vec<Field>, Vec<Tensor<2>>),
    finite: Option<Tensor<2, Bool>>,
) -> Result<Made, RuleError> {
    let old = stored.into_iter().map(|field| field.cast(group.compute));
    let old: Vec<Tensor<2>> = old.collect();
    let state = BlockState::new(
        rule.name(),
        group.rows.len(),
        fields.into_iter().zip(old.clone()),
    );
    let mut stack = group.stack(state, seed, finite);
    let expected = stack.gradient.dims();
    let stepped = rule.step(&mut stack)?;
    let found = stepped.direction.dims();
    if expected != found {
        return Err(RuleError::DirectionShape {
            rule: rule.name(),
            expected,
            found,
        });
    }
    let new = stack.state.into_fields()?;
    let finite = asked.then(|| finite_rows(&stepped.direction, &new));
    Ok(Made {
        finite,
        group,
        old,
        new,
        stepped,
    })
}

/// Whether direction and state of each row are finite: a sum is finite only where all of its terms are.
fn finite_rows(direction: &Tensor<2>, state: &[NewField]) -> Tensor<1, Bool> {
    let rows = |tensor: &Tensor<2>| tensor.clone().sum_dim(1).is_finite();
    let changed = state.iter().filter(|new| new.changed);
    let changed = changed.map(|new| rows(&new.value));
    let all = changed.fold(rows(direction), Tensor::bool_and);
    all.flatten::<1>(0, 1)
}

type Counted = (Vec<(String, ParameterCounters)>, usize);

/// The counters after the step, and how many solves failed.
fn count_failures<R: BlockRule>(
    rule: &R,
    parts: &[Part<'_>],
    made: &[Made],
    strict: bool,
) -> Result<Counted, StepErrorCause> {
    let mut counters: Vec<ParameterCounters> =
        parts.iter().map(|part| part.counters.clone()).collect();
    let mut failed = 0;
    for made in made {
        for solve in &made.stepped.solves {
            let part = made.group.parts[solve.row];
            let Row { path, block, .. } = &made.group.rows[solve.row];
            let failures = &mut counters[part].failures;
            let Err(message) = &solve.result else {
                failures.remove(&(*block, solve.factor));
                continue;
            };
            failed += 1;
            let count = failures.entry((*block, solve.factor)).or_insert(0);
            *count += 1;
            tracing::warn!(%path, block, factor = solve.factor, count, %message, "solver failed");
            if strict && *count > rule.tolerated_failures() {
                return Err(StepErrorCause::Solver {
                    path: path.to_string(),
                    block: *block,
                    factor: solve.factor,
                    failures: *count,
                    message: message.clone(),
                });
            }
        }
    }
    let counters = parts.iter().zip(counters).map(|(part, mut counters)| {
        counters.steps += 1;
        (part.unit.key.clone(), counters)
    });
    Ok((counters.collect(), failed))
}

/// The directions that the rule made, by parameter.
fn directions(parts: &[Part<'_>], made: &[Made], input: &BlockInput<'_>) -> Vec<Tensor<1>> {
    let mut stacks: Vec<Vec<(usize, Tensor<2>)>> = vec![Vec::new(); parts.len()];
    for made in made {
        // The blocks of one shape of one unit are neighbours in their group.
        let rows = &made.group.rows;
        let mut start = 0;
        for run in made.group.parts.chunk_by(|a, b| a == b) {
            let whole = run.len() == rows.len();
            let stack = made.stepped.direction.clone();
            let stack = if whole {
                stack
            } else {
                stack.narrow(0, start, run.len())
            };
            stacks[run[0]].push((rows[start].block, stack));
            start += run.len();
        }
    }
    let mut directions: Vec<Option<Tensor<1>>> = vec![None; input.weights.layout().len()];
    for (part, mut stacks) in parts.iter().zip(stacks) {
        stacks.sort_by_key(|(block, _)| *block);
        let stacks = stacks.into_iter().map(|(_, stack)| stack).collect();
        for (at, direction) in part.unit.members_of(stacks) {
            directions[at] = Some(direction);
        }
    }
    let entries = input.weights.layout().entries().iter();
    directions
        .into_iter()
        .zip(entries)
        .map(|(direction, entry)| {
            let n = entry.num_elements();
            direction.unwrap_or_else(|| Tensor::zeros([n], (&entry.device, entry.compute_dtype())))
        })
        .collect()
}

/// Flags of the parameters that stand still: those of their first blocks.
fn holds(
    parts: &[Part<'_>],
    made: &[Made],
    input: &BlockInput<'_>,
) -> Option<Vec<Option<Tensor<1, Bool>>>> {
    if made.iter().all(|made| made.stepped.hold.is_none()) {
        return None;
    }
    let mut holds = vec![None; input.weights.layout().len()];
    for made in made {
        let Some(hold) = &made.stepped.hold else {
            continue;
        };
        for (row, &part) in made.group.parts.iter().enumerate() {
            for &at in &parts[part].unit.members {
                if holds[at].is_none() {
                    let flag = hold.clone().narrow(0, row, 1).flatten::<1>(0, 1);
                    holds[at] = Some(flag);
                }
            }
        }
    }
    Some(holds)
}

/// Whether a parameter's gradient was finite, and direction and state still are.
fn state_flags(parts: &[Part<'_>], made: &[Made], input: &BlockInput<'_>) -> FiniteFlags {
    let layout = input.weights.layout();
    let mut flags: Vec<Tensor<1, Bool>> = match input.flags {
        Some(flags) => flags.tensors().to_vec(),
        None => FiniteFlags::all(layout).tensors().to_vec(),
    };
    for made in made {
        let Some(rows) = &made.finite else { continue };
        for (row, &part) in made.group.parts.iter().enumerate() {
            for &at in &parts[part].unit.members {
                let row = rows.clone().narrow(0, row, 1);
                flags[at] = flags[at].clone().bool_and(row);
            }
        }
    }
    // Parameters that share a state move together or not at all.
    for part in parts.iter().filter(|part| part.unit.members.len() > 1) {
        let members = part.unit.members.iter();
        let all = members.map(|&at| flags[at].clone());
        if let Some(all) = all.reduce(Tensor::bool_and) {
            for &at in &part.unit.members {
                flags[at] = all.clone();
            }
        }
    }
    FiniteFlags::new(layout.clone(), flags)
}

/// Elements that were not clipped and elements that took part, among rows with a finite gradient.
fn unclipped(
    parts: &[Part<'_>],
    made: &[Made],
    input: &BlockInput<'_>,
) -> Vec<(Tensor<1>, Tensor<1>)> {
    let made = made.iter();
    made.filter_map(|made| {
        let won = made.stepped.unclipped.clone()?;
        let len: usize = made.group.dims.iter().product();
        let out_of = won.full_like(len as f64);
        let (won, out_of) = match input.flags {
            Some(flags) => {
                let part = made.group.row_flags(parts, flags).float().cast(won.dtype());
                (won * part.clone(), out_of * part)
            }
            None => (won, out_of),
        };
        Some((won.sum(), out_of.sum()))
    })
    .collect()
}

impl Prepared {
    /// Takes the new state over, but that of parameters whose flag is not set. Cannot fail.
    pub(crate) fn commit(self, store: &mut BlockStore, keep: Option<&FiniteFlags>) {
        let on_cpu = self.made.iter().all(|made| made.group.on_cpu);
        let members = &self.members;
        let stacked = each(self.made, on_cpu, |made| made.into_state(members, keep));
        store.next_phase = self.next_phase;
        store.counters.extend(self.counters);
        store.install(stacked);
    }
}

impl Made {
    fn into_state(self, members: &[Vec<usize>], keep: Option<&FiniteFlags>) -> StackedState {
        let k = self.group.parts.len();
        let stays = keep.map(|flags| {
            let rows = self.group.parts.iter();
            let rows = rows.map(|&part| {
                let mut members = members[part].iter();
                let flag = |at: &usize| flags.tensors()[*at].clone();
                let first = members.next().map(flag);
                members.map(flag).fold(first, |all, flag| {
                    all.map(|all| all.bool_and(flag.clone())).or(Some(flag))
                })
            });
            let keep: Tensor<1, Bool> = Tensor::cat(rows.flatten().collect(), 0);
            keep.bool_not().reshape([k, 1])
        });
        let fields = self.new.into_iter().zip(self.old).map(|(new, old)| {
            // The old tensor is the store's too: the new one can be written over.
            let value = match &stays {
                Some(flag) if new.changed => {
                    let flag: Tensor<2, Bool> = flag.clone().expand(new.value.dims());
                    new.value.mask_where(flag, old)
                }
                _ => new.value,
            };
            let value = value.cast(new.field.dtype);
            (new.field, value)
        });
        StackedState {
            fields: fields.collect(),
            keys: self.group.keys,
        }
    }
}
