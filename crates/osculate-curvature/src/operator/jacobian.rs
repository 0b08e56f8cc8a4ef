//! `J v`, the derivative of the outputs along a direction of the parameters.

use std::cell::{Cell, OnceCell};
use std::sync::Arc;

use burn::module::Module;
use burn::tensor::Tensor;
use osculate_jvp::KeptMemory;

use super::fallback::{Attempts, HvpFallback, HvpMode, is_recoverable};
use super::ggn::{checked_norm, clean_outputs, is_zero, outputs_around};
use super::keeping::{AT_ONCE, KEEP_WITHIN, KEPT_PULL_BACK, KEPT_TANGENT};
use super::replay::{Recorded, Replay};
use super::step::{Stepper, finite_norm};
use super::{ErrorEstimate, Product, Provenance};
use crate::cost::Cost;
use crate::error::CurvatureError;
use crate::oracle::GradientOracle;
use crate::params::{ParamLayout, ParamVec};
use crate::solve::FactorProduct;

/// The Jacobian of the outputs: exact where they can be recorded.
pub(super) struct Jacobian {
    mode: HvpMode,
    replay: OnceCell<Replay>,
    attempts: Attempts,
    stepper: Stepper,
    /// Largest memory of kept products, in units of a gradient's.
    pub(super) keep_within: f64,
    /// Whether there were transposed products alone.
    pulled_back: Cell<bool>,
    /// Whether they found that there is no recording.
    unrecordable: Cell<bool>,
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
            keep_within: KEEP_WITHIN,
            pulled_back: Cell::new(false),
            unrecordable: Cell::new(false),
        })
    }

    pub(super) fn sharing(self, fallback: HvpFallback) -> Self {
        Self {
            attempts: Attempts::sharing(fallback),
            ..self
        }
    }

    pub(super) fn fallback(&self) -> Option<&str> {
        self.attempts.reason()
    }

    /// `J v` for a direction that is not zero, and how it was made.
    pub(super) fn product<M: Module>(
        &self,
        oracle: &GradientOracle<'_, M>,
        v: &ParamVec,
    ) -> Result<(Tensor<2>, Provenance), CurvatureError> {
        let exact = self.attempts.attempt(self.mode, || self.exact(oracle, v))?;
        if let Some(jv) = exact {
            return Ok((jv, Provenance::Exact));
        }
        let norm = checked_norm(v)?;
        let ((plus, minus), step) = outputs_around(oracle, &self.stepper, v, norm)?;
        let jv = (plus - minus).mul_scalar(norm / (2.0 * step));
        let error = ErrorEstimate::default();
        let provenance = Provenance::FiniteDifference {
            step,
            error,
            reason: self.attempts.kind(self.mode),
        };
        Ok((jv, provenance))
    }

    fn exact<M: Module>(
        &self,
        oracle: &GradientOracle<'_, M>,
        v: &ParamVec,
    ) -> Result<Tensor<2>, CurvatureError> {
        let replay = self.recorded(oracle)?;
        if let Some(kept) = replay.kept_jacobians(oracle, 1, self.keep_within) {
            let made = replay
                .kept_along(oracle, kept, core::slice::from_ref(v))?
                .pop();
            return made.ok_or(CurvatureError::NotRecordable);
        }
        Ok(replay.outputs_along(oracle, v)?.1)
    }

    /// The recording, made and checked at its first use.
    fn recorded<M: Module>(
        &self,
        oracle: &GradientOracle<'_, M>,
    ) -> Result<&Replay, CurvatureError> {
        if let Some(replay) = self.replay.get() {
            return Ok(replay);
        }
        let accept = |replay: &Replay| replay.check(oracle);
        let (replay, ()) = Replay::find(oracle, &self.attempts, Recorded::Outputs, accept)?;
        Ok(self.replay.get_or_init(|| replay))
    }

    /// How many products are best asked for at once.
    pub(super) fn width(&self) -> usize {
        match (self.attempts.reason(), self.replay.get()) {
            (None, Some(replay)) if self.keep_within > 0.0 => replay.width(),
            _ => 1,
        }
    }

    /// What is kept from product to product takes so much.
    pub(super) fn kept(&self) -> Option<KeptMemory> {
        self.replay.get()?.keeping.memory()
    }

    /// `J^T M J v` for each vector, side by side, where `M` maps the outputs and `J v` to a cotangent.
    /// `None` where products must be made one by one.
    pub(super) fn squares<M: Module>(
        &self,
        oracle: &GradientOracle<'_, M>,
        layout: &Arc<ParamLayout>,
        vectors: &[ParamVec],
        middle: impl Fn(&Tensor<2>, Tensor<2>) -> Tensor<2>,
    ) -> Result<Option<Vec<Product>>, CurvatureError> {
        for v in vectors {
            layout.check(v.layout())?;
            is_zero(v)?;
        }
        let before = oracle.cost();
        let outputs = clean_outputs(oracle)?;
        let replay = self.attempts.attempt(self.mode, || self.recorded(oracle))?;
        let Some(replay) = replay else {
            return Ok(None);
        };
        let Some(kept) = replay.kept_jacobians(oracle, vectors.len(), self.keep_within) else {
            return Ok(None);
        };
        let shared = oracle.cost().since(before);
        let tangents = replay.kept_along(oracle, kept, vectors)?.into_iter();
        let cotangents: Vec<Tensor<2>> = tangents.map(|jv| middle(&outputs, jv)).collect();
        let values = replay.pull_back(oracle, &cotangents)?.into_iter();
        let each: Cost = kept.iter().map(|_| KEPT_TANGENT + KEPT_PULL_BACK).sum();
        let products = values.enumerate().map(|(index, value)| Product {
            value: value.to_compute_dtype(),
            cost: if index == 0 { each + shared } else { each },
            provenance: Provenance::Exact,
        });
        Ok(Some(products.collect()))
    }

    /// `J^T u` for each of several, and for more to come: from the second call on, or for [`AT_ONCE`] at once, by a
    /// recording that keeps what they share, where there can be one.
    pub(super) fn pull_back_again<M: Module>(
        &self,
        oracle: &GradientOracle<'_, M>,
        layout: &Arc<ParamLayout>,
        cotangents: &[Tensor<2>],
    ) -> Result<Vec<FactorProduct<ParamVec>>, CurvatureError> {
        let mut before = oracle.cost();
        let repeated = self.pulled_back.replace(true) || cotangents.len() >= AT_ONCE;
        let Some(replay) = self.recorded_quietly(oracle, repeated)? else {
            let each = cotangents.iter().map(|cotangent| {
                let value = self.pull_back(oracle, layout, cotangent.clone())?;
                let cost = oracle.cost().since(before);
                before = oracle.cost();
                Ok(FactorProduct { value, cost })
            });
            return each.collect();
        };
        if replay.keeping.jacobians().is_none() {
            // Keeping and one product cost as much as one product alone.
            replay.kept_jacobians(oracle, cotangents.len().max(AT_ONCE), self.keep_within);
        }
        let shared = oracle.cost().since(before);
        let own = replay.price_of_pull_back();
        let values = replay.pull_back(oracle, cotangents)?.into_iter();
        let products = values.enumerate().map(|(index, value)| FactorProduct {
            value: value.to_compute_dtype(),
            cost: if index == 0 { shared + own } else { own },
        });
        Ok(products.collect())
    }

    /// The recording, made where it is wanted. `None` where there is none: a tape's backward pass is exact too, so
    /// that nothing is to be told.
    fn recorded_quietly<M: Module>(
        &self,
        oracle: &GradientOracle<'_, M>,
        wanted: bool,
    ) -> Result<Option<&Replay>, CurvatureError> {
        let known = self.replay.get();
        let refused = self.unrecordable.get() || self.attempts.reason().is_some();
        if known.is_some() || !wanted || refused || self.mode == HvpMode::FiniteDifference {
            return Ok(known);
        }
        match self.recorded(oracle) {
            Ok(replay) => Ok(Some(replay)),
            Err(error) if is_recoverable(&error) => {
                tracing::debug!(%error, "transposed products share nothing");
                self.unrecordable.set(true);
                Ok(None)
            }
            Err(error) => Err(error),
        }
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
            Some(replay) => replay.pull_back(oracle, &[cotangent])?.pop(),
            None => Some(oracle.pull_back(layout, |outputs| Ok((outputs * cotangent).sum()))?),
        };
        let made = made.ok_or(CurvatureError::NotRecordable)?;
        Ok(made.to_compute_dtype())
    }
}
