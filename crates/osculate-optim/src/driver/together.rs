//! New weights where the parameters must be looked at together.

use burn::module::Module;
use burn::tensor::Tensor;
use osculate_curvature::{FiniteFlags, ParamVec, assign};

use super::Driver;
use super::apply::{finite, local, select};
use super::context::{StepContext, check_flags};
use super::error::StepErrorCause;
use super::policy::NonFinitePolicy;
use super::proposed::Proposed;
use super::report::{SkipReason, StepReport};
use super::step::{Committed, Field};
use crate::averaging::AveragingContext;
use crate::engine::RuleError;
use crate::step_size::StepSizeContext;
use crate::vector_state::{VectorState, loss_for_state};

impl Driver {
    /// Moves the parameters where they must be looked at together: under a step-size policy, an average, a
    /// mask, or a decay over burn's steps.
    pub(super) fn settle_together<M: Module>(
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
