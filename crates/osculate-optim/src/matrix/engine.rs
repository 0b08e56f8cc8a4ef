//! Runs a rule over the parameters of a model, block by block, stack by stack.

use std::cell::OnceCell;
use std::sync::Arc;

use burn::tensor::{Bool, DType, Tensor};
use osculate_curvature::{FiniteFlags, ParamEntry, ParamVec};
use rayon::prelude::*;

use super::groups::{Group, Part, groups, parts};
use super::rule::{MatrixRule, Stepped};
use super::state::{Bucket, Member, StackState};
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

/// A group after its rule.
struct Made {
    group: Group,
    old: Vec<Tensor<2>>,
    stepped: Stepped,
    /// Whether weights and state of each row are finite, where the policy asks.
    finite: Option<Tensor<1, Bool>>,
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
    let (mut work, places) = (Vec::new(), OnceCell::new());
    for group in groups(&parts, request) {
        let fields = group.fields(rule);
        let entries: Vec<&ParamEntry> = group.parts.iter().map(|&p| parts[p].entry).collect();
        let stored = state.gather(&places, &group.keys, &entries, &fields)?;
        work.push((group, stored));
    }
    let make = |(group, stored): (Group, Vec<Tensor<2>>)| {
        let old = stored.into_iter().map(|field| field.cast(group.compute));
        let old: Vec<Tensor<2>> = old.collect();
        let stepped = rule.step(group.stack(request.lr, old.clone()));
        let asked = request.non_finite != NonFinitePolicy::Propagate;
        Made {
            finite: asked.then(|| finite_rows(&stepped)),
            group,
            old,
            stepped,
        }
    };
    let on_cpu = work.iter().all(|(group, _)| group.on_cpu);
    let made = each(work, on_cpu, make);

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
    let buckets = each(made, on_cpu, |made| {
        made.into_bucket(rule, &parts, flags.as_ref(), request.non_finite)
    });
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

/// Maps groups, on CPUs side by side: what a CPU backend does for one keeps one core busy, but for its
/// matrix products. A pool's thread that waits for a product may begin another group; no lock is held over
/// an operation that it could meet there.
fn each<T: Send, R: Send>(
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

/// Whether weights and state of each row are finite: a sum is finite only where all of its terms are.
fn finite_rows(stepped: &Stepped) -> Tensor<1, Bool> {
    let rows = |tensor: &Tensor<2>| tensor.clone().sum_dim(1).is_finite();
    let state = stepped.state.iter().map(rows);
    let all = state.fold(rows(&stepped.weights), Tensor::bool_and);
    all.flatten::<1>(0, 1)
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
        let Some(rows) = &made.finite else { continue };
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
        let fields = self.group.fields(rule);
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
