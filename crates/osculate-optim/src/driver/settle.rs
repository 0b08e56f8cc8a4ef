//! From proposals to new weights.

use burn::module::Module;
use burn::tensor::{Bool, Tensor};
use osculate_curvature::{FiniteFlags, ParamVec, assign};

use super::Driver;
use super::apply::{Move, finite, local, select};
use super::context::{StepContext, check_flags};
use super::error::StepErrorCause;
use super::policy::NonFinitePolicy;
use super::proposed::Proposed;
use super::report::{SkipReason, StepReport};
use super::step::{Committed, Field};
use crate::averaging::AveragingContext;
use crate::engine::{RuleError, each};
use crate::step_size::StepSizeContext;
use crate::update::{BurnUpdate, Proposal};
use crate::vector_state::{VectorState, loss_for_state};

impl Driver {
    /// Moves the weights. Nothing of the driver's state changes but that of burn's optimizers, which is put
    /// back where the step is not made.
    pub(super) fn settle<M: Module>(
        &mut self,
        field: &Field,
        proposals: Vec<Option<Proposal>>,
        context: StepContext<'_, M>,
        report: &mut StepReport,
        lr: f64,
    ) -> Result<(M, Committed), StepErrorCause> {
        let proposed = Proposed::of(field, proposals);
        let burn_decays = proposed.burn.iter().any(|&part| {
            let mut positions = field.parts[part].iter();
            positions.any(|&at| field.decays[at].rate > 0.0)
        });
        let together = self.step_size.is_some()
            || self.averaging.is_some()
            || self.cautious_mask
            || burn_decays;
        let refuses = self.policy.non_finite == NonFinitePolicy::Error;
        // burn's optimizers change their state as they step: it is put back where anything fails after.
        let before: Vec<_> = match together || refuses {
            true => {
                let burn = self.updates_mut().into_iter();
                burn.map(|update| update.as_burn().map(|burn| burn.snapshot()))
                    .collect()
            }
            false => Vec::new(),
        };
        let settled = match together {
            true => self.settle_together(field, proposed, context, report, lr),
            false => self.settle_apart(field, proposed, context, report),
        };
        if settled.is_err() {
            for (update, before) in self.updates_mut().into_iter().zip(before) {
                if let (Some(burn), Some(before)) = (update.as_burn(), before) {
                    burn.restore(before);
                }
            }
        }
        settled
    }

    /// Moves each parameter by itself.
    fn settle_apart<M: Module>(
        &mut self,
        field: &Field,
        proposed: Proposed,
        mut context: StepContext<'_, M>,
        report: &mut StepReport,
    ) -> Result<(M, Committed), StepErrorCause> {
        let positions = proposed.of_rules();
        let looks = context.looks();
        let moved = self.along(field, &proposed, &positions, None);
        let layout = field.weights.subset(&positions).layout().clone();
        let mut keep = None;
        let mut weights: Vec<Tensor<1>> = Vec::with_capacity(positions.len());
        if looks && !positions.is_empty() {
            let flags = moved.iter().map(|(_, flag)| flag.clone());
            let flags = FiniteFlags::new(layout.clone(), flags.collect());
            context.check(SkipReason::Update, flags.clone())?;
            report.checks.clone_from(context.checks());
            flags.read_on_cpu();
            keep = Some(flags);
        }
        let skips = self.policy.non_finite == NonFinitePolicy::Skip;
        let keep = keep.filter(|_| skips);
        let masks = skips && !keep.as_ref().is_some_and(FiniteFlags::known_to_be_set);
        for (&at, (new, flag)) in positions.iter().zip(moved) {
            let old = field.weights.tensors()[at].clone();
            weights.push(if masks { select(&flag, new, old) } else { new });
        }
        let keep = keep.map(|keep| spread(&keep, &positions, field, context.gradient_flags()));
        let keep = keep.inspect(FiniteFlags::read_on_cpu);
        let keep = keep.filter(|keep| !keep.known_to_be_set());
        let flags = context.gradient_flags();
        let mut model = context.into_model()?;
        if !positions.is_empty() {
            model = assign(model, &ParamVec::new(layout, weights));
        }
        model = self.step_burn(field, &proposed.burn, model, flags.as_ref());
        if looks && !proposed.burn.is_empty() {
            model = self.checked_burn(field, &proposed.burn, model, report)?;
        }
        let states = Committed {
            keep,
            ..Committed::default()
        };
        Ok((model, states))
    }

