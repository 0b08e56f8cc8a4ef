//! Why a call, or one matrix of a stack, failed; and how well a matrix was solved.

use thiserror::Error;

/// A call that could not be made at all.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum LinalgError {
    /// A tensor has a shape that the operation cannot take.
    #[error("{operation}: expected {expected}, got a tensor of shape {shape:?}")]
    Shape {
        /// The operation.
        operation: &'static str,
        /// What it takes.
        expected: &'static str,
        /// Shape of the tensor.
        shape: Vec<usize>,
    },

    /// A setting is out of its range.
    #[error("{operation}: {setting} = {value} is invalid, expected {expected}")]
    Setting {
        /// The operation.
        operation: &'static str,
        /// Name of the setting.
        setting: &'static str,
        /// The value given.
        value: String,
        /// What would be valid.
        expected: &'static str,
    },

    /// The device failed to hand the stack over.
    #[error("{operation}: the stack could not be read back: {message}")]
    Read {
        /// The operation.
        operation: &'static str,
        /// The device's message.
        message: String,
    },
}

/// Why one matrix of a stack was not solved.
#[derive(Debug, Clone, Copy, PartialEq, Error)]
#[non_exhaustive]
pub enum MatrixFailure {
    /// The matrix, or what was computed from it, holds a NaN or an infinity.
    #[error("the matrix holds a NaN or an infinity")]
    NonFinite,

    /// The residual stayed above the tolerance.
    #[error("no convergence: residual {residual:e} above the tolerance {tolerance:e}")]
    NoConvergence {
        /// What was reached; NaN where the solver gave no result.
        residual: f64,
        /// What was asked for.
        tolerance: f64,
    },

    /// A pivot of a Cholesky factorisation is not positive.
    #[error("not positive definite: pivot {pivot} is not positive")]
    NotPositiveDefinite {
        /// Index of the pivot.
        pivot: usize,
    },
}

/// What it took to solve a matrix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Effort {
    /// Arithmetic of the stack's own type (f32 for f16 and bf16).
    Plain,
    /// Arithmetic in f64 for a stack of a narrower type.
    Double,
    /// A small multiple of the identity was added, in f64.
    Jitter,
}

/// How well a matrix was solved.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Solved {
    /// Relative residual; each solver says of what.
    pub residual: f64,
    /// What it took.
    pub effort: Effort,
}

/// The result for one matrix of a stack.
pub type Outcome = Result<Solved, MatrixFailure>;

/// Checks that a setting is a finite number, zero or greater.
pub(crate) fn non_negative(
    operation: &'static str,
    setting: &'static str,
    value: f64,
) -> Result<(), LinalgError> {
    if value.is_finite() && value >= 0.0 {
        return Ok(());
    }
    Err(LinalgError::Setting {
        operation,
        setting,
        value: value.to_string(),
        expected: "a finite number, zero or greater",
    })
}

/// Checks that what is put in the place of failures has the shape of the results.
pub(crate) fn like<const D: usize>(
    operation: &'static str,
    results: [usize; D],
    last: [usize; D],
) -> Result<(), LinalgError> {
    if last != results {
        return Err(LinalgError::Shape {
            operation,
            expected: "the last results in the shape of the new ones",
            shape: last.to_vec(),
        });
    }
    Ok(())
}

/// Checks that a tensor is a stack of square matrices, and returns the stack's and the matrices'
/// size.
pub(crate) fn square(
    operation: &'static str,
    shape: [usize; 3],
) -> Result<(usize, usize), LinalgError> {
    let [k, rows, columns] = shape;
    if rows != columns {
        return Err(LinalgError::Shape {
            operation,
            expected: "a stack of square matrices",
            shape: shape.to_vec(),
        });
    }
    Ok((k, rows))
}
