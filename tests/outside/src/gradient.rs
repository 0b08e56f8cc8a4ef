use osculate_optim::{
    GradientContext, GradientPoint, GradientSource, StepErrorCause, TakenGradient, VectorField,
};

/// The gradient a step ahead, along minus the gradient of the step before (Popov's extragradient).
///
/// A distance of 0 is the optimizer itself.
///
/// - Cost: 2 gradient evaluations a step.
/// - State: 1 element for each parameter element.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PastExtragradient {
    /// How far, in units of the gradient.
    pub distance: f64,
}

impl GradientSource for PastExtragradient {
    fn name(&self) -> &'static str {
        "past-extragradient"
    }

    fn fields(&self) -> &'static [VectorField] {
        const { &[VectorField::own("past")] }
    }

    fn take(&self, context: &mut GradientContext<'_>) -> Result<TakenGradient, StepErrorCause> {
        let past = context.state.vector("past")?.clone();
        let gradient = context.gradient_at(&past.scale(-self.distance))?;
        // What is left out of the step keeps the gradient that it had.
        let kept = match context.finite() {
            Some(finite) => gradient.where_finite(&finite, &past),
            None => gradient.clone(),
        };
        context.state.put("past", kept)?;
        Ok(TakenGradient {
            gradient,
            point: GradientPoint::LastEvaluated,
            refreshed: None,
        })
    }
}
