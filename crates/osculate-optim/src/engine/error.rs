//! Why a rule made no step.

use osculate_curvature::CurvatureError;
use thiserror::Error;

/// Why a rule made no step.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RuleError {
    /// A state field that the rule did not declare.
    #[error("{rule} has no state field {field:?}; it declares {}", declared.join(", "))]
    UnknownField {
        /// Name of the rule.
        rule: &'static str,
        /// The name asked for.
        field: String,
        /// The fields that there are.
        declared: Vec<&'static str>,
    },

    /// A state field that the rule took and did not put back, or took twice.
    #[error("{rule}: the state field {field:?} was taken and not put back")]
    FieldTaken {
        /// Name of the rule.
        rule: &'static str,
        /// Name of the field.
        field: &'static str,
    },

    /// A state tensor of another shape than declared.
    #[error("{rule}: the state field {field:?} is {found:?}, expected {expected:?}")]
    FieldShape {
        /// Name of the rule.
        rule: &'static str,
        /// Name of the field.
        field: &'static str,
        /// Blocks and elements of each, as declared.
        expected: [usize; 2],
        /// What was put there.
        found: [usize; 2],
    },

    /// A direction of another shape than the stack.
    #[error("{rule}: the direction is {found:?}, expected {expected:?}")]
    DirectionShape {
        /// Name of the rule.
        rule: &'static str,
        /// Shape of the stack.
        expected: [usize; 2],
        /// Shape of the direction.
        found: [usize; 2],
    },

    /// Curvature of another kind than the rule can use.
    #[error(
        "{rule} needs {expected}, got {found}; choose the source with `Driver::with_curvature`"
    )]
    Curvature {
        /// Name of the rule.
        rule: &'static str,
        /// What it needs.
        expected: &'static str,
        /// What there is.
        found: &'static str,
    },

    /// A loss at other weights could not be evaluated.
    #[error(transparent)]
    Evaluation(#[from] CurvatureError),
}
