//! The state of a stack of blocks under Shampoo, in the course of a step.

use burn::tensor::Tensor;

use super::factors::{Diagonals, ROOT, Roots};
use super::rule::Shampoo;
use super::{ShampooForm, UpdateMomentum};
use crate::matrix::kronecker::{BASIS, EIGENVALUES, FACTOR, Kronecker};

/// Names of all state tensors. `bias` holds the moving averages of the constant 1 by which the
/// first moment, the factors and the grafted second moment are divided.
pub(super) const FIELDS: [&str; 38] = [
    "m",
    "v",
    "graft",
    "update",
    "grafted_update",
    "bias",
    FACTOR[0],
    FACTOR[1],
    FACTOR[2],
    FACTOR[3],
    FACTOR[4],
    FACTOR[5],
    FACTOR[6],
    FACTOR[7],
    BASIS[0],
    BASIS[1],
    BASIS[2],
    BASIS[3],
    BASIS[4],
    BASIS[5],
    BASIS[6],
    BASIS[7],
    ROOT[0],
    ROOT[1],
    ROOT[2],
    ROOT[3],
    ROOT[4],
    ROOT[5],
    ROOT[6],
    ROOT[7],
    EIGENVALUES[0],
    EIGENVALUES[1],
    EIGENVALUES[2],
    EIGENVALUES[3],
    EIGENVALUES[4],
    EIGENVALUES[5],
    EIGENVALUES[6],
    EIGENVALUES[7],
];

/// The state of a stack in the course of a step.
pub(super) struct Parts {
    pub m: Option<Tensor<2>>,
    pub v: Option<Tensor<2>>,
    pub graft: Option<Tensor<2>>,
    pub update: Option<Tensor<2>>,
    pub grafted_update: Option<Tensor<2>>,
    pub bias: Tensor<2>,
    pub diagonals: Diagonals,
    pub full: Full,
}

/// What is kept of the full factors.
pub(super) enum Full {
    Roots(Roots),
    Eigen(Kronecker, Vec<Tensor<2>>),
    Corrected(Kronecker),
}

impl Shampoo {
    /// Takes the state tensors, in the order of the rule's fields.
    pub(super) fn take(
        &self,
        dims: &[usize],
        state: Vec<Tensor<2>>,
        zeros: impl Fn() -> Tensor<2>,
    ) -> Parts {
        let config = &self.config;
        let (full, diagonal) = self.modes(dims);
        let mut state = state.into_iter();
        let mut optional = |present: bool| if present { state.next() } else { None };
        let m = optional(config.beta_1 > 0.0);
        let v = optional(self.is_corrected());
        let graft = optional(config.grafting.has_moment());
        let update = optional(config.update_momentum.is_some());
        let grafted_update = optional(config.update_momentum.is_some_and(|m| m.grafted));
        let bias = optional(true).unwrap_or_else(zeros);
        let diagonals = Diagonals::take(diagonal, &mut state);
        let full = match config.form {
            ShampooForm::Root(_) => Full::Roots(Roots::take(full, &mut state)),
            ShampooForm::EigenvalueCorrected(_) => {
                Full::Corrected(Kronecker::take(dims, full, &mut state))
            }
            ShampooForm::Eigen(_) => {
                let kronecker = Kronecker::take(dims, full, &mut state);
                Full::Eigen(kronecker, state.collect())
            }
        };
        Parts {
            m,
            v,
            graft,
            update,
            grafted_update,
            bias,
            diagonals,
            full,
        }
    }
}

impl UpdateMomentum {
    pub(super) fn apply(
        self,
        parts: &mut Parts,
        update: Tensor<2>,
        grafted: Tensor<2>,
        started: bool,
    ) -> Tensor<2> {
        let run = |average: Option<Tensor<2>>, x: Tensor<2>| {
            let raw = x.mul_scalar(self.weight);
            let old = average.unwrap_or_else(|| raw.zeros_like());
            let average = old.mul_scalar(self.momentum) + raw.clone();
            let result = if self.nesterov {
                raw + average.clone().mul_scalar(self.momentum)
            } else {
                average.clone()
            };
            (average, result)
        };
        if !self.grafted {
            let (average, result) =
                run(parts.update.take(), if started { update } else { grafted });
            parts.update = Some(average);
            return result;
        }
        let (average, preconditioned) = run(parts.update.take(), update);
        parts.update = Some(average);
        let (average, grafted) = run(parts.grafted_update.take(), grafted);
        parts.grafted_update = Some(average);
        if started { preconditioned } else { grafted }
    }
}

impl Parts {
    pub(super) fn into_state(self) -> Vec<Tensor<2>> {
        let optional = [self.m, self.v, self.graft, self.update, self.grafted_update];
        let mut state: Vec<Tensor<2>> = optional.into_iter().flatten().collect();
        state.push(self.bias);
        state.extend(self.diagonals.factors);
        match self.full {
            Full::Roots(roots) => state.extend(roots.into_state()),
            Full::Corrected(kronecker) => state.extend(kronecker.into_state()),
            Full::Eigen(kronecker, eigenvalues) => {
                state.extend(kronecker.into_state());
                state.extend(eigenvalues);
            }
        }
        state
    }
}
