//! The step that the evidence favours, and what is known of the error of a difference.

use std::cell::Cell;

use burn::module::Module;

use super::ErrorEstimate;
use super::difference::{Line, Sides};
use crate::error::CurvatureError;
use crate::params::ParamVec;

/// Relative error that is good enough to stop looking for a better step, in `f32`.
const GOAL: f64 = 1e-3;
/// Relative error from which a product is told to be off.
const DOUBTFUL: f64 = 0.1;
/// Factor between the steps that are tried.
const STRIDE: f64 = 8.0;
/// Relative error, at a step for `f32`, from which gradients are taken to be computed in `f32`.
const SINGLE: f64 = 1e-2;
/// Tried at most: shorter steps, then longer ones.
const TRIES: [usize; 2] = [4, 3];

/// What the products of one operator have shown.
#[derive(Debug, Default)]
pub(super) struct Evidence {
    /// How a smooth loss bends, where the first product was good.
    smooth: Cell<Option<Smooth>>,
    /// The best of the steps that were tried where it was not.
    chosen: Cell<Option<f64>>,
    warned: Cell<bool>,
}

/// Relative to the product: the asymmetry of the two sides for a unit of the step, and the
/// truncation for its square.
#[derive(Debug, Clone, Copy)]
struct Smooth {
    bend: f64,
    truncation: f64,
}

/// An extrapolated difference.
struct Trial {
    value: ParamVec,
    size: f64,
    step: f64,
    error: ErrorEstimate,
    smooth: Smooth,
}

impl Trial {
    /// Whether it is off by less than [`DOUBTFUL`], rounding apart.
    fn serves(&self) -> bool {
        let seen = self.total() - self.error.rounding.unwrap_or(0.0);
        seen <= DOUBTFUL * self.size
    }

    fn total(&self) -> f64 {
        let total = self.error.total().unwrap_or(f64::INFINITY);
        if total.is_finite() {
            total
        } else {
            f64::INFINITY
        }
    }
}

/// How the first pair is found.
pub(super) enum Start<'a> {
    /// By the movement of the outputs.
    Moved(&'a dyn Fn() -> Result<Sides, CurvatureError>),
    /// At this step.
    At(f64),
}

impl<M: Module> Line<'_, '_, M> {
    /// A central difference and its error, by the gradients at `-2h`, `-h`, `0`, `h` and `2h`.
    ///
    /// With `c` the central differences and `b` the halved second differences
    /// `(g(h) - 2 g(0) + g(-h)) / 2h`, a smooth loss has `|c(2h) - c(h)| / 3` of truncation and
    /// `b(2h) = 2 b(h)`. A kink between `0` and `h` throws its whole jump into both, divided by
    /// `2h`: what `b(2h) - 2 b(h)` leaves is the size of the error that kinks make. Halving the
    /// step does not help against them until it is shorter than their distance, and lengthening it
    /// helps in proportion, so where they are seen steps are tried in both directions, and the one
    /// with the smallest estimate is taken.
    pub(super) fn by_evidence(
        &self,
        start: Start<'_>,
        narrow_alone: bool,
    ) -> Result<(ParamVec, f64, ErrorEstimate), CurvatureError> {
        let evidence = &self.hessian.evidence;
        if let Some(h) = evidence.chosen.get() {
            return Ok(self.finished(self.trial(self.sides(h)?)?));
        }
        let narrow = match start {
            Start::Moved(find) => find()?,
            Start::At(h) => self.sides(h)?,
        };
        if let Some(smooth) = evidence.smooth.get().filter(|_| narrow_alone)
            && let Some(made) = self.as_smooth_as_before(&narrow, smooth)
        {
            return Ok(made);
        }
        let first = self.trial(narrow)?;
        if self.good(&first) {
            evidence.smooth.set(Some(first.smooth));
            return Ok(self.finished(first));
        }
        let best = self.search(first)?;
        evidence.chosen.set(Some(best.step));
        Ok(self.finished(best))
    }

    /// The difference at the rule's own step, as it is made where no error is asked for, with its error,
    /// and whether the step serves; `None` where numbers that are not finite tell nothing of it.
    pub(super) fn at_rule(
        &self,
        start: Start<'_>,
    ) -> Result<(ParamVec, f64, ErrorEstimate, Option<bool>), CurvatureError> {
        let narrow = match start {
            Start::Moved(find) => find()?,
            Start::At(h) => self.sides(h)?,
        };
        let value = narrow.central.clone();
        let bend = narrow.bend.norm();
        // Kinks make the two sides differ as much as they spoil the difference.
        if bend <= DOUBTFUL * value.norm() {
            let error = ErrorEstimate {
                truncation: None,
                rounding: Some(narrow.rounding),
                kinks: Some(bend),
            };
            return Ok((value, narrow.step, error, Some(true)));
        }
        let finite = bend.is_finite() && value.norm().is_finite();
        let trial = self.trial(narrow)?;
        let serves = (finite && trial.total().is_finite()).then(|| trial.serves());
        Ok((value, trial.step, trial.error, serves))
    }

