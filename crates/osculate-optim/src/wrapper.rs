use burn::module::Module;
use burn::optim::{LearningRate, ModuleOptimizer};
use osculate_curvature::{Objective, ParamVec};

use crate::config::StepPolicy;
use crate::error::{StepError, StepErrorCause};
use crate::optimizer::{Step, guard};
use crate::record::{BaseOptimizer, RecordError, StateRecord};
use crate::session::Session;

/// A base optimizer that takes its gradient from a rule: what first-order methods and the
/// sharpness-aware family share.
#[derive(Clone)]
pub(crate) struct Wrapper {
    name: &'static str,
    base: BaseOptimizer,
    policy: StepPolicy,
    steps: u64,
}

impl Wrapper {
    pub(crate) fn new(name: &'static str, base: ModuleOptimizer, policy: StepPolicy) -> Self {
        Self {
            name,
            base: BaseOptimizer::new(base),
            policy,
            steps: 0,
        }
    }

    pub(crate) fn set_policy(&mut self, policy: StepPolicy) {
        self.policy = policy;
    }

    pub(crate) fn name(&self) -> &'static str {
        self.name
    }

    /// Makes a step with the gradient that `rule` makes out of the session. The rule gets the
    /// number of steps made before.
    pub(crate) fn step<M: Module>(
        &mut self,
        lr: LearningRate,
        model: M,
        objective: &dyn Objective<M>,
        rule: impl FnOnce(&mut Session<'_, M>, u64) -> Result<ParamVec, StepErrorCause>,
    ) -> Result<Step<M>, StepError<M>> {
        guard(lr, model, |model| {
            let _span = tracing::debug_span!("step", optimizer = self.name).entered();
            let mut session = Session::begin(model, objective, &self.policy, self.steps)?;
            let gradient = rule(&mut session, self.steps)?;
            let gradient = session.clip(gradient);
            let finite = session.gradient_flags();
            let mut report = session.report(0);
            let model = session.into_model()?;
            let model = self.base.step(lr, model, &gradient, finite.as_ref())?;
            self.steps += 1;
            report.state_bytes = self.base.num_bytes();
            Ok(Step { model, report })
        })
    }

    pub(crate) fn to_record(&self) -> StateRecord {
        let mut record = StateRecord::new(self.name);
        record.set_count("steps", self.steps);
        self.base.write(&mut record);
        record
    }

    pub(crate) fn load_record(&mut self, record: &StateRecord) -> Result<(), RecordError> {
        record.expect(self.name)?;
        let steps = record.count("steps")?;
        self.base = self.base.read(record)?;
        self.steps = steps;
        Ok(())
    }

    pub(crate) fn state_bytes(&self) -> usize {
        self.base.num_bytes()
    }
}
