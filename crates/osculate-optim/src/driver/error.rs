//! Why a step was not made.

use std::fmt::{Debug, Display, Formatter};

use osculate_curvature::CurvatureError;
use thiserror::Error;

use crate::config::ConfigError;
use crate::engine::RuleError;
use crate::record::RecordError;

/// A step that was given up, with the model as it was before.
///
/// Weights and running statistics are those that went in; the optimizer's state is unchanged too, but for
/// that of parameters which are no more those it was kept for, so the step can be repeated, with another
/// batch for instance.
pub struct StepError<M> {
    /// The model that was given to the step.
    pub model: M,
    /// What happened.
    pub cause: StepErrorCause,
}

impl<M> Debug for StepError<M> {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StepError")
            .field("cause", &self.cause)
            .finish_non_exhaustive()
    }
}

impl<M> Display for StepError<M> {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        write!(f, "the step was not made: {}", self.cause)
    }
}

impl<M> std::error::Error for StepError<M> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.cause)
    }
}

/// Why a step was not made.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StepErrorCause {
    /// The learning rate is negative or not finite.
    #[error("the learning rate is {value}, expected a finite number, zero or greater")]
    LearningRate {
        /// The value given.
        value: f64,
    },

    /// The loss is not finite, under [`NonFinitePolicy::Error`](crate::NonFinitePolicy::Error).
    #[error("the loss is {value}, expected a finite number")]
    NonFiniteLoss {
        /// The value.
        value: f64,
    },

    /// The loss is below what the step-size policy takes for its lower bound, under
    /// [`NonFinitePolicy::Error`](crate::NonFinitePolicy::Error). Under the other policies such a step has the
    /// length 0.
    #[error(
        "the loss is {loss}, below the lower bound {bound} of {policy}: give it a bound that the loss cannot \
         fall below"
    )]
    BelowBound {
        /// Name of the policy.
        policy: &'static str,
        /// The bound.
        bound: f64,
        /// The loss.
        loss: f64,
    },

    /// A method or a step-size policy that needs the loss, over an objective that gives gradients alone.
    #[error(
        "{policy} needs the loss, and the objective gives gradients alone: give it a \
         supervised form beside, as `Osculate::supervised` does in burn's Learner"
    )]
    NoLoss {
        /// Name of the method or the policy.
        policy: String,
    },

    /// A filter that makes no sense with the criterion of the objective.
    #[error("the filter {filter} is used with a {criterion}, expected {expected}")]
    Criterion {
        /// Name of the filter.
        filter: &'static str,
        /// The criterion.
        criterion: &'static str,
        /// What would be valid.
        expected: &'static str,
    },

    /// A setting of a role is out of its range.
    #[error(transparent)]
    Config(#[from] ConfigError),

    /// A parameter group that matches nothing.
    #[error("the group {group:?} matches no parameter of the model; there are {}", paths.join(", "))]
    EmptyGroup {
        /// Name of the group.
        group: String,
        /// Paths of the model's parameters.
        paths: Vec<String>,
    },

    /// A parameter group with a weight decay for a parameter whose burn optimizer decays inside.
    #[error(
        "a group sets the weight decay of {path}, which a burn optimizer steps: set its own decay to 0 \
         and give the optimizer one with `Driver::with_weight_decay`"
    )]
    DecayInside {
        /// Path of the parameter.
        path: String,
    },

    /// A gradient is not finite, under [`NonFinitePolicy::Error`](crate::NonFinitePolicy::Error).
    #[error("the gradient of {} holds a NaN or an infinity", paths.join(", "))]
    NonFiniteGradient {
        /// Paths of the parameters.
        paths: Vec<String>,
    },

    /// A curvature estimate is not finite, under
    /// [`NonFinitePolicy::Error`](crate::NonFinitePolicy::Error).
    #[error("the curvature estimate of {} holds a NaN or an infinity", paths.join(", "))]
    NonFiniteCurvature {
        /// Paths of the parameters.
        paths: Vec<String>,
    },

    /// Updated weights or state are not finite although gradient and curvature are, under
    /// [`NonFinitePolicy::Error`](crate::NonFinitePolicy::Error).
    #[error("the update of {} holds a NaN or an infinity", paths.join(", "))]
    NonFiniteUpdate {
        /// Paths of the parameters.
        paths: Vec<String>,
    },

    /// A solver failed for one factor more times in a row than the method tolerates.
    #[error(
        "the solver of factor {factor} of block {block} of {path} failed {failures} times in a row: \
         {message}"
    )]
    Solver {
        /// Path of the parameter.
        path: String,
        /// Number of the block within the parameter.
        block: usize,
        /// Number of the factor within the block.
        factor: usize,
        /// Failures in a row, this one included.
        failures: u64,
        /// The solver's message.
        message: String,
    },

    /// The objective or a curvature product failed.
    #[error(transparent)]
    Curvature(#[from] CurvatureError),

    /// The update rule made no step.
    #[error(transparent)]
    Rule(RuleError),

    /// The optimizer's state does not fit the model.
    #[error(transparent)]
    State(#[from] RecordError),
}

impl From<RuleError> for StepErrorCause {
    fn from(error: RuleError) -> Self {
        match error {
            RuleError::Evaluation(error) => Self::Curvature(error),
            error => Self::Rule(error),
        }
    }
}
