//! Whether a recording is the function that is trained.

use burn::module::Module;
use burn::tensor::DType;
use osculate_jvp::AnyTensor;

use super::replay::{Recorded, Replay};
use super::step::epsilon;
use crate::error::CurvatureError;
use crate::oracle::{Evaluation, GradientOracle};
use crate::params::ParamVec;

/// Lengths of the second look's step from the weights, relative to them.
const AWAY: [f64; 2] = [0.0625, 0.001];
const CHECK_SEED: u64 = 0x5245_434F_5244;
const AWAY_SEED: u64 = 0x4157_4159;

/// A value and a slope along a direction.
pub(super) type FirstOrder = [f64; 2];

impl Replay {
    /// Compares the loss and its derivative along a random direction with the clean pass, once.
    pub(super) fn check<M: Module>(
        &self,
        oracle: &GradientOracle<'_, M>,
    ) -> Result<(), CurvatureError> {
        if self.checked.get() {
            return Ok(());
        }
        let v = ParamVec::gaussian(&self.layout, CHECK_SEED);
        let recorded = self.first_order(oracle, &v)?;
        self.compare(oracle, &v, recorded)
    }

    /// Compares what was recorded with the clean pass, and away from the weights where the clean
    /// pass cannot tell.
    ///
    /// Slopes are compared relative to the gradient. Near a minimum the gradient is what rounding
    /// leaves of sums that cancel, and two evaluations of one function differ by as much as it: a
    /// slope that differs decides nothing unless it differs at other weights too, where the
    /// gradient does not vanish.
    pub(super) fn compare<M: Module>(
        &self,
        oracle: &GradientOracle<'_, M>,
        v: &ParamVec,
        recorded: FirstOrder,
    ) -> Result<(), CurvatureError> {
        let clean = oracle.clean()?;
        match self.difference(oracle, clean, v, recorded) {
            None => {}
            Some(different) if different.what == SLOPE && different.finite() => {
                self.compare_away(oracle, v, different)?;
            }
            Some(different) => return Err(different.into_error()),
        }
        self.checked.set(true);
        Ok(())
    }

    /// Compares at weights a step away. `here` is what the clean pass found.
    fn compare_away<M: Module>(
        &self,
        oracle: &GradientOracle<'_, M>,
        v: &ParamVec,
        here: Difference,
    ) -> Result<(), CurvatureError> {
        let offset = ParamVec::gaussian(&self.layout, AWAY_SEED);
        let elements = (self.layout.num_elements() as f64).sqrt().max(1.0);
        let size = (oracle.parameters()?.norm() / elements).max(1e-2);
        for relative in AWAY {
            let scale = relative * size;
            let there = oracle.evaluate_at(&offset, scale)?;
            let recorded = self.at(oracle, &offset, scale)?.first_order(oracle, v)?;
            let expected = v.to_compute_dtype().dot(&there.gradient.to_compute_dtype());
            if !expected.is_finite() || !recorded[1].is_finite() {
                continue;
            }
            return match self.difference(oracle, &there, v, recorded) {
                None => Ok(()),
                Some(_) => Err(here.into_error()),
            };
        }
        Err(here.into_error())
    }

    /// Value and slope of the recorded loss.
    fn first_order<M: Module>(
        &self,
        oracle: &GradientOracle<'_, M>,
        v: &ParamVec,
    ) -> Result<FirstOrder, CurvatureError> {
        if self.recorded == Recorded::Loss {
            let pieces = self.along(oracle, v)?.into_iter();
            return Ok(
                pieces.fold([0.0; 2], |[value, slope], (weight, loss, tangent)| {
                    [
                        value + weight * scalar(loss),
                        slope + weight * scalar(tangent),
                    ]
                }),
            );
        }
        let criterion = oracle.supervised("an exact Jacobian product")?.criterion();
        let (outputs, jv) = self.outputs_along(oracle, v)?;
        let rows = outputs.dims()[0].max(1) as f64;
        let loss = criterion.loss(outputs.clone())?;
        let slope = (criterion.row_gradients(outputs) * jv)
            .sum()
            .div_scalar(rows);
        Ok([loss, slope].map(|number| scalar(number.into())))
    }

    /// What of a recording differs from an evaluation.
    fn difference<M: Module>(
        &self,
        oracle: &GradientOracle<'_, M>,
        evaluation: &Evaluation,
        v: &ParamVec,
        [value, slope]: FirstOrder,
    ) -> Option<Difference> {
        let loss = scalar(evaluation.loss.clone().into());
        let gradient = evaluation.gradient.to_compute_dtype();
        let expected = v.to_compute_dtype().dot(&gradient);
        // A random direction meets the gradient with the gradient's own length. Other functions
        // are far above the tolerance, and rounding is far below it; so are backward passes that
        // burn approximates or computes in `f32` on some backends.
        let tolerance = (1e3 * epsilon(&self.layout)).clamp(1e-3, 0.1);
        let size = gradient.norm() * v.norm() / (self.layout.num_elements() as f64).sqrt().max(1.0);
        // An objective that hands out gradients has no loss to compare.
        let has_loss = oracle.objective().gradient().is_none();
        let pairs = [
            (LOSS, value, loss, loss.abs().max(1e-3)),
            (SLOPE, slope, expected, size),
        ];
        let compared = pairs.into_iter().filter(|pair| has_loss || pair.0 == SLOPE);
        compared
            .map(|(what, recorded, clean, size)| {
                // What is not finite in either cannot be compared and is not hidden by it.
                let differs = (recorded - clean).abs() > tolerance * size
                    || recorded.is_finite() != clean.is_finite();
                let difference = Difference {
                    what,
                    recorded,
                    clean,
                };
                (differs, difference)
            })
            .find_map(|(differs, difference)| differs.then_some(difference))
    }
}

const LOSS: &str = "loss";
const SLOPE: &str = "slope along a random direction";

struct Difference {
    what: &'static str,
    recorded: f64,
    clean: f64,
}

impl Difference {
    fn finite(&self) -> bool {
        self.recorded.is_finite() && self.clean.is_finite()
    }

    fn into_error(self) -> CurvatureError {
        CurvatureError::NotReproduced {
            what: self.what,
            recorded: self.recorded,
            clean: self.clean,
        }
    }
}

/// The element of a tensor of one element. One read-back.
pub(super) fn scalar(tensor: AnyTensor) -> f64 {
    let flat = tensor.float_reshaped([1]).cast(DType::F64);
    flat.into_data().iter::<f64>().sum()
}
