use osculate_curvature::ParamVec;
use osculate_optim::{RuleError, VectorField, VectorRule, VectorStep};

/// Momentum over the averaged length of the gradients of the whole model.
///
/// ```text
/// m = 0.9 m + g
/// s = 0.9 s + |g|
/// u = m / (s + 1e-12)
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Normalised;

const DECAY: f64 = 0.9;

impl VectorRule for Normalised {
    fn name(&self) -> &'static str {
        "normalised"
    }

    fn fields(&self) -> &'static [VectorField] {
        const { &[VectorField::wide("momentum")] }
    }

    fn scalars(&self) -> &'static [&'static str] {
        &["length"]
    }

    fn step(&self, step: &mut VectorStep<'_>) -> Result<ParamVec, RuleError> {
        let momentum = step
            .state
            .vector("momentum")?
            .scale(DECAY)
            .add(step.gradient);
        let old = step.state.scalar("length")?;
        let length = step.gradient.norm_on_device().to_device(&old.device());
        let length = old.clone().mul_scalar(DECAY) + length.cast(old.dtype());
        step.state.put("momentum", momentum.clone())?;
        step.state.put_scalar("length", length.clone())?;
        Ok(momentum.scale_by(&length.add_scalar(1e-12).recip()))
    }
}
