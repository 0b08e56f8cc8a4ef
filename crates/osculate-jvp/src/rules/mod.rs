//! What each operation does to values and tangents.

mod activation;
mod attention;
mod backward;
mod base;
mod boolean;
mod convolution;
mod float;
mod grid_sample;
mod integer;
mod integer_base;
mod interpolation;
mod module;
mod normalization;
mod numeric;
mod pooling;
mod product;
mod selection;
mod table;
mod update;

pub use table::{Rule, Status, rules};

use burn_ir::OperationIr;

use crate::context::Context;
use crate::detach::{DETACH, detached};
use crate::error::JvpError;

/// Writes one family of operations as a table: from it come the match that applies the rules and
/// the entries that [`rules`] lists, so that neither can miss an operation of the other.
macro_rules! rule_table {
    ($family:literal, $operations:ident, |$cx:ident| {
        $($variant:ident($op:pat) $status:ident $formula:literal => $body:expr;)*
    }) => {
        pub(in crate::rules) const RULES: &[$crate::rules::Rule] = &[$(
            $crate::rules::Rule {
                operation: concat!($family, "::", stringify!($variant)),
                status: $crate::rules::Status::$status,
                tangent: $formula,
            },
        )*];

        pub(in crate::rules) fn rule(operation: &$operations) -> &'static $crate::rules::Rule {
            let name = match operation {
                $($operations::$variant(_) => concat!($family, "::", stringify!($variant)),)*
            };
            $crate::rules::table::find(RULES, name)
        }

        pub(in crate::rules) fn apply(
            operation: &$operations,
            $cx: &mut $crate::context::Context<'_>,
        ) -> Result<(), $crate::error::JvpError> {
            match operation {
                $($operations::$variant($op) => $body,)*
            }
        }
    };
}
pub(crate) use rule_table;

/// Runs one operation on the values and tangents of its inputs.
pub(crate) fn apply(operation: &OperationIr, cx: &mut Context<'_>) -> Result<(), JvpError> {
    match operation {
        OperationIr::BaseFloat(op) => base::apply(op, cx),
        OperationIr::NumericFloat(_, op) => numeric::apply(op, cx),
        OperationIr::Float(_, op) => float::apply(op, cx),
        OperationIr::Activation(op) => activation::apply(op, cx),
        OperationIr::Module(op) => module::apply(op, cx),
        OperationIr::BaseInt(op) => integer_base::apply(op, cx),
        OperationIr::NumericInt(_, op) => integer::numeric::apply(op, cx),
        OperationIr::Int(op) => integer::apply(op, cx),
        OperationIr::BaseBool(op) => boolean::base::apply(op, cx),
        OperationIr::Bool(op) => boolean::apply(op, cx),
        OperationIr::Init(_) | OperationIr::Drop(_) => Ok(()),
        OperationIr::Custom(o) if o.id == DETACH => match (&*o.inputs, &*o.outputs) {
            ([input], [out]) => {
                let value = cx.value(input)?;
                cx.set_value(out, detached(value)?)
            }
            _ => Err(JvpError::no_rule(table::DETACH.operation)),
        },
        OperationIr::Custom(_) | OperationIr::Distributed(_) => {
            Err(JvpError::no_rule(rule(operation).operation))
        }
    }
}

/// The table's entry of an operation.
pub(crate) fn rule(operation: &OperationIr) -> &'static Rule {
    match operation {
        OperationIr::BaseFloat(op) => base::rule(op),
        OperationIr::NumericFloat(_, op) => numeric::rule(op),
        OperationIr::Float(_, op) => float::rule(op),
        OperationIr::Activation(op) => activation::rule(op),
        OperationIr::Module(op) => module::rule(op),
        OperationIr::BaseInt(op) => integer_base::rule(op),
        OperationIr::NumericInt(_, op) => integer::numeric::rule(op),
        OperationIr::Int(op) => integer::rule(op),
        OperationIr::BaseBool(op) => boolean::base::rule(op),
        OperationIr::Bool(op) => boolean::rule(op),
        OperationIr::Init(_) => &table::INIT,
        OperationIr::Drop(_) => &table::DROP,
        OperationIr::Custom(o) if o.id == DETACH => &table::DETACH,
        OperationIr::Custom(_) => &table::CUSTOM,
        OperationIr::Distributed(_) => &table::DISTRIBUTED,
    }
}
