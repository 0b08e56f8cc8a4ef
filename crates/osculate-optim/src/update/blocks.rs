use std::sync::Arc;

use osculate_curvature::{FiniteFlags, ParamEntry};

use super::{Proposal, ProposalKind, Update, UpdateInput};
use crate::curvature::{CurvatureEstimate, CurvatureSource};
use crate::driver::{Expense, StepErrorCause};
use crate::engine::{
    BlockInput, BlockRule, BlockStore, Prepared, RuleError, Units, expenses, prepare,
};
use crate::parameter::{Parameter, ParameterTable};
use crate::record::{RecordError, StateRecord};
use crate::weight_decay::WeightDecay;

/// A block rule with the state of its blocks.
pub(crate) struct BlockUpdate<R: BlockRule> {
    rule: R,
    store: BlockStore,
    units: Units,
    pending: Option<Prepared>,
}

impl<R: BlockRule> BlockUpdate<R> {
    pub(crate) fn new(rule: R) -> Self {
        Self {
            rule,
            store: BlockStore::default(),
            units: Units::default(),
            pending: None,
        }
    }
}

impl<R: BlockRule> std::fmt::Debug for BlockUpdate<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.rule.fmt(f)
    }
}

impl<R: BlockRule> Update for BlockUpdate<R> {
    fn name(&self) -> &str {
        self.rule.name()
    }

    fn clone_box(&self) -> Box<dyn Update> {
        Box::new(Self {
            rule: self.rule.clone(),
            store: self.store.clone(),
            units: Units::default(),
            pending: None,
        })
    }

    fn wants_curvature(&self, step: u64) -> bool {
        self.rule.wants_curvature(step)
    }

    fn curvature_source(&self) -> Option<Arc<dyn CurvatureSource>> {
        self.rule.curvature_source().map(Arc::from)
    }

    fn weight_decay(&self) -> WeightDecay {
        self.rule.weight_decay()
    }

    fn prepare(&mut self, input: UpdateInput<'_>) -> Result<Proposal, StepErrorCause> {
        if let Some(CurvatureEstimate::Solution(_)) = input.curvature {
            return Err(StepErrorCause::Rule(RuleError::Curvature {
                rule: self.rule.name(),
                expected: "a product or a diagonal",
                found: "the solution of a system",
            }));
        }
        let input = BlockInput {
            parameters: input.parameters,
            weights: input.weights,
            gradient: input.gradient,
            curvature: input.curvature.as_ref(),
            curvature_flags: input.curvature_flags.as_ref(),
            flags: input.flags.as_ref(),
            seed: input.seed,
            non_finite: input.non_finite,
            strict: true,
        };
        let mut prepared = prepare(&self.rule, &self.store, &mut self.units, &input)?;
        let proposal = Proposal {
            kind: ProposalKind::Direction(std::mem::take(&mut prepared.directions)),
            hold: prepared.hold.take(),
            flags: prepared.flags.take(),
            unclipped: std::mem::take(&mut prepared.unclipped),
            solver_failures: prepared.solver_failures,
            refreshed: prepared.refreshed,
        };
        self.pending = Some(prepared);
        Ok(proposal)
    }

    fn discard(&mut self) {
        self.pending = None;
    }

    fn commit(&mut self, keep: Option<&FiniteFlags>) {
        if let Some(prepared) = self.pending.take() {
            prepared.commit(&mut self.store, keep);
            for key in self.units.replaced(|| self.store.paths()) {
                self.store.forget(&key);
            }
        }
    }

    fn forget(&mut self, path: &str, _: &ParameterTable) -> Result<(), RecordError> {
        for key in self.store.paths() {
            if key.split('+').any(|member| member == path) {
                self.store.forget(&key);
            }
        }
        Ok(())
    }

    fn paths(&self) -> Vec<String> {
        let keys = self.store.paths().into_iter();
        keys.flat_map(|key| key.split('+').map(str::to_string).collect::<Vec<_>>())
            .collect()
    }

    fn num_bytes(&self) -> usize {
        self.store.num_bytes()
    }

    fn expenses(&self, entries: &[ParamEntry], parameters: &[Parameter]) -> Vec<Expense> {
        expenses(&self.rule, entries, parameters)
    }

    fn write(&self, record: &mut StateRecord, prefix: &str) {
        self.store.write(record, prefix);
    }

    fn read(
        &self,
        record: &StateRecord,
        prefix: &str,
        own: &dyn Fn(&str) -> bool,
    ) -> Result<Box<dyn Update>, RecordError> {
        let own = |key: &str| key.split('+').all(own);
        Ok(Box::new(Self {
            rule: self.rule.clone(),
            store: BlockStore::read(record, prefix, own),
            units: Units::default(),
            pending: None,
        }))
    }
}
