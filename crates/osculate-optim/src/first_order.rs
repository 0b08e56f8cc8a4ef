use burn::module::Module;
use burn::optim::{LearningRate, ModuleOptimizer};
use osculate_curvature::Objective;

use crate::config::{Check, ConfigError, StepPolicy};
use crate::error::StepError;
use crate::optimizer::{ClosureOptimizer, StatefulOptimizer, Step};
use crate::record::{RecordError, StateRecord};
use crate::wrapper::Wrapper;

/// Any burn optimizer behind the closure door.
///
/// A step is one gradient evaluation and one step of the base optimizer. It adds what the closure
/// door promises to every optimizer: the model back on failure, the policy for gradients that are
/// not finite, clipping by the global norm, a report, and records keyed by path.
///
/// State and memory: those of the base optimizer.
///
/// ```
/// use burn::optim::AdamWConfig;
/// use osculate_optim::FirstOrder;
/// let optimizer = FirstOrder::new(AdamWConfig::new().init());
/// ```
#[derive(Clone)]
pub struct FirstOrder {
    wrapper: Wrapper,
}

impl FirstOrder {
    /// Wraps a burn optimizer, with the default policy.
    pub fn new(base: ModuleOptimizer) -> Self {
        Self {
            wrapper: Wrapper::new("first-order", base, StepPolicy::new()),
        }
    }

    /// Replaces the policy.
    ///
    /// # Errors
    /// [`ConfigError`] for a clipping norm that is not positive.
    pub fn with_policy(mut self, policy: StepPolicy) -> Result<Self, ConfigError> {
        Check::of("FirstOrder").policy(&policy).finish()?;
        self.wrapper.set_policy(policy);
        Ok(self)
    }
}

impl<M: Module> ClosureOptimizer<M> for FirstOrder {
    fn step(
        &mut self,
        lr: LearningRate,
        model: M,
        objective: &dyn Objective<M>,
    ) -> Result<Step<M>, StepError<M>> {
        self.wrapper.step(lr, model, objective, |session, _| {
            Ok(session.gradient().clone())
        })
    }
}

impl StatefulOptimizer for FirstOrder {
    fn name(&self) -> &'static str {
        self.wrapper.name()
    }

    fn to_record(&self) -> StateRecord {
        self.wrapper.to_record()
    }

    fn load_record(&mut self, record: StateRecord) -> Result<(), RecordError> {
        self.wrapper.load_record(&record)
    }

    fn state_bytes(&self) -> usize {
        self.wrapper.state_bytes()
    }
}
