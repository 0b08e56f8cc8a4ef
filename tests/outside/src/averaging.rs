use osculate_curvature::ParamVec;
use osculate_optim::{Averaging, AveragingContext, RuleError, VectorField, VectorState};

/// Evaluates the plain mean of all weights from a step on; the training is the optimizer's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TailMean {
    /// The first step of the tail.
    pub start: u64,
}

const COUNT: &str = "count";

impl Averaging for TailMean {
    fn name(&self) -> &'static str {
        "tail-mean"
    }

    fn fields(&self) -> &'static [VectorField] {
        const { &[VectorField::wide("mean")] }
    }

    fn step(&self, context: &mut AveragingContext<'_>) -> Result<ParamVec, RuleError> {
        if context.step < self.start {
            return Ok(context.moved.clone());
        }
        let count = context.numbers.entry(COUNT.to_string()).or_insert(0.0);
        *count += 1.0;
        let share = 1.0 / *count;
        let mean = context.state.start_at("mean", context.moved)?;
        let mean = mean.axpy(share, &context.moved.sub(&mean));
        context.state.put("mean", mean)?;
        Ok(context.moved.clone())
    }

    fn evaluation(&self, weights: &ParamVec, state: &VectorState) -> Result<ParamVec, RuleError> {
        state.or_first("mean", weights)
    }
}
