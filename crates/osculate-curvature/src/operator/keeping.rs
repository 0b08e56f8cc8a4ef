//! What does not depend on the direction, computed once for all products at one point.

use std::cell::{Cell, OnceCell};

use burn::module::Module;
use osculate_jvp::{Bound, JvpError, KeptHessian, KeptJacobian, KeptMemory, Wrt};

use super::replay::Replay;
use crate::cost::Cost;
use crate::error::CurvatureError;
use crate::oracle::GradientOracle;

/// Largest memory of kept products, in units of a gradient's.
pub(super) const KEEP_WITHIN: f64 = 3.0;
/// From so many directions at once, what they share is computed for them. Fewer cost less one by
/// one, unless there were products before.
pub(super) const AT_ONCE: usize = 3;

/// Values, and the gradients of all but the weights.
const KEEP_HESSIAN: Cost = Cost {
    forwards: 2,
    backwards: 0,
};
/// Of a product of two factors on the tape: two products of the tangent, four of the backward pass.
pub(super) const KEPT_PRODUCT: Cost = Cost {
    forwards: 2,
    backwards: 2,
};
pub(super) const KEPT_TANGENT: Cost = Cost {
    forwards: 2,
    backwards: 0,
};
pub(super) const KEPT_PULL_BACK: Cost = Cost {
    forwards: 0,
    backwards: 1,
};

/// What a recording at one point keeps.
#[derive(Default)]
pub(super) struct Keeping {
    /// How many products were made, or asked for.
    asked: Cell<usize>,
    hessians: OnceCell<Option<Kept<KeptHessian>>>,
    jacobians: OnceCell<Option<Kept<KeptJacobian>>>,
}

struct Kept<T> {
    /// One for each batch.
    pieces: Vec<T>,
    memory: KeptMemory,
}

impl Keeping {
    /// What is kept of the outputs' Jacobian.
    pub(super) fn jacobians(&self) -> Option<&[KeptJacobian]> {
        let kept = self.jacobians.get()?.as_ref()?;
        Some(&kept.pieces)
    }

    /// What is kept takes so much.
    pub(super) fn memory(&self) -> Option<KeptMemory> {
        let hessians = self.hessians.get().and_then(Option::as_ref);
        let jacobians = self.jacobians.get().and_then(Option::as_ref);
        hessians
            .map(|kept| kept.memory)
            .or(jacobians.map(|kept| kept.memory))
    }

    /// Counts `wanted` products, and says whether they are worth keeping something for.
    fn pays(&self, wanted: usize) -> bool {
        let before = self.asked.replace(self.asked.get() + wanted);
        before > 0 || wanted >= AT_ONCE
    }
}

/// Refuses settings that are no number of gradients.
pub(super) fn validate(within: f64) -> Result<(), CurvatureError> {
    CurvatureError::check(
        within >= 0.0,
        "keep_within",
        within,
        "a number of gradients, 0 to keep nothing",
    )
}

impl Replay {
    /// What all Hessian products at this point share, where `wanted` more pay for it and memory
    /// allows it.
    pub(super) fn kept_hessians<M: Module>(
        &self,
        oracle: &GradientOracle<'_, M>,
        wanted: usize,
        within: f64,
    ) -> Option<&[KeptHessian]> {
        if !self.keeping.pays(wanted) || within == 0.0 {
            return None;
        }
        let keep = || {
            self.keep(
                oracle,
                within,
                KEEP_HESSIAN,
                |bound| {
                    let plan = bound.program().hessian_plan(Wrt::Parameters)?;
                    Ok((plan.memory(), plan))
                },
                |bound, plan| bound.keep_hessian(plan),
            )
        };
        let kept = self.keeping.hessians.get_or_init(keep).as_ref()?;
        Some(&kept.pieces)
    }

    /// What all products with the outputs' Jacobian at this point share, likewise.
    pub(super) fn kept_jacobians<M: Module>(
        &self,
        oracle: &GradientOracle<'_, M>,
        wanted: usize,
        within: f64,
    ) -> Option<&[KeptJacobian]> {
        if !self.keeping.pays(wanted) || within == 0.0 {
            return None;
        }
        let keep = || {
            self.keep(
                oracle,
                within,
                Cost::FORWARD,
                |bound| {
                    let plan = bound.program().jacobian_plan(Wrt::Parameters)?;
                    Ok((plan.memory(), plan))
                },
                |bound, plan| bound.keep_jacobian(plan),
            )
        };
        let kept = self.keeping.jacobians.get_or_init(keep).as_ref()?;
        Some(&kept.pieces)
    }

    fn keep<M: Module, P, T>(
        &self,
        oracle: &GradientOracle<'_, M>,
        within: f64,
        price: Cost,
        plan: impl Fn(&Bound) -> Result<(KeptMemory, P), JvpError>,
        make: impl Fn(&Bound, &P) -> Result<T, JvpError>,
    ) -> Option<Kept<T>> {
        let attempt = || {
            let bounds = self.pieces.iter().map(|piece| &piece.bound);
            let plans = bounds.clone().map(plan).collect::<Result<Vec<_>, _>>()?;
            let memory = total(plans.iter().map(|(memory, _)| *memory));
            let allowed = memory.peak as f64 <= within * memory.gradient as f64;
            tracing::debug!(?memory, allowed, "products with shared parts");
            if !allowed {
                return Ok(None);
            }
            let pieces = bounds.zip(&plans).map(|(bound, (_, plan))| {
                oracle.spend(price);
                make(bound, plan)
            });
            Ok(Some(Kept {
                pieces: pieces.collect::<Result<_, JvpError>>()?,
                memory,
            }))
        };
        attempt().unwrap_or_else(|error: JvpError| {
            tracing::debug!(%error, "nothing is kept from product to product");
            None
        })
    }
}

/// The memory of all batches: what is kept adds up, what is used in between does not.
fn total(pieces: impl Iterator<Item = KeptMemory>) -> KeptMemory {
    let mut sum = KeptMemory {
        kept: 0,
        peak: 0,
        gradient: 0,
    };
    let mut beyond = 0;
    for piece in pieces {
        sum.kept += piece.kept;
        beyond = beyond.max(piece.peak - piece.kept);
        sum.gradient = sum.gradient.max(piece.gradient);
    }
    sum.peak = sum.kept + beyond;
    sum
}
