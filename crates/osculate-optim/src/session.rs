//! What every step does before and after its update rule.

use burn::module::Module;
use burn::tensor::Tensor;
use osculate_curvature::{Cost, CurvatureError, FiniteFlags, GradientOracle, Objective, ParamVec};

use crate::config::{NonFinitePolicy, StepPolicy};
use crate::error::StepErrorCause;
use crate::report::{SkipReason, StepReport};

/// One step under way: the clean pass is made, and its gradient is fit for use.
pub(crate) struct Session<'a, M: Module> {
    oracle: GradientOracle<'a, M>,
    policy: &'a StepPolicy,
    loss: Tensor<1>,
    gradient: ParamVec,
    checks: Vec<(SkipReason, FiniteFlags)>,
}

impl<'a, M: Module> Session<'a, M> {
    /// Evaluates loss and gradient at the weights. `step` is the number of steps made before.
    pub(crate) fn begin(
        model: &M,
        objective: &'a dyn Objective<M>,
        policy: &'a StepPolicy,
        step: u64,
    ) -> Result<Self, StepErrorCause> {
        let seed = step_seed(policy.seed, step);
        let oracle = GradientOracle::new(model, objective).with_seed(seed);
        let clean = oracle.clean()?;
        let (loss, gradient) = (clean.loss.clone(), clean.gradient.clone());
        let mut session = Self {
            oracle,
            policy,
            loss,
            gradient: gradient.clone(),
            checks: Vec::new(),
        };
        session.gradient = session.accept(gradient)?;
        Ok(session)
    }

    /// The oracle at the weights before the step.
    pub(crate) fn oracle(&self) -> &GradientOracle<'a, M> {
        &self.oracle
    }

    /// The gradient at the weights, in the parameters' element types, zero where it is skipped.
    pub(crate) fn gradient(&self) -> &ParamVec {
        &self.gradient
    }

    /// The gradient at `θ + offset`, under the policy for non-finite values.
    pub(crate) fn gradient_at(&mut self, offset: &ParamVec) -> Result<ParamVec, StepErrorCause> {
        let evaluation = self.oracle.evaluate_at(offset, 1.0)?;
        self.accept(evaluation.gradient)
    }

    fn accept(&mut self, gradient: ParamVec) -> Result<ParamVec, StepErrorCause> {
        if self.policy.non_finite == NonFinitePolicy::Propagate {
            return Ok(gradient);
        }
        let flags = gradient.finite_flags();
        if self.policy.non_finite == NonFinitePolicy::Error {
            let paths = flags.flagged_paths();
            if !paths.is_empty() {
                return Err(StepErrorCause::NonFiniteGradient { paths });
            }
            return Ok(gradient);
        }
        let gradient = gradient.zero_where_not(&flags);
        self.checks.push((SkipReason::Gradient, flags));
        Ok(gradient)
    }

    /// Records another check, made by an update rule.
    pub(crate) fn record_check(&mut self, reason: SkipReason, flags: FiniteFlags) {
        self.checks.push((reason, flags));
    }

    /// Whether flagged parameters are to be left alone.
    pub(crate) fn skips(&self) -> bool {
        self.policy.non_finite == NonFinitePolicy::Skip
    }

    /// Flags that are set where every gradient so far was finite.
    pub(crate) fn gradient_flags(&self) -> Option<FiniteFlags> {
        self.checks
            .iter()
            .filter(|(reason, _)| *reason == SkipReason::Gradient)
            .map(|(_, flags)| flags.clone())
            .reduce(|all, flags| all.and(&flags))
    }

    /// The gradient scaled down to the policy's norm, on the device.
    pub(crate) fn clip(&self, gradient: ParamVec) -> ParamVec {
        match self.policy.clip_norm {
            None => gradient,
            Some(limit) => {
                // A zero norm gives an infinite ratio, which the clamp turns into 1.
                let ratio = gradient.norm_on_device().recip().mul_scalar(limit);
                gradient.scale_by(&ratio.clamp_max(1.0))
            }
        }
    }

    /// What the step cost so far.
    pub(crate) fn cost(&self) -> Cost {
        self.oracle.cost()
    }

    /// The report of the finished step, without the entries of particular methods.
    pub(crate) fn report(&self, state_bytes: usize) -> StepReport {
        StepReport {
            loss: self.loss.clone(),
            gradient_norm: self.gradient.norm_on_device(),
            cost: self.cost(),
            curvature_age: None,
            win_rate: None,
            checks: self.checks.clone(),
            state_bytes,
            solver_failures: 0,
        }
    }

    /// The model after its clean pass: its weights are those before the step, its running
    /// statistics those after it.
    pub(crate) fn into_model(self) -> Result<M, StepErrorCause> {
        self.oracle
            .into_model()
            .ok_or(StepErrorCause::Curvature(CurvatureError::NoGradient))
    }
}

/// The seed of a step: a function of the run's seed and the step's number, never of what was drawn
/// before.
pub(crate) fn step_seed(seed: u64, step: u64) -> u64 {
    // An odd multiplier keeps neighbouring steps and seeds apart; the probes mix it further.
    seed.rotate_left(32) ^ step.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}
