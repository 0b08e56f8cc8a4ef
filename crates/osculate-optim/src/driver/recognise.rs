//! Which parameters are those of the step before, and which are others.

use burn::module::Module;

use super::Driver;
use super::error::StepErrorCause;
use super::groups::Assignment;
use super::ownership::Changes;
use super::report::FreshState;
use super::step::Field;
use crate::parameter::{ModuleSignature, ParameterTable};

impl Driver {
    /// Compares the model with that of the step before: what is another parameter starts with fresh
    /// state, which the report of the next step that is made tells.
    pub(super) fn recognise<M: Module>(&mut self, model: &M) -> Result<(), StepErrorCause> {
        let signature = ModuleSignature::of(model);
        if signature == self.signature {
            return Ok(());
        }
        self.validate_roles()?;
        let table = ParameterTable::of(model);
        let assignment = Assignment::of(&self.groups, &table)?;
        self.check_decays(&assignment)?;
        let Changes { mut fresh, gone } = self.ownership.changes(&table)?;
        self.table = table;
        let others = fresh.iter().map(|fresh| &fresh.path);
        for path in gone.iter().chain(others) {
            self.forget(path)?;
        }
        for path in &gone {
            tracing::warn!(%path, optimizer = %self.name, "the state of a parameter that is gone is dropped");
        }
        let table = std::mem::take(&mut self.table);
        let settled = self.settle_parts(&table, &assignment, &mut fresh);
        self.table = table;
        for FreshState { path, change } in &fresh {
            tracing::warn!(%path, %change, optimizer = %self.name, "a parameter starts with fresh state");
        }
        self.fresh.extend(fresh);
        settled?;
        self.announce(model, &self.table, &assignment);
        self.assignment = assignment;
        self.signature = signature;
        self.ownership.checked(&self.table);
        Ok(())
    }

    /// Settings of roles that were put over without their own `over`.
    fn validate_roles(&self) -> Result<(), StepErrorCause> {
        self.gradient.validate()?;
        for filter in &self.filters {
            filter.validate()?;
        }
        if let Some(policy) = &self.step_size {
            policy.validate()?;
        }
        if let Some(average) = &self.averaging {
            average.validate()?;
        }
        Ok(())
    }

    /// Drops the state of parameters that another update steps now, and gives burn's optimizers what was
    /// loaded.
    fn settle_parts(
        &mut self,
        table: &ParameterTable,
        assignment: &Assignment,
        fresh: &mut Vec<FreshState>,
    ) -> Result<(), StepErrorCause> {
        for (part, update) in self.updates_mut().into_iter().enumerate() {
            for path in update.paths() {
                if assignment.part_of(&path).is_some_and(|own| own != part) {
                    update.forget(&path, table)?;
                    fresh.push(FreshState {
                        path,
                        change: "another update steps it now".to_string(),
                    });
                }
            }
            if let Some(burn) = update.as_burn() {
                let dropped = burn.load_pending(table)?;
                fresh.extend(dropped.into_iter().map(|path| FreshState {
                    path,
                    change: "has another shape than the state that was loaded".to_string(),
                }));
            }
        }
        Ok(())
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
    pub(super) fn take_ownership(&mut self, field: &Field) {
        let entries = field.weights.layout().entries();
        let assignment = &self.assignment;
        let parameters = || {
            let ids = entries.iter().map(|entry| entry.id);
            ids.zip(
                field
                    .assigned
                    .iter()
                    .map(|&at| &assignment.at(at).parameter),
            )
        };
        if !self.ownership.knows(parameters()) {
            let mut ownership = std::mem::take(&mut self.ownership);
            ownership.own(parameters());
            self.ownership = ownership;
        }
    }
}
