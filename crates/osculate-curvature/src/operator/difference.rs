//! Hessian products as finite differences of gradients.

use burn::module::Module;

use super::ErrorEstimate;
use super::evidence::Start;
use super::hessian::{Hessian, Scheme};
use super::step::{StepRule, epsilon, movement};
use crate::error::CurvatureError;
use crate::oracle::Evaluation;
use crate::params::ParamVec;

/// Movement of the outputs that central differences aim for: between the best values of a perceptron
/// (0.003 to 0.03) and of a transformer block (0.02 to 0.03), whose gradients are noisier.
const TAU_CENTRAL: f64 = 0.012;
/// The same for Richardson extrapolation, whose truncation error is two orders higher.
const TAU_RICHARDSON: f64 = 0.02;
/// The same for forward differences.
const TAU_FORWARD: f64 = 0.003;
/// Rounding error of a gradient in units of epsilon times its norm: gradients are sums of
/// per-sample terms that cancel, 8 to 25 on fitted networks.
const GRADIENT_NOISE: f64 = 16.0;

/// The gradients on both sides of the weights.
pub(super) struct Sides {
    /// Distance of each side.
    pub(super) step: f64,
    /// `(g(h) - g(-h)) / 2h`, for the direction's own length.
    pub(super) central: ParamVec,
    /// `(g(h) - 2 g(0) + g(-h)) / 2h`: what a smooth loss makes small.
    pub(super) bend: ParamVec,
    /// Rounding error of `central`: an order of magnitude.
    pub(super) rounding: f64,
    /// Movement of the outputs, or NaN.
    pub(super) moved: f64,
}

/// Differences of the gradient along one direction.
pub(super) struct Line<'a, 'b, M: Module> {
    pub(super) hessian: &'b Hessian<'a, M>,
    pub(super) v: &'b ParamVec,
    pub(super) norm: f64,
}

impl<M: Module> Line<'_, '_, M> {
    /// The product, the step and its error, by the configured scheme.
    pub(super) fn difference(
        &self,
        random: bool,
    ) -> Result<(ParamVec, f64, ErrorEstimate), CurvatureError> {
        let stepper = &self.hessian.stepper;
        // There are none where gradients are not made from them, or batches accumulated.
        let supervised = self.hessian.oracle.clean()?.outputs.is_some();
        let config = &self.hessian.config;
        let judged = config.estimate_error && config.scheme == Scheme::Central;
        if config.step == StepRule::Auto && judged {
            return self.judged(supervised, random);
        }
        let rule = match self.hessian.config.step {
            StepRule::Auto if supervised => StepRule::FunctionSpace { tau: self.tau() },
            StepRule::Auto if random => StepRule::Relative,
            StepRule::Auto => StepRule::Doubling,
            rule => rule,
        };
        match rule {
            StepRule::FunctionSpace { .. } if !supervised => Err(CurvatureError::NotSupervised {
                what: "a step in function space",
            }),
            StepRule::FunctionSpace { tau } => self.in_function_space(tau),
            StepRule::Doubling => self.doubling(),
            StepRule::Fixed { length } => self.at(length),
            StepRule::Relative | StepRule::Auto => self.at(stepper.relative()),
        }
    }

    /// The step is a matter of evidence; the rules say where to begin.
    fn judged(
        &self,
        supervised: bool,
        random: bool,
    ) -> Result<(ParamVec, f64, ErrorEstimate), CurvatureError> {
        let stepper = &self.hessian.stepper;
        if !supervised {
            let start = match random {
                true => stepper.relative(),
                false => stepper.start(),
            };
            return self.by_evidence(Start::At(start), random);
        }
        self.by_evidence(Start::Moved(&|| self.moving_outputs()), true)
    }

