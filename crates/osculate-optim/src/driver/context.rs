//! What every step does before and after its update rule.

use burn::module::Module;
use burn::tensor::Tensor;
use osculate_curvature::{
    Cost, CurvatureError, Evaluation, FiniteFlags, GradientOracle, Objective, ParamVec,
};

use super::error::StepErrorCause;
use super::policy::{NonFinitePolicy, StepPolicy, step_seed};
use super::report::{SkipReason, StepReport};
use crate::curvature::{CurvatureContext, ErasedOracle, Found, ProductMemory, unjudged};
use crate::gradient::{Evaluations, GradientPoint};

/// One step under way: the clean pass is made, and its gradient is fit for use.
pub(crate) struct StepContext<'a, M: Module> {
    oracle: GradientOracle<'a, M>,
    policy: &'a StepPolicy,
    noise: u64,
    loss: Tensor<1>,
    gradient: ParamVec,
    checks: Vec<(SkipReason, FiniteFlags)>,
    /// Flags of the parameters whose gradients, and what was made out of them, were finite so far.
    sound: Option<FiniteFlags>,
    /// The last evaluation away from the weights, with its offset.
    last: Option<(ParamVec, Evaluation)>,
    /// What was spent at other points.
    elsewhere: Cost,
    /// Whether flags are read back as soon as they are made.
    reads: bool,
}

/// What a step asks of its clean pass.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StepNeeds<'a> {
    /// Who asks for the loss, also of an objective that gives gradients alone.
    pub loss: Option<&'a str>,
    /// Who takes what for the loss's lower bound.
    pub bound: Option<(&'static str, f64)>,
    /// Whether the gradient's flags are read back in this step anyway: then that is done first, and nothing
    /// is masked where all are set.
    pub reads: bool,
}

impl<'a, M: Module> StepContext<'a, M> {
    /// Evaluates loss and gradient at the weights. `step` is the number of steps made before, `noise` what
    /// the run has drawn for its noise.
    pub(crate) fn begin(
        model: &M,
        objective: &'a dyn Objective<M>,
        policy: &'a StepPolicy,
        step: u64,
        noise: Option<u64>,
        needs: StepNeeds<'_>,
    ) -> Result<Self, StepErrorCause> {
        let gradients_alone = objective.gradient().is_some();
        if let (Some(policy), true) = (needs.loss, gradients_alone)
            && objective.supervised_terms().is_empty()
        {
            return Err(StepErrorCause::NoLoss {
                policy: policy.to_string(),
            });
        }
        let seed = step_seed(policy.seed, step);
        let oracle = GradientOracle::new(model, objective).with_seed(seed);
        let (oracle, mut noise) = match noise {
            Some(noise) => (oracle, noise),
            None => {
                let drawn = oracle.stream().number();
                (oracle.watching_draws(), drawn)
            }
        };
        let oracle = oracle.with_noise_seed(step_seed(policy.seed ^ noise, step));
        let clean = oracle.clean()?;
        let gradient = clean.gradient.clone();
        let loss = match gradients_alone && needs.loss.is_some() {
            true => oracle.supervised_loss()?,
            false => clean.loss.clone(),
        };
        if oracle.watches_draws() && !oracle.drew() {
            // A state without noise does not depend on the device's generator.
            noise = 0;
        }
        let mut context = Self {
            oracle,
            policy,
            noise,
            loss,
            gradient: gradient.clone(),
            checks: Vec::new(),
            sound: None,
            last: None,
            elsewhere: Cost::ZERO,
            reads: needs.reads,
        };
        // The gradient first: it tells which parameters are the cause.
        context.gradient = context.accept(gradient)?;
        if !gradients_alone || needs.loss.is_some() {
            context.check_loss(needs.bound)?;
        }
        Ok(context)
    }

