//! Which parameters are those of the step before, and which are others.

use burn::module::Module;
use osculate_curvature::ParamVec;

use super::Driver;
use super::error::StepErrorCause;
use super::groups::Assignment;
use super::report::FreshState;
use crate::parameter::{ModuleSignature, ParameterTable};

impl Driver {
    /// Compares the model with that of the step before: what is another parameter starts with fresh
    /// state.
    pub(super) fn recognise<M: Module>(
        &mut self,
        model: &M,
    ) -> Result<Vec<FreshState>, StepErrorCause> {
        let signature = ModuleSignature::of(model);
        if signature == self.signature {
            return Ok(Vec::new());
        }
        let table = ParameterTable::of(model);
        let assignment = Assignment::of(&self.groups, &table)?;
        self.check_decays(&assignment)?;
        let mut changes = self.ownership.changes(&table)?;
        self.table = table;
        for path in &changes.gone {
            self.forget(path)?;
        }
        for fresh in &changes.fresh {
            self.forget(&fresh.path)?;
        }
        let table = std::mem::take(&mut self.table);
        for update in self.updates_mut() {
            if let Some(burn) = update.as_burn() {
                let dropped = burn.load_pending(&table)?;
                changes
                    .fresh
                    .extend(dropped.into_iter().map(|path| FreshState {
                        path,
                        change: "has another shape than the state that was loaded".to_string(),
                    }));
            }
        }
        self.table = table;
        self.assignment = assignment;
        self.signature = signature;
        self.ownership.checked();
        for FreshState { path, change } in &changes.fresh {
            tracing::warn!(%path, %change, optimizer = %self.name, "a parameter starts with fresh state");
        }
        for path in &changes.gone {
            tracing::warn!(%path, optimizer = %self.name, "the state of a parameter that is gone is dropped");
        }
        Ok(changes.fresh)
    }

    /// burn's optimizers decay inside, where a group cannot reach.
    fn check_decays(&self, assignment: &Assignment) -> Result<(), StepErrorCause> {
        let burn: Vec<bool> = self.updates().map(|update| update.is_burn()).collect();
        let unreachable = assignment.all().find(|assigned| {
            assigned.weight_decay.is_some() && burn[assigned.part] && self.weight_decay.is_none()
        });
        match unreachable {
            Some(assigned) => Err(StepErrorCause::DecayInside {
                path: assigned.parameter.path.to_string(),
            }),
            None => Ok(()),
        }
    }

    /// Takes the parameters of a step down as the owners of their state.
    pub(super) fn take_ownership(&mut self, weights: &ParamVec) {
        let entries = weights.layout().entries();
        let assigned = self.assignment.get(entries);
        let parameters = || {
            let ids = entries.iter().map(|entry| entry.id);
            ids.zip(assigned.iter().map(|assigned| &assigned.parameter))
        };
        if !self.ownership.knows(parameters()) {
            let mut ownership = std::mem::take(&mut self.ownership);
            ownership.own(parameters());
            self.ownership = ownership;
        }
    }
}
