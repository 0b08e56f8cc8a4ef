//! One step.

use std::collections::{BTreeMap, HashSet};

use burn::lr_scheduler::module_lr_scheduler::ModuleLearningRate;
use burn::module::Module;
use burn::tensor::Tensor;
use osculate_curvature::{FiniteFlags, Objective, ParamVec, assign};

use super::Driver;
use super::context::{StepContext, StepNeeds};
use super::error::{StepError, StepErrorCause};
use super::estimate::Estimated;
use super::report::{GroupReport, StepReport};
use crate::curvature::Found;
use crate::gradient::GradientContext;
use crate::optimizer::{ClosureOptimizer, Step};
use crate::parameter::{Parameter, ParameterTable};
use crate::update::{Proposal, UpdateInput};
use crate::vector_state::VectorState;
use crate::weight_decay::WeightDecay;

/// What is known of every parameter that has a gradient in this step, in the order of the layout.
pub(super) struct Field {
    pub weights: ParamVec,
    pub gradient: ParamVec,
    pub lrs: Vec<f64>,
    pub decays: Vec<WeightDecay>,
    /// Positions among what the groups say.
    pub assigned: Vec<usize>,
    /// Positions of each part.
    pub parts: Vec<Vec<usize>>,
}

impl<M: Module> ClosureOptimizer<M> for Driver {
    fn step_with(
        &mut self,
        lr: ModuleLearningRate,
        model: M,
        objective: &dyn Objective<M>,
    ) -> Result<Step<M>, StepError<M>> {
        let made = self.try_step(&lr, &model, objective);
        if made.is_err() {
            for update in self.updates_mut() {
                update.discard();
            }
            self.products.discard();
            self.gradient_products.discard();
        }
        made.map_err(|cause| StepError { model, cause })
    }

    fn evaluation_model(&self, model: &M) -> Result<M, StepErrorCause> {
        let Some(average) = &self.averaging else {
            return Ok(model.clone());
        };
        let kept: HashSet<String> = self.averaging_state.paths().collect();
        // A parameter that was made anew since the last step is evaluated as it is.
        let layout = ParameterTable::layout(model, |id, parameter| {
            let Parameter {
                path, shape, dtype, ..
            } = parameter;
            kept.contains(&**path) && self.ownership.may_be(path, id, shape, *dtype)
        });
        if layout.is_empty() {
            return Ok(model.clone());
        }
        let state = self
            .averaging_state
            .open(average.name(), average.fields(), &[], &layout)?;
        let weights = ParamVec::of_module(model, &layout).to_compute_dtype();
        let evaluated = average.evaluation(&weights, &state)?;
        layout
            .check(evaluated.layout())
            .map_err(StepErrorCause::Curvature)?;
        let evaluated = evaluated.map(|(entry, x)| x.clone().cast(entry.dtype));
        Ok(assign(model.clone(), &evaluated))
    }
}