    /// The difference along a random probe at the rule's own step with its error, and whether the step
    /// serves.
    pub(super) fn judge(
        &self,
    ) -> Result<(ParamVec, f64, ErrorEstimate, Option<bool>), CurvatureError> {
        let start = match self.hessian.oracle.clean()?.outputs.is_some() {
            true => Start::Moved(&|| self.moving_outputs()),
            false => Start::At(self.hessian.stepper.relative()),
        };
        self.at_rule(start)
    }

    /// The pair that moves the outputs by what is aimed for.
    fn moving_outputs(&self) -> Result<Sides, CurvatureError> {
        let stepper = &self.hessian.stepper;
        let first = match stepper.last() {
            Some(step) => step,
            None => self.look_for_step(TAU_CENTRAL)?,
        };
        let (sides, _) = stepper.in_function_space(TAU_CENTRAL, first, |h| {
            let sides = self.sides(h)?;
            let moved = sides.moved;
            Ok((sides, moved))
        })?;
        Ok(sides)
    }

    /// Central differences with all that tells of their error.
    pub(super) fn sides(&self, h: f64) -> Result<Sides, CurvatureError> {
        let (plus, minus) = (self.evaluate(h)?, self.evaluate(-h)?);
        let moved = match (&plus.outputs, &minus.outputs) {
            (Some(a), Some(b)) => movement(a, b),
            _ => f64::NAN,
        };
        let factor = self.norm / (2.0 * h);
        let clean = self.hessian.oracle.clean()?.gradient.to_compute_dtype();
        let (plus, minus) = (
            plus.gradient.to_compute_dtype(),
            minus.gradient.to_compute_dtype(),
        );
        let size = plus.norm().max(minus.norm());
        // Tensor by tensor: nothing is held twice.
        let layout = clean.layout().clone();
        let pairs = plus.into_tensors().into_iter().zip(minus.into_tensors());
        let (central, bend) = pairs
            .zip(clean.into_tensors())
            .map(|((plus, minus), clean)| {
                let central = (plus.clone() - minus.clone()).mul_scalar(factor);
                let bend = (plus + minus - clean.mul_scalar(2.0)).mul_scalar(factor);
                (central, bend)
            })
            .unzip();
        Ok(Sides {
            step: h,
            central: ParamVec::new(layout.clone(), central),
            bend: ParamVec::new(layout, bend),
            rounding: self.rounding(size, factor),
            moved,
        })
    }

    /// Rounding error of a difference of gradients of this size, times `factor`.
    fn rounding(&self, size: f64, factor: f64) -> f64 {
        GRADIENT_NOISE * epsilon(&self.hessian.layout) * size * 2f64.sqrt() * factor
    }

    fn tau(&self) -> f64 {
        match self.hessian.config.scheme {
            Scheme::Central => TAU_CENTRAL,
            Scheme::Forward => TAU_FORWARD,
            Scheme::Richardson => TAU_RICHARDSON,
        }
    }

    fn evaluate(&self, h: f64) -> Result<Evaluation, CurvatureError> {
        self.hessian.oracle.evaluate_at(self.v, h / self.norm)
    }

    /// `c(h)` or the forward difference, its rounding error where it is wanted, and the movement of
    /// the outputs.
    fn pair(
        &self,
        h: f64,
        estimate_error: bool,
    ) -> Result<(ParamVec, Option<f64>, f64), CurvatureError> {
        let plus = self.evaluate(h)?;
        let (minus, width) = if self.hessian.config.scheme == Scheme::Forward {
            (self.hessian.oracle.clean()?.clone(), h)
        } else {
            (self.evaluate(-h)?, 2.0 * h)
        };
        let moved = match (&plus.outputs, &minus.outputs) {
            (Some(a), Some(b)) => movement(a, b) * 2.0 * h / width,
            _ => f64::NAN,
        };
        let factor = self.norm / width;
        let rounding = estimate_error
            .then(|| self.rounding(plus.gradient.norm().max(minus.gradient.norm()), factor));
        let value = plus
            .gradient
            .to_compute_dtype()
            .sub(&minus.gradient.to_compute_dtype())
            .scale(factor);
        Ok((value, rounding, moved))
    }

