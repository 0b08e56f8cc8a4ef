use super::{GradientContext, GradientPoint, GradientSource, TakenGradient};
use crate::driver::StepErrorCause;

/// The gradient at the weights themselves: what every optimizer starts with.
///
/// ```
/// use osculate_optim::{Clean, GradientSource};
/// assert_eq!(Clean.name(), "clean");
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct Clean;

impl GradientSource for Clean {
    fn name(&self) -> &'static str {
        "clean"
    }

    fn take(&self, context: &mut GradientContext<'_>) -> Result<TakenGradient, StepErrorCause> {
        Ok(TakenGradient {
            gradient: context.gradient().clone(),
            point: GradientPoint::Weights,
            refreshed: None,
        })
    }
}