    /// Treats weights that burn's optimizers have made and that are not finite as the policy says.
    fn checked_burn<M: Module>(
        &self,
        field: &Field,
        parts: &[usize],
        model: M,
        report: &mut StepReport,
    ) -> Result<M, StepErrorCause> {
        let parts = parts.iter().flat_map(|&part| &field.parts[part]);
        let mut positions: Vec<usize> = parts.copied().collect();
        positions.sort_unstable();
        let old = field.weights.subset(&positions);
        let new = ParamVec::of_module(&model, old.layout());
        let flags = new.finite_flags();
        // Known on a CPU, where looking is cheaper than writing the weights again.
        if flags.known_to_be_set() {
            return Ok(model);
        }
        // What was not finite before is not the step's doing.
        let was = old.finite_flags();
        let flags = flags.tensors().iter().zip(was.tensors());
        let flags = flags.map(|(is, was)| is.clone().bool_or(was.clone().bool_not()));
        let flags = FiniteFlags::new(old.layout().clone(), flags.collect());
        let policy = self.policy.non_finite;
        let Some(flags) = check_flags(policy, &mut report.checks, SkipReason::Update, flags)?
        else {
            return Ok(model);
        };
        Ok(assign(model, &new.where_finite(&flags, &old)))
    }

    /// Steps burn's optimizers.
    fn step_burn<M: Module>(
        &mut self,
        field: &Field,
        parts: &[usize],
        mut model: M,
        flags: Option<&FiniteFlags>,
    ) -> M {
        for (part, update) in self.updates_mut().into_iter().enumerate() {
            let (true, Some(burn)) = (parts.contains(&part), update.as_burn()) else {
                continue;
            };
            let positions = &field.parts[part];
            let gradient = field.gradient.subset(positions);
            let lrs: Vec<f64> = positions.iter().map(|&at| field.lrs[at]).collect();
            let flags = flags.map(|flags| flags.subset(positions));
            let rates = BurnUpdate::rates(&gradient, &lrs);
            model = burn.step(rates, model, &gradient, flags.as_ref());
        }
        model
    }

