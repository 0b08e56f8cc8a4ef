//! The curvature of a step.

use burn::module::Module;
use osculate_curvature::{FiniteFlags, ParamVec};

use super::Driver;
use super::context::StepContext;
use super::error::StepErrorCause;
use super::report::SkipReason;
use crate::curvature::{CurvatureContext, CurvatureEstimate, Found};
use crate::gradient::GradientPoint;

/// An estimate that a part asked for.
#[derive(Clone)]
pub(super) struct Estimated {
    pub estimate: CurvatureEstimate,
    pub flags: Option<FiniteFlags>,
}

impl Driver {
    /// The curvature that a part asks for, at the point where the gradient was taken.
    pub(super) fn estimate<M: Module>(
        &mut self,
        part: usize,
        context: &mut StepContext<'_, M>,
        point: GradientPoint,
        gradient: &ParamVec,
        found: &mut Found,
        shared: &mut Option<Estimated>,
    ) -> Result<Option<Estimated>, StepErrorCause> {
        let Some(update) = self.updates().nth(part) else {
            return Ok(None);
        };
        if !update.wants_curvature(self.steps) {
            return Ok(None);
        }
        // The driver's source is one for all parts, and so is what it estimates.
        let one = self.curvature.is_some();
        if one && shared.is_some() {
            return Ok(shared.clone());
        }
        let source = self.curvature.clone().or_else(|| update.curvature_source());
        let Some(source) = source else {
            return Ok(None);
        };
        let (products, steps) = (&self.products, self.steps);
        let estimate = context.at(point, |oracle| {
            let mut at =
                CurvatureContext::new(oracle, products, steps).with_step_gradient(gradient);
            let estimate = source.estimate(&mut at)?;
            found.update(at.found());
            Ok(estimate)
        })?;
        let value = estimate.value().clone();
        context.gradient().layout().check(value.layout())?;
        let flags = match context.looks() {
            true => context.check(SkipReason::Curvature, value.finite_flags())?,
            false => None,
        };
        let estimate = match &flags {
            None => estimate,
            Some(flags) => estimate.with_value(value.zero_where_not(flags)),
        };
        let estimated = Estimated { estimate, flags };
        if one {
            *shared = Some(estimated.clone());
        }
        Ok(Some(estimated))
    }
}
