//! `J v`, the derivative of the outputs along a direction of the parameters.

use std::cell::OnceCell;

use burn::module::Module;
use burn::tensor::Tensor;

use super::ggn::{clean_outputs, outputs_around};
use super::replay::{HvpFallback, HvpMode, Replay, TANGENT};
use super::step::Stepper;
use super::{ErrorEstimate, Provenance};
use crate::error::CurvatureError;
use crate::oracle::GradientOracle;
use crate::params::{ParamLayout, ParamVec};

/// The Jacobian of the outputs: exact where they can be recorded.
pub(super) struct Jacobian {
    mode: HvpMode,
    replay: OnceCell<Replay>,
    fallback: HvpFallback,
    stepper: Stepper,
}

impl Jacobian {
    pub(super) fn new<M: Module>(
        oracle: &GradientOracle<'_, M>,
        layout: &ParamLayout,
        mode: HvpMode,
    ) -> Result<Self, CurvatureError> {
        Ok(Self {
            mode,
            replay: OnceCell::new(),
            fallback: HvpFallback::default(),
            stepper: Stepper::new(layout, oracle.parameters()?.norm(), 1.0 / 3.0),
        })
    }

    pub(super) fn fallback(&self) -> Option<&str> {
        self.fallback.reason()
    }

    /// `J v` for a direction of this norm, and how it was made.
    pub(super) fn product<M: Module>(
        &self,
        oracle: &GradientOracle<'_, M>,
        v: &ParamVec,
        norm: f64,
    ) -> Result<(Tensor<2>, Provenance), CurvatureError> {
        let exact = self.fallback.attempt(self.mode, || self.exact(oracle, v))?;
        if let Some(jv) = exact {
            return Ok((jv, Provenance::Exact));
        }
        let ((plus, minus), step) = outputs_around(oracle, &self.stepper, v, norm)?;
        let jv = (plus - minus).mul_scalar(norm / (2.0 * step));
        let error = ErrorEstimate::default();
        Ok((jv, Provenance::FiniteDifference { step, error }))
    }

    fn exact<M: Module>(
        &self,
        oracle: &GradientOracle<'_, M>,
        v: &ParamVec,
    ) -> Result<Tensor<2>, CurvatureError> {
        if let Some(replay) = self.replay.get() {
            return outputs_along(oracle, replay, v);
        }
        let replay = Replay::outputs(oracle)?;
        check(oracle, &replay)?;
        let jv = outputs_along(oracle, &replay, v)?;
        let _ = self.replay.set(replay);
        Ok(jv)
    }
}

fn outputs_along<M: Module>(
    oracle: &GradientOracle<'_, M>,
    replay: &Replay,
    v: &ParamVec,
) -> Result<Tensor<2>, CurvatureError> {
    oracle.reseed();
    oracle.spend(TANGENT);
    let mut jvp = replay.bound.jvp(&[replay.direction(v)])?;
    let tangents = jvp.tangents.pop().unwrap_or_default();
    tangents
        .into_iter()
        .next()
        .map(|tangent| tangent.float::<2>())
        .ok_or(CurvatureError::NotRecordable)
}

/// Compares the loss of the recorded outputs, and its derivative, with the clean pass.
fn check<M: Module>(oracle: &GradientOracle<'_, M>, replay: &Replay) -> Result<(), CurvatureError> {
    let v = ParamVec::gaussian(&oracle.layout()?, 0x4A41_434F);
    let jv = outputs_along(oracle, replay, &v)?;
    let criterion = oracle.supervised("an exact Jacobian product")?.criterion();
    let recorded = replay.bound.evaluate()?.into_iter().next();
    let outputs = match recorded {
        Some(outputs) => outputs.float::<2>(),
        None => clean_outputs(oracle)?,
    };
    let rows = outputs.dims()[0].max(1) as f64;
    let loss = criterion.loss(outputs.clone())?;
    let slope = (criterion.row_gradients(outputs) * jv)
        .sum()
        .div_scalar(rows);
    let recorded = [loss, slope].map(|number| super::replay::scalar(number.into()));
    replay.compare(oracle, &v, recorded)
}
