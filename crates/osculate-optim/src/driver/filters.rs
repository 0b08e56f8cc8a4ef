//! What the filters leave of a gradient.

use burn::module::Module;
use osculate_curvature::ParamVec;

use super::Driver;
use super::context::StepContext;
use super::error::StepErrorCause;
use crate::filter::FilterContext;
use crate::gradient::Evaluations;
use crate::parameter::Parameter;

impl Driver {
    /// Passes a gradient through the filters, the innermost first.
    pub(super) fn filtered<M: Module>(
        &self,
        context: &mut StepContext<'_, M>,
        gradient: ParamVec,
    ) -> Result<ParamVec, StepErrorCause> {
        if self.filters.is_empty() {
            return Ok(gradient);
        }
        let terms = context.oracle().objective().supervised_terms();
        let weights = context.oracle().parameters()?.clone();
        let assigned = self.assignment.positions(weights.layout().entries())?;
        let parameters = assigned.into_iter().map(|at| self.assignment.at(at));
        let parameters: Vec<Parameter> = parameters.map(|at| at.parameter.clone()).collect();
        let at = FilterContext {
            parameters: &parameters,
            weights: &weights,
        };
        let mut left = gradient;
        for filter in &self.filters {
            let mut criteria = terms.iter().map(|term| term.criterion());
            let refused = criteria.find_map(|own| Some((own.name(), filter.refuses(own)?)));
            if let Some((criterion, expected)) = refused {
                return Err(StepErrorCause::Criterion {
                    filter: filter.name(),
                    criterion,
                    expected,
                });
            }
            let filtered = filter.filter(&at, &left)?;
            let layout = left.layout().clone();
            layout.check(filtered.layout())?;
            left = context.accept_combined(filtered)?;
        }
        Ok(left)
    }
}
