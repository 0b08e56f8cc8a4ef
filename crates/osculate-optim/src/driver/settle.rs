//! From proposals to new weights.

use burn::module::Module;
use burn::tensor::{Bool, Tensor};
use osculate_curvature::FiniteFlags;

use super::Driver;
use super::apply::{Move, finite};
use super::context::StepContext;
use super::error::StepErrorCause;
use super::policy::NonFinitePolicy;
use super::proposed::Proposed;
use super::report::StepReport;
use super::step::{Committed, Field};
use crate::engine::each;
use crate::update::{BurnUpdate, Proposal};

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

    /// Steps burn's optimizers.
    pub(super) fn step_burn<M: Module>(
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

    pub(super) fn move_of<'a>(
        &self,
        field: &Field,
        at: usize,
        factor: Option<&'a Tensor<1>>,
    ) -> Move<'a> {
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
    pub(super) fn along(
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
}
