//! Why an evaluation, a product or an estimate could not be made.

use thiserror::Error;

/// A failure reported by the user's own loss.
///
/// Made from any error or message, so that a fallible objective can use `?`.
#[derive(Debug, Error)]
#[error("{0}")]
pub struct ObjectiveError(Box<dyn std::error::Error + Send + Sync + 'static>);

impl ObjectiveError {
    /// Wraps an error or a message.
    pub fn new(error: impl Into<Box<dyn std::error::Error + Send + Sync + 'static>>) -> Self {
        Self(error.into())
    }

    /// The error that the objective returned.
    pub fn inner(&self) -> &(dyn std::error::Error + Send + Sync + 'static) {
        self.0.as_ref()
    }
}

/// Why a curvature result could not be computed. The model is never changed by the attempt.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CurvatureError {
    /// The objective returned an error.
    #[error("the objective failed: {0}")]
    Objective(#[from] ObjectiveError),

    /// The objective, or the backward pass of its loss, panicked.
    #[error("the objective panicked: {message}")]
    ObjectivePanicked {
        /// The panic's message.
        message: String,
    },

    /// The loss is not a single number.
    #[error("the loss must hold one element, got shape {shape:?}; reduce it with mean() or sum()")]
    LossNotScalar {
        /// Shape of the returned tensor.
        shape: Vec<usize>,
    },

    /// No parameter received a gradient from the loss.
    #[error(
        "no parameter has a gradient: the model or its inputs are not on an autodiff device \
         (use `device.autodiff()`), every parameter is frozen, or the loss does not depend on them"
    )]
    NoGradient,

    /// An estimate needs outputs and a criterion, and the objective has only a loss.
    #[error(
        "{what} needs the model's outputs and the loss's kind; pass a \
         `Supervised` objective instead of a plain closure"
    )]
    NotSupervised {
        /// What was asked for.
        what: &'static str,
    },

    /// Other batches were asked for, and the objective has only its own.
    #[error(
        "{what} draws batches within a step, and the objective hands out its own alone: pass a `Drawing` \
         objective"
    )]
    NoDraws {
        /// Who asked.
        what: &'static str,
    },

    /// Outputs and targets do not fit together.
    #[error("the criterion expects targets for outputs of shape {outputs:?}, got {targets:?}")]
    TargetShape {
        /// Shape of the model's outputs.
        outputs: Vec<usize>,
        /// Shape of the targets.
        targets: Vec<usize>,
    },

    /// The outputs have no rows, so that there is no mean loss.
    #[error(
        "the batch has no samples: the model's outputs have the shape {outputs:?}; leave empty batches \
         out"
    )]
    EmptyBatch {
        /// Shape of the model's outputs.
        outputs: Vec<usize>,
    },

    /// A vector does not live in the space of the operator.
    #[error("the vector has {got}, where the operator expects {expected}")]
    LayoutMismatch {
        /// First differing parameter of the operator, or its number of parameters.
        expected: String,
        /// The same of the vector.
        got: String,
    },

    /// A selection matched no parameter.
    #[error("the selection matches none of the {available} parameters: {paths}")]
    EmptySelection {
        /// How many parameters there are.
        available: usize,
        /// Their paths.
        paths: String,
    },

    /// A number that had to be finite is not.
    #[error(
        "{what} is {value}, expected a finite number: look for NaN and infinities in the weights, the \
         batch and the vectors handed in, and for a batch without samples"
    )]
    NonFinite {
        /// What the number is.
        what: &'static str,
        /// Its value.
        value: f64,
    },

    /// A setting is out of its range.
    #[error("{name} = {value} is invalid, expected {expected}")]
    InvalidSetting {
        /// Name of the setting.
        name: &'static str,
        /// The value given.
        value: String,
        /// What would be valid.
        expected: &'static str,
    },

    /// The objective could not be recorded, or its recording not be differentiated.
    #[error(transparent)]
    Jvp(#[from] osculate_jvp::JvpError),

    /// Exact products need the batch.
    #[error(
        "an exact product needs the objective's batch, which a closure keeps to itself: pass a \
         `Batched` or `SupervisedBatch` objective, or use `HvpMode::FiniteDifference`"
    )]
    NotRecordable,

    /// What was recorded is not the function that is trained.
    #[error(
        "the recorded objective is another function: its {what} is {recorded:e} where the \
         objective's is {clean:e}. It was recorded with its layers in training and in evaluation; \
         code that asks for autodiff or whether a layer trains, or that moves tensors between \
         devices, can differ in both. Freezing the layer (`freeze()`) or a dropout of 0 helps where \
         a layer is the cause"
    )]
    NotReproduced {
        /// What was compared.
        what: &'static str,
        /// Its value in the recording.
        recorded: f64,
        /// Its value in the clean pass.
        clean: f64,
    },

    /// One product costs more than all that may be spent.
    #[error(
        "the budget of {budget} gradient evaluations is too small for one product, which takes \
         {needed}; allow at least that"
    )]
    BudgetTooSmall {
        /// Gradient evaluations allowed.
        budget: f64,
        /// Gradient evaluations that a product takes.
        needed: f64,
    },

    /// A preconditioner is not positive definite.
    #[error(
        "the preconditioner is not positive definite: rᵀ P r is {form:.3e} for a residual r; make it of \
         a positive operator, such as `nystrom(..)` of a Gauss-Newton matrix with a positive damping, or \
         leave it out"
    )]
    IndefinitePreconditioner {
        /// The number that should be positive.
        form: f64,
    },

    /// A solver or a factorisation that needs a positive definite operator met another.
    #[error(
        "the operator is not positive definite: its curvature along a search direction is \
         {curvature:.3e}; raise the damping by more than that, use a positive semi-definite operator \
         (Gauss-Newton), or solve with `minres`"
    )]
    NotPositiveDefinite {
        /// A curvature that is not positive, or 0 where only a factorisation failed.
        curvature: f64,
    },

    /// An iterative solution ended above its tolerance.
    #[error(
        "the relative residual is still {residual:.3e} after {products} products; allow more steps, \
         raise the damping or the tolerance, or use a preconditioner"
    )]
    NotSolved {
        /// Norm of the residual over that of the right-hand side.
        residual: f64,
        /// Products made.
        products: usize,
    },

    /// The terms of a Neumann series grow.
    #[error(
        "the Neumann series diverges at the scale {scale:e}, which must exceed half of the largest \
         eigenvalue; raise it, or use `None` to have it found"
    )]
    SeriesDiverged {
        /// The scale.
        scale: f64,
    },

    /// Chebyshev moments grew: an eigenvalue lies outside the given range.
    #[error(
        "an eigenvalue lies outside [{low}, {high}]; give a wider range, or `None` to have it \
         looked for"
    )]
    SpectrumOutsideRange {
        /// Lower end of the range, with its margin.
        low: f64,
        /// Upper end.
        high: f64,
    },

    /// A dense eigenproblem on the host failed.
    #[error("the {size} x {size} tridiagonal eigenproblem did not converge")]
    Eigensolver {
        /// Order of the matrix.
        size: usize,
    },
}

impl CurvatureError {
    /// Checks the sizes of two batches that are compared.
    pub(crate) fn check_batch_sizes(small: usize, large: usize) -> Result<(), CurvatureError> {
        Self::check(
            0 < small && small < large,
            "batch sizes",
            format_args!("{small} and {large}"),
            "a small one of at least 1 and a larger one",
        )
    }

    /// Checks a setting, and names it with its value where it is out of range.
    pub(crate) fn check(
        valid: bool,
        name: &'static str,
        value: impl std::fmt::Display,
        expected: &'static str,
    ) -> Result<(), CurvatureError> {
        if valid {
            Ok(())
        } else {
            Err(CurvatureError::InvalidSetting {
                name,
                value: value.to_string(),
                expected,
            })
        }
    }
}
