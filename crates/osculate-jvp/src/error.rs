//! Why a function could not be recorded or differentiated.

use burn::tensor::DType;
use thiserror::Error;

/// A failure to record, bind or differentiate a program.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum JvpError {
    /// An operation of the recorded function has no derivative rule.
    #[error(
        "{operation} has no derivative rule. Compute it outside the recorded function and hand the \
         result over as an input, write it with other tensor operations, or use finite differences \
         (`HvpMode::FiniteDifference`)"
    )]
    NoRule {
        /// Name of the operation, as in [`rules`](crate::rules).
        operation: String,
    },

    /// The recorded function read a tensor's value.
    #[error(
        "the function reads a tensor's value while it is recorded ({message}). Recorded code sees \
         shapes, not values: replace `into_data`, `into_scalar` and data-dependent branches by \
         tensor operations such as masks, or compute the value outside and hand it over as an input. burn's \
         `one_hot` reads its argument too: compare with a range instead"
    )]
    ReadBack {
        /// What burn reported.
        message: String,
    },

    /// The recorded function used a tensor that was not handed over.
    #[error(
        "the function uses a tensor that it captured instead of receiving it ({message}). Hand \
         every tensor over through the inputs, labels, indices, masks and class weights too, and \
         other modules as `Held`: recorded tensors cannot meet tensors of another device"
    )]
    ForeignTensor {
        /// What burn reported.
        message: String,
    },

    /// The recorded function panicked for another reason.
    #[error("the function panicked while it was recorded or replayed: {message}")]
    Panicked {
        /// The panic's message.
        message: String,
    },

    /// A tensor does not fit what was recorded.
    #[error(
        "{what} was recorded as {expected} and is now {got}. A program holds for one set of shapes \
         and element types: record again, or keep a `ProgramCache`"
    )]
    Mismatch {
        /// The parameter's path or the input's position.
        what: String,
        /// Shape and element type when it was recorded.
        expected: String,
        /// Shape and element type now.
        got: String,
    },

    /// The number of tensors does not fit what was recorded.
    #[error("{what}: {expected} were recorded, {got} are given")]
    Count {
        /// What was counted.
        what: &'static str,
        /// How many were recorded.
        expected: usize,
        /// How many are given.
        got: usize,
    },

    /// A product needs a function with a single number as its result.
    #[error("the product needs a result of one element, got shape {shape:?}")]
    NotScalar {
        /// Shape of the result.
        shape: Vec<usize>,
    },

    /// A product backward needs results that are float tensors.
    #[error("result {result} is of type {dtype:?}, and only float tensors have derivatives")]
    NotFloat {
        /// Position of the result.
        result: usize,
        /// Its element type.
        dtype: DType,
    },

    /// There is nothing that the result could be differentiated by.
    #[error("there is nothing to differentiate by: no {what}")]
    Independent {
        /// What there would have to be.
        what: &'static str,
    },

    /// Points do not have the coordinate to differentiate by.
    #[error("there is no coordinate {axis}: the points have {coordinates}, counted from 0")]
    Coordinate {
        /// The coordinate that was asked for.
        axis: usize,
        /// How many there are.
        coordinates: usize,
    },

    /// A defect of this crate or of burn's recorder.
    #[error("internal error: {what}")]
    Internal {
        /// What went wrong.
        what: String,
    },
}

impl JvpError {
    pub(crate) fn no_rule(operation: impl Into<String>) -> Self {
        JvpError::NoRule {
            operation: operation.into(),
        }
    }

    /// Sorts a panic of recorded code by its message.
    pub(crate) fn from_panic(payload: &(dyn std::any::Any + Send)) -> Self {
        let message = payload
            .downcast_ref::<&str>()
            .map(|message| (*message).to_string())
            .or_else(|| payload.downcast_ref::<String>().cloned())
            .unwrap_or_else(|| "the panic carried no message".to_string());
        let has = |words: &[&str]| words.iter().any(|word| message.contains(word));
        if has(&["no concrete value", "no initialized value"]) {
            JvpError::ReadBack { message }
        } else if has(&[
            "same device",
            "same backend",
            "wrong backend",
            "capture device",
            "Capture",
        ]) {
            JvpError::ForeignTensor { message }
        } else {
            JvpError::Panicked { message }
        }
    }
}
