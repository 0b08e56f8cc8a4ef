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
    /// Flags of the parameters whose gradients, and what was made out of them, were finite so far.
    sound: Option<FiniteFlags>,
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
            sound: None,
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
        self.checked(SkipReason::Gradient, gradient)
    }

    /// The gradient that a rule made out of others, zero where it is skipped: its products may leave
    /// the range of numbers although the gradients were in it.
    pub(crate) fn accept_combined(
        &mut self,
        gradient: ParamVec,
    ) -> Result<ParamVec, StepErrorCause> {
        self.checked(SkipReason::Update, gradient)
    }

    fn checked(
        &mut self,
        reason: SkipReason,
        vector: ParamVec,
    ) -> Result<ParamVec, StepErrorCause> {
        if !self.looks() {
            return Ok(vector);
        }
        let Some(flags) = self.check(reason, vector.finite_flags())? else {
            return Ok(vector);
        };
        let vector = vector.zero_where_not(&flags);
        self.sound = Some(match self.sound.take() {
            Some(sound) => sound.and(&flags),
            None => flags,
        });
        Ok(vector)
    }

    /// Whether anything is to be done about numbers that are not finite.
    pub(crate) fn looks(&self) -> bool {
        self.policy.non_finite != NonFinitePolicy::Propagate
    }

    /// Treats flags as the policy says. They come back where flagged parameters are to be left
    /// alone; they are then in the report. Under the policy `Error` they are read back.
    pub(crate) fn check(
        &mut self,
        reason: SkipReason,
        flags: FiniteFlags,
    ) -> Result<Option<FiniteFlags>, StepErrorCause> {
        match self.policy.non_finite {
            NonFinitePolicy::Propagate => Ok(None),
            NonFinitePolicy::Skip => {
                self.checks.push((reason, flags.clone()));
                Ok(Some(flags))
            }
            NonFinitePolicy::Error => {
                let paths = flags.flagged_paths();
                match (paths.is_empty(), reason) {
                    (true, _) => Ok(None),
                    (_, SkipReason::Gradient) => Err(StepErrorCause::NonFiniteGradient { paths }),
                    (_, SkipReason::Curvature) => Err(StepErrorCause::NonFiniteCurvature { paths }),
                    (_, SkipReason::Update) => Err(StepErrorCause::NonFiniteUpdate { paths }),
                }
            }
        }
    }

    /// Flags that are set where every gradient so far was finite, and what was made out of them.
    pub(crate) fn gradient_flags(&self) -> Option<FiniteFlags> {
        self.sound.clone()
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