impl Driver {
    fn try_step<M: Module>(
        &mut self,
        lr: &ModuleLearningRate,
        model: &M,
        objective: &dyn Objective<M>,
    ) -> Result<Step<M>, StepErrorCause> {
        let _span = tracing::debug_span!("step", optimizer = %self.name).entered();
        checked_rate(lr.base())?;
        let policy = self.policy.clone();
        let sizes = self.step_size.clone();
        let loss = self.needs_loss();
        let needs = StepNeeds {
            loss: loss.as_deref(),
            bound: sizes.and_then(|sizes| Some((sizes.name(), sizes.lower_bound()?))),
            reads: self.gradient.name() == "clean" && self.updates().all(|update| update.is_burn()),
        };
        let (steps, noise) = (self.steps, self.noise);
        let mut context = StepContext::begin(model, objective, &policy, steps, noise, needs)?;
        let noise = context.noise();

        // Nothing was kept of a model whose objective fails.
        self.recognise(model)?;

        let source = self.gradient.clone();
        let layout = context.gradient().layout().clone();
        let state = self
            .gradient_state
            .open(source.name(), source.fields(), &[], &layout)?;
        let (products, steps) = (&self.gradient_products, self.steps);
        let mut taking = GradientContext::new(&mut context, state, products, lr.base(), steps);
        let taken = source.take(&mut taking)?;
        let (source_state, source_found) = taking.finish();
        layout
            .check(taken.gradient.layout())
            .map_err(StepErrorCause::Curvature)?;
        let gradient = self.filtered(&mut context, taken.gradient)?;
        let gradient = context.clip(gradient);
        let field = self.field(lr, context.oracle().parameters()?.clone(), gradient)?;

        let mut found = Found::before(&self.products);
        let mut shared = None;
        let mut proposals = Vec::new();
        for part in 0..field.parts.len() {
            if field.parts[part].is_empty() {
                proposals.push(None);
                continue;
            }
            let (point, gradient) = (taken.point, &field.gradient);
            let (found, shared) = (&mut found, &mut shared);
            let estimated = self.estimate(part, &mut context, point, gradient, found, shared)?;
            let proposal = self.propose(part, &field, estimated, &context)?;
            proposals.push(Some(proposal));
        }
        let mut report = context.report();
        let shown = match found.provenance {
            Some(_) => &found,
            None => &source_found,
        };
        report.provenance = shown.provenance;
        report.fallback.clone_from(&shown.fallback);
        report.fresh.clone_from(&self.fresh);
        report.groups = self.group_reports(&field);
        let refreshed = count(&mut report, &proposals);

        let gradient_keep = context
            .gradient_flags()
            .filter(|flags| !flags.known_to_be_set());
        let (model, states) = self.settle(&field, proposals, context, &mut report, lr.base())?;

        // Nothing can fail from here on.
        self.noise = Some(noise);
        self.fresh.clear();
        self.gradient_state
            .commit(source_state, gradient_keep.as_ref());
        let Committed {
            step_size,
            average,
            numbers,
            keep,
        } = states;
        if let Some(state) = step_size {
            self.step_size_state.commit(state, keep.as_ref());
        }
        if let Some(state) = average {
            self.averaging_state.commit(state, keep.as_ref());
        }
        if let Some(numbers) = numbers {
            self.numbers = numbers;
        }
        let (parts, weights) = (&field.parts, &field.weights);
        for (update, positions) in self.updates_mut().into_iter().zip(parts) {
            if positions.is_empty() {
                continue;
            }
            let keep = keep.as_ref().map(|keep| keep.subset(positions));
            update.commit(keep.as_ref());
        }
        self.products.commit(&found);
        self.gradient_products.commit(&source_found);
        self.take_ownership(&field);
        self.steps += 1;
        let estimates = self
            .updates()
            .any(|update| update.curvature_source().is_some());
        self.age = match (refreshed, self.age) {
            (true, _) => Some(0),
            (false, None) if estimates => Some(1),
            (false, age) => age.map(|age| age + 1),
        };
        if let Some(refreshed) = taken.refreshed {
            let age = if refreshed {
                0
            } else {
                self.gradient_age.unwrap_or(0) + 1
            };
            self.gradient_age = Some(age);
        }
        report.curvature_age = self.age.or(self.gradient_age).map(|age| age as usize);
        report.state_bytes = self.known_bytes(weights);
        Ok(Step { model, report })
    }

    /// Who looks at the loss, if anyone does.
    fn needs_loss(&self) -> Option<String> {
        let sizes = self.step_size.as_ref().filter(|sizes| sizes.needs_loss());
        let update = || {
            let mut updates = self.updates();
            updates.find(|update| update.needs_loss())
        };
        match sizes {
            Some(sizes) => Some(sizes.name().to_string()),
            None => update().map(|update| update.name().to_string()),
        }
    }

    fn field(
        &self,
        lr: &ModuleLearningRate,
        weights: ParamVec,
        gradient: ParamVec,
    ) -> Result<Field, StepErrorCause> {
        let entries = weights.layout().entries();
        let assigned = self.assignment.positions(entries)?;
        let mut parts = vec![Vec::new(); self.updates().count()];
        let own: Vec<WeightDecay> = self.updates().map(|update| update.weight_decay()).collect();
        let (mut lrs, mut decays) = (Vec::new(), Vec::new());
        for (index, (entry, &at)) in entries.iter().zip(&assigned).enumerate() {
            let assigned = self.assignment.at(at);
            parts[assigned.part].push(index);
            let rate = lr.lr_from_param(entry.id, Some(&entry.path)) * assigned.lr_factor;
            lrs.push(checked_rate(rate)?);
            let decay = self.weight_decay.unwrap_or(own[assigned.part]);
            decays.push(WeightDecay {
                rate: assigned.weight_decay.unwrap_or(decay.rate),
                ..decay
            });
        }
        Ok(Field {
            weights,
            gradient,
            lrs,
            decays,
            assigned,
            parts,
        })
    }