    fn move_of<'a>(&self, field: &Field, at: usize, factor: Option<&'a Tensor<1>>) -> Move<'a> {
        Move {
            lr: field.lrs[at],
            decay: field.decays[at],
            cautious_decay: self.cautious_decay,
            factor,
            scales_decay: self
                .step_size
                .as_ref()
                .is_some_and(|sizes| sizes.scales_decay()),
        }
    }

    /// The weights of some parameters along their directions, with flags of those that stay finite.
    fn along(
        &self,
        field: &Field,
        proposed: &Proposed,
        positions: &[usize],
        factor: Option<&Tensor<1>>,
    ) -> Vec<(Tensor<1>, Tensor<1, Bool>)> {
        let entries = field.weights.layout().entries();
        let on_cpu = field.weights.layout().on_cpu();
        each(positions.to_vec(), on_cpu, |at| {
            let step = self.move_of(field, at, factor);
            let old = &field.weights.tensors()[at];
            let direction = match &proposed.directions[at] {
                Some(direction) => direction.clone(),
                None => old.clone().cast(entries[at].compute_dtype()).zeros_like(),
            };
            let hold = proposed.holds[at].as_ref();
            let new = step.apply(&entries[at], old, direction, hold);
            let sound = finite(&new);
            let sound = match &proposed.flags[at] {
                Some(flag) => sound.bool_and(flag.clone()),
                None => sound,
            };
            (new, sound)
        })
    }

    /// The same where parameters must be looked at together: under a step-size policy, an average, a
    /// mask, or a decay over burn's steps.
    fn settle_together<M: Module>(
        &mut self,
        field: &Field,
        mut proposed: Proposed,
        context: StepContext<'_, M>,
        report: &mut StepReport,
        lr: f64,
    ) -> Result<(M, Committed), StepErrorCause> {
        let layout = field.weights.layout().clone();
        let entries = layout.entries();
        let (looks, loss) = (context.looks(), context.loss().clone());
        let gradient_flags = context.gradient_flags();
        let rules = proposed.of_rules();
        let model = context.model_after()?;
        let model = self.step_burn(field, &proposed.burn, model, gradient_flags.as_ref());

        let weights = field.weights.to_compute_dtype();
        let gradient = field.gradient.to_compute_dtype();
        let stepped = match proposed.burn.is_empty() {
            true => None,
            false => Some(ParamVec::of_module(&model, &layout)),
        };
        if let Some(stepped) = &stepped {
            proposed.take_directions_of(stepped, &weights, &field.lrs);
        }
        if self.cautious_mask {
            proposed.mask(&gradient);
        }
        let zeros = |at: usize| weights.tensors()[at].zeros_like();
        let directions = proposed.directions.iter().enumerate();
        let directions: Vec<Tensor<1>> = directions
            .map(|(at, u)| u.clone().unwrap_or_else(|| zeros(at)))
            .collect();
        let mut direction = ParamVec::new(layout.clone(), directions);
        let skips = self.policy.non_finite == NonFinitePolicy::Skip;
        let holds = proposed.holds.iter().any(Option::is_some);
        if self.step_size.is_some() && (skips || holds) {
            // A parameter that will not move says nothing of how far the others go.
            let moving = proposed.moving(&direction, skips);
            direction = direction.zero_where_not(&moving);
        }

        let decays: Vec<f64> = field.decays.iter().map(|decay| decay.shrinks()).collect();
        let trial = |offset: &ParamVec, scale: f64| context.oracle().loss_at(offset, scale);
        let sizing = |state: VectorState| StepSizeContext {
            state,
            loss: loss_for_state(&loss, &layout),
            weights: &weights,
            gradient: &gradient,
            direction: &direction,
            lrs: &field.lrs,
            weight_decays: &decays,
            step: self.steps,
            seed: self.policy.seed,
            trial: &trial,
        };
        let mut sized: Option<(VectorState, Tensor<1>)> = None;
        if let Some(policy) = &self.step_size {
            let (fields, scalars) = (policy.fields(), policy.scalars());
            let state = self
                .step_size_state
                .open(policy.name(), fields, scalars, &layout)?;
            let mut at = sizing(state);
            let factor = policy.factor(&mut at)?;
            if factor.dims() != [1] {
                return Err(StepErrorCause::Rule(RuleError::DirectionShape {
                    rule: policy.name(),
                    expected: [1, 1],
                    found: [1, factor.dims()[0]],
                }));
            }
            report.step_size_factor = Some(factor.clone());
            report.cost = context.cost();
            sized = Some((at.state, factor));
        }
        let factor = sized.as_ref().map(|(_, factor)| factor);

        let all: Vec<usize> = (0..entries.len()).collect();
        let moved = self.along(field, &proposed, &all, factor);
        let (mut new, mut flags): (Vec<_>, Vec<_>) = moved.into_iter().unzip();
        // At the full rate burn's step is burn's, to the last bit.
        for &at in all.iter().filter(|at| rules.binary_search(at).is_err()) {
            let exact = !self.cautious_mask && field.decays[at].rate == 0.0;
            if let (true, Some(stepped)) = (exact, &stepped) {
                let burns = stepped.tensors()[at].clone();
                new[at] = match factor {
                    Some(factor) => {
                        let full = local(factor, &entries[at]).equal_elem(1.0);
                        select(&full, burns, new[at].clone())
                    }
                    None => burns,
                };
                flags[at] = finite(&new[at]);
            }
        }
        let mut keep = None;
        if looks {
            let flags = FiniteFlags::new(layout.clone(), flags);
            let flags = match &gradient_flags {
                Some(own) => flags.and(own),
                None => flags,
            };
            flags.read_on_cpu();
            let policy = self.policy.non_finite;
            keep = check_flags(policy, &mut report.checks, SkipReason::Update, flags)?;
            keep = keep.filter(|keep| !keep.known_to_be_set());
        }
        if let (true, Some(keep)) = (skips, &keep) {
            for (at, flag) in keep.tensors().iter().enumerate() {
                let old = field.weights.tensors()[at].clone();
                new[at] = select(flag, new[at].clone(), old);
            }
        }
        let mut moved = ParamVec::new(layout.clone(), new);

        let mut states = Committed::default();
        let mut wide = moved.to_compute_dtype();
        if self.averaging.is_some() {
            // Rounded to half precision, a small step would be none for the average.
            let mut own = wide.into_tensors();
            for &at in rules.iter().filter(|&&at| {
                let entry = &entries[at];
                entry.dtype != entry.compute_dtype()
            }) {
                let Some(direction) = proposed.directions[at].clone() else {
                    continue;
                };
                let old = &field.weights.tensors()[at];
                let new = self.move_of(field, at, factor);
                let new = new.wide(&entries[at], old, direction);
                let new = match &proposed.holds[at] {
                    Some(hold) => select(hold, weights.tensors()[at].clone(), new),
                    None => new,
                };
                own[at] = match keep.as_ref().filter(|_| skips) {
                    Some(keep) => select(&keep.tensors()[at], new, weights.tensors()[at].clone()),
                    None => new,
                };
            }
            wide = ParamVec::new(layout.clone(), own);
        }
        if let (Some((state, _)), Some(policy)) = (sized, &self.step_size) {
            let mut at = sizing(state);
            policy.observe(&mut at, &wide.sub(&weights))?;
            states.step_size = Some(at.state);
        }
        if let Some(average) = &self.averaging {
            let state =
                self.averaging_state
                    .open(average.name(), average.fields(), &[], &layout)?;
            let mut numbers = self.numbers.clone();
            let mut at = AveragingContext {
                state,
                numbers: &mut numbers,
                weights: &weights,
                moved: &wide,
                lr,
                step: self.steps,
            };
            let next = average.step(&mut at)?;
            layout.check(next.layout())?;
            states.average = Some(at.state);
            states.numbers = Some(numbers);
            // What the average leaves as it was stays so to the last bit.
            let mut pairs = moved.tensors().to_vec().into_iter().zip(wide.tensors());
            moved = next.map(|(entry, next)| match pairs.next() {
                Some((moved, wide)) => {
                    let same = next.clone().equal(wide.clone());
                    next.clone().cast(entry.dtype).mask_where(same, moved)
                }
                None => next.clone().cast(entry.dtype),
            });
            if let (true, Some(keep)) = (skips, &keep) {
                moved = moved.where_finite(keep, &field.weights);
            }
        }
        states.keep = keep.filter(|_| skips);
        Ok((assign(model, &moved), states))
    }
}

/// Flags of some parameters as flags of all: the others have those of their gradients.
fn spread(
    keep: &FiniteFlags,
    positions: &[usize],
    field: &Field,
    gradient: Option<FiniteFlags>,
) -> FiniteFlags {
    let layout = field.weights.layout();
    if positions.len() == layout.len() {
        return keep.clone();
    }
    let all = gradient.unwrap_or_else(|| FiniteFlags::all(layout));
    let mut flags = all.tensors().to_vec();
    for (&at, flag) in positions.iter().zip(keep.tensors()) {
        flags[at] = flag.clone();
    }
    FiniteFlags::new(layout.clone(), flags)
}