    fn at(&self, h: f64) -> Result<(ParamVec, f64, ErrorEstimate), CurvatureError> {
        let (value, rounding, _) = self.pair(h, self.hessian.config.estimate_error)?;
        self.finish(value, rounding, h)
    }

    fn in_function_space(
        &self,
        tau: f64,
    ) -> Result<(ParamVec, f64, ErrorEstimate), CurvatureError> {
        let stepper = &self.hessian.stepper;
        let first = match stepper.last() {
            Some(step) => step,
            None => self.look_for_step(tau)?,
        };
        let ((value, rounding), h) = stepper.in_function_space(tau, first, |h| {
            let (value, rounding, moved) = self.pair(h, self.hessian.config.estimate_error)?;
            Ok(((value, rounding), moved))
        })?;
        self.finish(value, rounding, h)
    }

    /// The step for `tau` from two forward passes.
    fn look_for_step(&self, tau: f64) -> Result<f64, CurvatureError> {
        let oracle = self.hessian.oracle;
        let stepper = &self.hessian.stepper;
        let (_, h) = stepper.in_function_space(tau, stepper.start(), |h| {
            let plus = oracle.outputs_at(Some((self.v, h / self.norm)))?;
            let minus = oracle.outputs_at(Some((self.v, -h / self.norm)))?;
            Ok(((), movement(&plus, &minus)))
        })?;
        Ok(stepper.last().unwrap_or(h))
    }

    /// Adds the second difference of Richardson's scheme where it is configured.
    fn finish(
        &self,
        value: ParamVec,
        rounding: Option<f64>,
        h: f64,
    ) -> Result<(ParamVec, f64, ErrorEstimate), CurvatureError> {
        if self.hessian.config.scheme != Scheme::Richardson {
            let error = ErrorEstimate {
                truncation: None,
                rounding,
                kinks: None,
            };
            return Ok((value, h, error));
        }
        let (wide, _, _) = self.pair(2.0 * h, false)?;
        let (value, truncation) = self.extrapolate(&value, &wide);
        let error = ErrorEstimate {
            truncation: Some(truncation),
            rounding,
            kinks: None,
        };
        Ok((value, h, error))
    }

    fn doubling(&self) -> Result<(ParamVec, f64, ErrorEstimate), CurvatureError> {
        let mut h = self.hessian.stepper.start();
        // Without the rounding error there is nothing to stop at.
        let (mut narrow, mut rounding, _) = self.pair(h, true)?;
        let (mut wide, _, _) = self.pair(2.0 * h, false)?;
        loop {
            let (value, truncation) = self.extrapolate(&narrow, &wide);
            let noise = rounding.unwrap_or(0.0);
            let next = self.hessian.stepper.clamp(h / 2.0);
            if truncation <= 10.0 * noise || next >= h || !truncation.is_finite() {
                let error = ErrorEstimate {
                    truncation: Some(truncation),
                    rounding,
                    kinks: None,
                };
                return Ok((value, h, error));
            }
            h = next;
            wide = narrow;
            (narrow, rounding, _) = self.pair(h, true)?;
        }
    }

    /// Removes the leading error of two differences, and estimates it: `(4 c(h) - c(2h)) / 3` and
    /// `|c(2h) - c(h)| / 3` for central differences, `2 f(h) - f(2h)` and `|f(2h) - f(h)|` for
    /// forward ones.
    fn extrapolate(&self, narrow: &ParamVec, wide: &ParamVec) -> (ParamVec, f64) {
        let factor = match self.hessian.config.scheme {
            Scheme::Forward => 1.0,
            Scheme::Central | Scheme::Richardson => 1.0 / 3.0,
        };
        let difference = narrow.sub(wide).scale(factor);
        let truncation = difference.norm();
        (narrow.add(&difference), truncation)
    }
}
