//! Operations of burn's backward passes, which recorded backward passes are made of. They are
//! evaluated and not differentiated.

use burn_ir::TensorIr;

use crate::context::Context;
use crate::dual::Value;
use crate::error::JvpError;

pub(super) fn two(
    cx: &mut Context<'_>,
    [a, b, out]: [&TensorIr; 3],
    f: impl FnOnce(Value, Value) -> Value,
) -> Result<(), JvpError> {
    let (a, b) = (cx.value(a)?, cx.value(b)?);
    cx.set_value(out, f(a, b))
}

pub(super) fn three(
    cx: &mut Context<'_>,
    [a, b, c, out]: [&TensorIr; 4],
    f: impl FnOnce(Value, Value, Value) -> Value,
) -> Result<(), JvpError> {
    let (a, b, c) = (cx.value(a)?, cx.value(b)?, cx.value(c)?);
    cx.set_value(out, f(a, b, c))
}