    /// The oracle at the weights before the step.
    pub(crate) fn oracle(&self) -> &GradientOracle<'a, M> {
        &self.oracle
    }

    /// What the run has drawn for its noise.
    pub(crate) fn noise(&self) -> u64 {
        self.noise
    }

    /// The gradient at the weights, in the parameters' element types, zero where it is skipped.
    pub(crate) fn gradient(&self) -> &ParamVec {
        &self.gradient
    }

    /// Under the policy `Error` a loss that is not finite is one, and one below what the step-size policy
    /// takes for its lower bound. Reads it back.
    fn check_loss(&self, bound: Option<(&'static str, f64)>) -> Result<(), StepErrorCause> {
        if self.policy.non_finite != NonFinitePolicy::Error {
            return Ok(());
        }
        let Some(value) = self.loss.to_data().iter::<f64>().next() else {
            return Ok(());
        };
        if !value.is_finite() {
            return Err(StepErrorCause::NonFiniteLoss { value });
        }
        match bound {
            Some((policy, bound)) if value < bound => Err(StepErrorCause::BelowBound {
                policy,
                bound,
                loss: value,
            }),
            _ => Ok(()),
        }
    }

    /// The loss at the weights, of one element.
    pub(crate) fn loss(&self) -> &Tensor<1> {
        &self.loss
    }

    /// Calls `run` with the oracle at a point; an evaluation there is not made again.
    pub(crate) fn at<T>(
        &mut self,
        point: GradientPoint,
        run: impl FnOnce(&dyn ErasedOracle) -> Result<T, StepErrorCause>,
    ) -> Result<T, StepErrorCause> {
        let last = match point {
            GradientPoint::Weights => None,
            GradientPoint::LastEvaluated => self.last.clone(),
        };
        let Some((offset, evaluation)) = last else {
            return run(&self.oracle);
        };
        let moved = self.oracle.moved(&offset, Some(evaluation))?;
        let result = run(&moved);
        self.elsewhere += ErasedOracle::cost(&moved);
        result
    }

    fn accept(&mut self, gradient: ParamVec) -> Result<ParamVec, StepErrorCause> {
        self.checked(SkipReason::Gradient, gradient)
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
        if self.reads {
            flags.to_vec();
        }
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
        check_flags(self.policy.non_finite, &mut self.checks, reason, flags)
    }

    /// The checks that were made.
    pub(crate) fn checks(&self) -> &Vec<(SkipReason, FiniteFlags)> {
        &self.checks
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
        self.oracle.cost() + self.elsewhere
    }

    /// The report of the step so far.
    pub(crate) fn report(&self) -> StepReport {
        let mut report =
            StepReport::of_gradient(self.loss.clone(), self.gradient.clone(), self.cost());
        report.checks.clone_from(&self.checks);
        report
    }

    /// A copy of what [`into_model`](Self::into_model) gives, where losses at other weights are to be looked
    /// at yet.
    pub(crate) fn model_after(&self) -> Result<M, StepErrorCause> {
        self.oracle
            .model_after()
            .ok_or(StepErrorCause::Curvature(CurvatureError::NoGradient))
    }

    /// The model after its clean pass: its weights are those before the step, its running
    /// statistics those after it.
    pub(crate) fn into_model(self) -> Result<M, StepErrorCause> {
        self.oracle
            .into_model()
            .ok_or(StepErrorCause::Curvature(CurvatureError::NoGradient))
    }
}

/// Treats flags as a policy says, as [`StepContext::check`] does.
pub(crate) fn check_flags(
    policy: NonFinitePolicy,
    checks: &mut Vec<(SkipReason, FiniteFlags)>,
    reason: SkipReason,
    flags: FiniteFlags,
) -> Result<Option<FiniteFlags>, StepErrorCause> {
    match policy {
        NonFinitePolicy::Propagate => Ok(None),
        NonFinitePolicy::Skip => {
            checks.push((reason, flags.clone()));
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

impl<M: Module> Evaluations for StepContext<'_, M> {
    fn parameters(&self) -> Result<&ParamVec, StepErrorCause> {
        Ok(self.oracle.parameters()?)
    }

    fn gradient(&self) -> &ParamVec {
        &self.gradient
    }

    fn gradient_at(&mut self, offset: &ParamVec) -> Result<ParamVec, StepErrorCause> {
        let evaluation = self.oracle.evaluate_at(offset, 1.0)?;
        let gradient = self.accept(evaluation.gradient.clone())?;
        self.last = Some((offset.clone(), evaluation));
        Ok(gradient)
    }

    fn drawn_gradient_at(
        &mut self,
        what: &'static str,
        number: u64,
        offset: &ParamVec,
    ) -> Result<ParamVec, StepErrorCause> {
        let evaluation = self.oracle.evaluate_drawn(what, number, offset)?;
        self.accept(evaluation.gradient)
    }

    fn hessian_product(
        &mut self,
        point: GradientPoint,
        memory: &ProductMemory,
        step: u64,
        v: &ParamVec,
    ) -> Result<(ParamVec, Found), StepErrorCause> {
        let (product, found) = self.at(point, |oracle| {
            let mut at = CurvatureContext::new(oracle, memory, step);
            let product = at.product_along(unjudged(), v)?;
            Ok((product, at.found()))
        })?;
        let product = self.checked(SkipReason::Curvature, product)?;
        // Products are in the type of statistics, gradients in the parameters' own.
        let product = product.map(|(entry, x)| x.clone().cast(entry.dtype));
        Ok((product, found))
    }

    fn seed(&self) -> u64 {
        self.oracle.seed()
    }

    fn accept_combined(&mut self, gradient: ParamVec) -> Result<ParamVec, StepErrorCause> {
        self.checked(SkipReason::Update, gradient)
    }

    fn sound(&self) -> Option<FiniteFlags> {
        self.sound.clone()
    }
}
