use burn::tensor::Tensor;
use osculate_optim::{RuleError, StepSize, StepSizeContext};

/// Shorter steps after the loss has risen: `1 / (1 + strength r)` with the relative rise
/// `r = max(0, (l - l_before) / |l_before|)`, at most 1e6.
///
/// A strength of 0 is the given rate.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AfterRise {
    /// How much shorter.
    pub strength: f64,
}

impl StepSize for AfterRise {
    fn name(&self) -> &'static str {
        "after-rise"
    }

    fn scalars(&self) -> &'static [&'static str] {
        &["loss", "started"]
    }

    fn factor(&self, context: &mut StepSizeContext<'_>) -> Result<Tensor<1>, RuleError> {
        let (before, started) = (
            context.state.scalar("loss")?,
            context.state.scalar("started")?,
        );
        let loss = context.loss.clone();
        let heard = loss.clone().is_finite();
        let rise = (loss.clone() - before.clone()) / before.abs().add_scalar(1e-30);
        let rise = rise
            .clamp(0.0, 1e6)
            .mask_fill(heard.clone().bool_not(), 0.0);
        let rise = rise.mask_fill(started.clone().equal_elem(0.0), 0.0);
        context.state.put_scalar("loss", loss)?;
        context
            .state
            .put_scalar("started", started.clone().mask_fill(heard, 1.0))?;
        Ok(rise.mul_scalar(self.strength).add_scalar(1.0).recip())
    }
}
