//! Adam, for blocks without a factor.

use burn::tensor::{DType, Tensor};

use super::settings::KlSettings;
use crate::engine::{Field, RuleError, Stack, Stepped};
use crate::optimizers::kronecker::ema;

/// The state tensors of a block without a factor. `bias` holds the moving averages of the constant 1
/// by which the moments are divided.
pub(super) fn adam_fields(dims: &[usize], compute: DType) -> Vec<Field> {
    let n = dims.iter().product();
    vec![
        Field::new("m", n, compute),
        Field::new("v", n, compute),
        Field::new("bias", 2, compute),
    ]
}

/// A step of Adam.
pub(super) fn adam_step(
    settings: &KlSettings,
    stack: &mut Stack<'_>,
) -> Result<Stepped, RuleError> {
    let gradient = &stack.gradient;
    let m = ema(stack.state.take("m")?, gradient.clone(), settings.beta_1);
    let squares = gradient.clone().square();
    let v = ema(stack.state.take("v")?, squares, settings.beta_2);
    let bias = stack.state.take("bias")?;
    let column = |at, beta| {
        let old = bias.clone().narrow(1, at, 1);
        let one = old.ones_like();
        ema(old, one, beta)
    };
    let (m_bias, v_bias) = (column(0, settings.beta_1), column(1, settings.beta_2));
    let root = (v.clone() / v_bias.clone())
        .sqrt()
        .add_scalar(settings.epsilon);
    let direction = m.clone() / m_bias.clone() / root;
    stack.state.put("m", m)?;
    stack.state.put("v", v)?;
    let bias = Tensor::cat(vec![m_bias, v_bias], 1);
    stack.state.put("bias", bias)?;
    Ok(Stepped::along(direction))
}
