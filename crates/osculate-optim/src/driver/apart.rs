//! New weights of each parameter by itself.

use burn::module::Module;
use osculate_curvature::{FiniteFlags, ParamVec, assign};

use super::Driver;
use super::apply::select;
use super::context::{StepContext, check_flags};
use super::error::StepErrorCause;
use super::policy::NonFinitePolicy;
use super::proposed::Proposed;
use super::report::{SkipReason, StepReport};
use super::step::{Committed, Field};

impl Driver {
    /// Moves each parameter by itself.
    pub(super) fn settle_apart<M: Module>(
        &mut self,
        field: &Field,
        proposed: Proposed,
        mut context: StepContext<'_, M>,
        report: &mut StepReport,
    ) -> Result<(M, Committed), StepErrorCause> {
        let positions = proposed.of_rules();
        let looks = context.looks();
        let moved = (!positions.is_empty())
            .then(|| self.moved_apart(field, &proposed, &positions, &mut context, report));
        let (moved, keep) = moved.transpose()?.unzip();
        let flags = context.gradient_flags();
        let mut model = context.into_model()?;
        if let Some(moved) = &moved {
            model = assign(model, moved);
        }
        model = self.step_burn(field, &proposed.burn, model, flags.as_ref());
        if looks && !proposed.burn.is_empty() {
            model = self.checked_burn(field, &proposed.burn, model, report)?;
        }
        let states = Committed {
            keep: keep.flatten(),
            ..Committed::default()
        };
        Ok((model, states))
    }

    /// The new weights of the parameters that rules step, with flags of those that are to be kept; `None` where
    /// all are.
    fn moved_apart<M: Module>(
        &self,
        field: &Field,
        proposed: &Proposed,
        positions: &[usize],
        context: &mut StepContext<'_, M>,
        report: &mut StepReport,
    ) -> Result<(ParamVec, Option<FiniteFlags>), StepErrorCause> {
        let moved = self.along(field, proposed, positions, None);
        let layout = field.weights.subset(positions).layout().clone();
        let mut keep = None;
        if context.looks() {
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
        let olds = positions.iter().map(|&at| &field.weights.tensors()[at]);
        let weights = olds.zip(moved).map(|(old, (new, flag))| match masks {
            true => select(&flag, new, old.clone()),
            false => new,
        });
        let weights = ParamVec::new(layout, weights.collect());
        let keep = keep.map(|keep| spread(&keep, positions, field, context.gradient_flags()));
        let keep = keep.inspect(FiniteFlags::read_on_cpu);
        Ok((weights, keep.filter(|keep| !keep.known_to_be_set())))
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