    /// The difference of one pair, where it bends as little as pairs whose error was seen.
    fn as_smooth_as_before(
        &self,
        narrow: &Sides,
        smooth: Smooth,
    ) -> Option<(ParamVec, f64, ErrorEstimate)> {
        let (size, bend) = (narrow.central.norm(), narrow.bend.norm());
        let h = narrow.step;
        if bend.is_nan() || bend > 3.0 * (smooth.bend * size * h + narrow.rounding) {
            return None;
        }
        let error = ErrorEstimate {
            truncation: Some(2.0 * smooth.truncation * size * h * h),
            rounding: Some(narrow.rounding),
            kinks: None,
        };
        Some((narrow.central.clone(), h, error))
    }

    /// The pair at twice the step, and what both tell.
    fn trial(&self, narrow: Sides) -> Result<Trial, CurvatureError> {
        let h = narrow.step;
        let wide = self.sides(2.0 * h)?;
        let difference = narrow.central.sub(&wide.central).scale(1.0 / 3.0);
        let truncation = difference.norm();
        let value = narrow.central.add(&difference);
        let size = value.norm();
        let left = wide.bend.axpy(-2.0, &narrow.bend).norm() * 2.0 / 3.0;
        let rounding = narrow.rounding;
        let kinks = if left <= 2.0 * rounding { 0.0 } else { left };
        let relative = |x: f64| if size > 0.0 { x / size } else { 0.0 };
        Ok(Trial {
            smooth: Smooth {
                bend: relative(narrow.bend.norm()) / h,
                truncation: relative(truncation) / (h * h),
            },
            value,
            size,
            step: h,
            error: ErrorEstimate {
                truncation: Some(truncation),
                rounding: Some(rounding),
                kinks: Some(kinks),
            },
        })
    }

    fn good(&self, trial: &Trial) -> bool {
        let rounding = trial.error.rounding.unwrap_or(0.0);
        let goal = GOAL * self.hessian.stepper.scale() * trial.size;
        trial.total() <= goal.max(4.0 * rounding)
    }

    fn search(&self, first: Trial) -> Result<Trial, CurvatureError> {
        let stepper = &self.hessian.stepper;
        let (start, mut best) = (first.step, first);
        // What burn computes in `f32` inside an `f64` model is a staircase: constant, and smooth to
        // all appearance, between numbers of `f32`. Only long steps see its slope, and they agree
        // with one another as no steps across a kink would.
        if stepper.scale() < 0.1 {
            let trial = self.trial(self.sides(start / stepper.scale())?)?;
            if trial.total() <= SINGLE * trial.size && trial.total() < 0.1 * best.total() {
                return Ok(trial);
            }
        }
        let rounding = best.error.rounding.unwrap_or(0.0) * start;
        let [shorter, longer] = TRIES;
        let mut h = start;
        for _ in 0..shorter {
            h /= STRIDE;
            // Rounding grows as the step shrinks, and soon costs more than there is to gain.
            if h < stepper.spacing() || rounding / h > 0.5 * best.total() {
                break;
            }
            let trial = self.trial(self.sides(h)?)?;
            if trial.total() < best.total() {
                best = trial;
            }
            if self.good(&best) {
                return Ok(best);
            }
        }
        h = start;
        for _ in 0..longer {
            h *= STRIDE;
            if h > stepper.farthest() {
                break;
            }
            let trial = self.trial(self.sides(h)?)?;
            if trial.total() < best.total() {
                best = trial;
            }
            if self.good(&best) {
                break;
            }
        }
        Ok(best)
    }

    fn finished(&self, trial: Trial) -> (ParamVec, f64, ErrorEstimate) {
        let evidence = &self.hessian.evidence;
        let doubtful = trial.total() > DOUBTFUL * trial.size;
        if doubtful && !evidence.warned.replace(true) {
            tracing::warn!(
                error = trial.total(),
                product = trial.size,
                step = trial.step,
                "a Hessian product by finite differences may be off by more than a tenth: the loss \
                 has kinks (ReLU, max pooling) or noise within every step. Hand the batch over \
                 (`Batched`, `SupervisedBatch`) for exact products, or use `GaussNewton`"
            );
        }
        (trial.value, trial.step, trial.error)
    }
}
