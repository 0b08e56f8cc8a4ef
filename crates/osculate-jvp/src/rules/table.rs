use super::{activation, base, boolean, float, integer, integer_base, module, numeric};

/// What is known of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Status {
    /// It carries tangents.
    Differentiated,
    /// It is computed, and its result has no tangent: integers, booleans, piecewise constant
    /// functions and random numbers.
    Constant,
    /// It is part of burn's backward passes. It is computed in [kept products](crate::KeptHessian), and
    /// cannot be recorded for differentiation itself:
    /// [`JvpError::NoRule`](crate::JvpError::NoRule).
    Backward,
    /// It cannot be recorded for differentiation:
    /// [`JvpError::NoRule`](crate::JvpError::NoRule).
    Unsupported,
}

/// One operation of burn's intermediate representation and its rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// Name of the operation, as `Family::Variant`.
    pub operation: &'static str,
    /// What becomes of tangents.
    pub status: Status,
    /// The tangent of the result, for results `y` of arguments `x`, `a`, `b`, `w` whose tangents
    /// carry a dot.
    pub tangent: &'static str,
}

const fn unsupported(operation: &'static str) -> Rule {
    Rule {
        operation,
        status: Status::Unsupported,
        tangent: "",
    }
}

const fn nothing(operation: &'static str) -> Rule {
    Rule {
        operation,
        status: Status::Constant,
        tangent: "0",
    }
}

pub(super) static INIT: Rule = nothing("Init");
pub(super) static DROP: Rule = nothing("Drop");
pub(super) static DETACH: Rule = nothing("Custom::Detach");
pub(super) static CUSTOM: Rule = unsupported("Custom");
pub(super) static DISTRIBUTED: Rule = unsupported("Distributed");

/// Every operation of burn-ir with its rule.
///
/// ```
/// use osculate_jvp::{Status, rules};
/// let gelu = rules().find(|rule| rule.operation == "Activation::Gelu").unwrap();
/// assert_eq!(gelu.status, Status::Differentiated);
/// println!("{}: {}", gelu.operation, gelu.tangent);
/// ```
pub fn rules() -> impl Iterator<Item = Rule> {
    [
        base::RULES,
        numeric::RULES,
        float::RULES,
        activation::RULES,
        module::RULES,
        integer_base::RULES,
        integer::numeric::RULES,
        integer::RULES,
        boolean::base::RULES,
        boolean::RULES,
    ]
    .into_iter()
    .flatten()
    .copied()
    .chain([INIT, DROP, DETACH, CUSTOM, DISTRIBUTED])
}

/// The entry with this name in a family.
pub(super) fn find(rules: &'static [Rule], name: &str) -> &'static Rule {
    match rules.iter().find(|rule| rule.operation == name) {
        Some(rule) => rule,
        // The name and the entry are written by the same macro arm.
        None => unreachable!("{name} is missing from its own table"),
    }
}
