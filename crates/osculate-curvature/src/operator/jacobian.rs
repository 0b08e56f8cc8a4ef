//! `J v`, the derivative of the outputs along a direction of the parameters.

use std::cell::OnceCell;
use std::sync::Arc;

use burn::module::Module;
use burn::tensor::Tensor;

use super::fallback::{Attempts, HvpMode};
use super::ggn::outputs_around;
use super::replay::{Recorded, Replay};
use super::step::{Stepper, finite_norm};
use super::{ErrorEstimate, Provenance};
use crate::error::CurvatureError;
use crate::oracle::GradientOracle;
use crate::params::{ParamLayout, ParamVec};

/// The Jacobian of the outputs: exact where they can be recorded.
pub(super) struct Jacobian {
    mode: HvpMode,
    replay: OnceCell<Replay>,
    attempts: Attempts,
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
            attempts: Attempts::default(),
            stepper: Stepper::new(layout, finite_norm(oracle.parameters()?), 1.0 / 3.0),
        })
    }

    pub(super) fn fallback(&self) -> Option<&str> {
        self.attempts.reason()
    }

    /// `J v` for a direction of this norm, and how it was made.
    pub(super) fn product<M: Module>(
        &self,
        oracle: &GradientOracle<'_, M>,
        v: &ParamVec,
        norm: f64,
    ) -> Result<(Tensor<2>, Provenance), CurvatureError> {
        let exact = self.attempts.attempt(self.mode, || self.exact(oracle, v))?;
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
        let replay = match self.replay.get() {
            Some(replay) => replay,
            None => {
                let accept = |replay: &Replay| replay.check(oracle);
                let (replay, ()) = Replay::find(oracle, &self.attempts, Recorded::Outputs, accept)?;
                self.replay.get_or_init(|| replay)
            }
        };
        Ok(replay.outputs_along(oracle, v)?.1)
    }

    /// `J^T u`, by the recording where `J v` is made by it: burn's own backward passes are
    /// approximations on some backends.
    pub(super) fn pull_back<M: Module>(
        &self,
        oracle: &GradientOracle<'_, M>,
        layout: &Arc<ParamLayout>,
        cotangent: Tensor<2>,
    ) -> Result<ParamVec, CurvatureError> {
        let made = match self.replay.get() {
            Some(replay) => replay.pull_back(oracle, cotangent)?,
            None => oracle.pull_back(layout, |outputs| Ok((outputs * cotangent).sum()))?,
        };
        Ok(made.to_compute_dtype())
    }
}
