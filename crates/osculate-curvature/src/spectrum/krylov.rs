//! Lanczos' recurrence with full reorthogonalisation, which all methods of this module share.

use super::tridiagonal::{Decomposition, decompose};
use crate::error::CurvatureError;
use crate::params::{Basis, ParamVec};

/// A Krylov space that grows by one product at a time.
pub(super) struct Krylov {
    /// Directions that are kept out of the space.
    deflated: Basis,
    dimension: usize,
    basis: Basis,
    diagonal: Vec<f64>,
    off_diagonal: Vec<f64>,
    closed: bool,
}

impl Krylov {
    /// The space of a starting vector, less its part along `deflated`.
    pub(super) fn start(start: &ParamVec, deflated: Basis) -> Result<Self, CurvatureError> {
        let (_, rest) = deflated.split(start);
        let norm = rest.norm();
        if !norm.is_finite() || norm == 0.0 {
            return Err(CurvatureError::NonFinite {
                what: "the length of the starting vector, or its inverse,",
                value: norm,
            });
        }
        Ok(Self {
            dimension: start.layout().num_elements() - deflated.len(),
            basis: Basis::of(vec![rest.scale(1.0 / norm)]),
            deflated,
            diagonal: Vec::new(),
            off_diagonal: Vec::new(),
            closed: false,
        })
    }

    /// The vector that the operator is to be applied to.
    pub(super) fn current(&self) -> &ParamVec {
        &self.basis.vectors()[self.diagonal.len()]
    }

    /// Takes the product with [`current`](Self::current) in. Nothing must follow once
    /// [`closed`](Self::closed).
    pub(super) fn absorb(&mut self, product: ParamVec) -> Result<(), CurvatureError> {
        let (_, product) = self.deflated.split(&product);
        let (overlaps, rest) = self.basis.split(&product);
        let (alpha, beta) = (overlaps[self.diagonal.len()], rest.norm());
        if !alpha.is_finite() || !beta.is_finite() {
            return Err(CurvatureError::NonFinite {
                what: "a Lanczos coefficient",
                value: if alpha.is_finite() { beta } else { alpha },
            });
        }
        self.diagonal.push(alpha);
        self.off_diagonal.push(beta);
        let scale = self
            .diagonal
            .iter()
            .chain(&self.off_diagonal)
            .fold(0.0_f64, |max, x| max.max(x.abs()));
        self.closed = beta <= 1e-10 * scale || self.diagonal.len() >= self.dimension;
        if !self.closed {
            self.basis.push(rest.scale(1.0 / beta));
        }
        Ok(())
    }

    /// Dimension of the space outside the deflated directions.
    pub(super) fn dimension(&self) -> usize {
        self.dimension
    }

    /// Number of products taken in.
    pub(super) fn steps(&self) -> usize {
        self.diagonal.len()
    }

    /// Whether products lead nowhere new: all eigenvalues that the starting vector can see are
    /// known.
    pub(super) fn closed(&self) -> bool {
        self.closed
    }

    /// Length of the part of the last product outside the space.
    pub(super) fn remainder(&self) -> f64 {
        match self.off_diagonal.last() {
            Some(beta) if !self.closed => *beta,
            _ => 0.0,
        }
    }

    /// Eigenvalues and eigenvectors of the tridiagonal matrix.
    pub(super) fn decompose(&self) -> Result<Decomposition, CurvatureError> {
        let size = self.steps();
        decompose(&self.diagonal, &self.off_diagonal[..size.saturating_sub(1)])
    }

    /// The vector with these coordinates in the space.
    pub(super) fn combine(&self, coefficients: &[f64]) -> ParamVec {
        let zero = self.basis.vectors()[0].scale(0.0);
        self.basis.add(zero, coefficients)
    }

    /// The vectors whose products were taken in, and the trace of the operator on their span.
    pub(super) fn into_basis(self) -> (Basis, f64) {
        let trace = self.diagonal.iter().sum();
        let vectors = self.basis.into_vectors();
        let known = vectors.into_iter().take(self.diagonal.len()).collect();
        (Basis::of(known), trace)
    }
}