    /// Asks a part's update for its proposal.
    fn propose<M: Module>(
        &mut self,
        part: usize,
        field: &Field,
        estimated: Option<Estimated>,
        context: &StepContext<'_, M>,
    ) -> Result<Proposal, StepErrorCause> {
        let positions = &field.parts[part];
        let cut = |vector: &ParamVec| vector.subset(positions);
        let cut_flags = |flags: FiniteFlags| flags.subset(positions);
        let (curvature, curvature_flags) = match estimated {
            None => (None, None),
            Some(Estimated { estimate, flags }) => (Some(estimate.map(cut)), flags.map(cut_flags)),
        };
        let parameters: Vec<Parameter> = positions
            .iter()
            .map(|&at| self.assignment.at(field.assigned[at]).parameter.clone())
            .collect();
        let lrs: Vec<f64> = positions.iter().map(|&at| field.lrs[at]).collect();
        let flags = context.gradient_flags();
        let (steps, seed) = (self.steps, self.policy.seed);
        let non_finite = self.policy.non_finite;
        let input = UpdateInput {
            parameters: &parameters,
            weights: &cut(&field.weights),
            gradient: &cut(&field.gradient),
            curvature,
            curvature_flags,
            flags: flags.map(cut_flags),
            loss: context.loss(),
            lrs: &lrs,
            step: steps,
            seed,
            non_finite,
        };
        let mut updates = self.updates_mut();
        updates[part].prepare(input)
    }

    fn group_reports(&self, field: &Field) -> Vec<GroupReport> {
        let assigned = field.assigned.iter().map(|&at| self.assignment.at(at));
        let assigned: Vec<_> = assigned.collect();
        let groups = self.groups.iter().zip(&self.assignment.counts);
        groups
            .enumerate()
            .map(|(index, (group, &parameters))| {
                let members = assigned.iter().zip(&field.lrs);
                let mut lrs = members
                    .filter(|(assigned, _)| assigned.groups.contains(&index))
                    .map(|(_, lr)| *lr);
                let first = lrs.next();
                GroupReport {
                    name: group.name.clone(),
                    parameters,
                    lr: first.filter(|first| lrs.all(|lr| lr == *first)),
                }
            })
            .collect()
    }

    /// Bytes of the state, without reading any back.
    fn known_bytes(&mut self, weights: &ParamVec) -> usize {
        let updates = self.updates_mut().into_iter();
        let updates: usize = updates
            .map(|update| match update.as_burn() {
                Some(burn) => burn.estimated_bytes(weights),
                None => update.num_bytes(),
            })
            .sum();
        updates + self.vector_bytes()
    }
}

/// States that are made and not yet taken over.
#[derive(Default)]
pub(super) struct Committed {
    pub step_size: Option<VectorState>,
    pub average: Option<VectorState>,
    pub numbers: Option<BTreeMap<String, f64>>,
    /// Set where a parameter moved; `None` where all did.
    pub keep: Option<FiniteFlags>,
}

/// What the proposals say for the report, and whether any preconditioner was refreshed.
fn count(report: &mut StepReport, proposals: &[Option<Proposal>]) -> bool {
    let proposals = || proposals.iter().flatten();
    report.solver_failures = proposals().map(|made| made.solver_failures).sum();
    let unclipped: Vec<_> = proposals()
        .flat_map(|made| made.unclipped.clone())
        .collect();
    if let Some((first, _)) = unclipped.first() {
        let device = first.device();
        let sum = |pick: fn(&(Tensor<1>, Tensor<1>)) -> &Tensor<1>| {
            let parts = unclipped
                .iter()
                .map(|pair| pick(pair).clone().to_device(&device));
            Tensor::cat(parts.collect(), 0).sum()
        };
        let rate = sum(|pair| &pair.0) / sum(|pair| &pair.1).clamp_min(1.0);
        report.win_rate = Some(rate);
    }
    proposals().any(|made| made.refreshed)
}

fn checked_rate(value: f64) -> Result<f64, StepErrorCause> {
    if value.is_finite() && value >= 0.0 {
        Ok(value)
    } else {
        Err(StepErrorCause::LearningRate { value })
    }
}
