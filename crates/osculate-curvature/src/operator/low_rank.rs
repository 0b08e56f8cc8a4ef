use std::sync::Arc;

use super::{CurvatureOperator, Product, Provenance, Structure};
use crate::cost::Cost;
use crate::error::CurvatureError;
use crate::params::{Basis, ParamLayout, ParamVec};
use crate::spectrum::EigenPair;

/// `U diag(λ) Uᵀ + ρ (I - U Uᵀ)`: an operator that is known in a few directions and a multiple of
/// the identity in all others.
///
/// Powers of it, its inverse and its root have the same form and cost nothing to make, so it serves
/// as an approximation of an operator, of its inverse, as a preconditioner and for drawing samples.
///
/// Memory: one vector for each direction. A product costs `2 k n` operations and one read-back of
/// `k` numbers.
#[derive(Debug, Clone)]
pub struct LowRank {
    layout: Arc<ParamLayout>,
    basis: Basis,
    values: Vec<f64>,
    rest: f64,
}

impl LowRank {
    /// The operator with the given eigenpairs, and `rest` as its eigenvalue everywhere else.
    ///
    /// The vectors must be orthonormal, as those of one [`lanczos`](crate::lanczos) run are.
    ///
    /// # Errors
    /// [`CurvatureError::InvalidSetting`] where they are not to 1e-3,
    /// [`CurvatureError::LayoutMismatch`] for vectors of another space and
    /// [`CurvatureError::NonFinite`] for an eigenvalue that is not finite.
    pub fn new(
        layout: Arc<ParamLayout>,
        pairs: &[EigenPair],
        rest: f64,
    ) -> Result<Self, CurvatureError> {
        let vectors: Vec<ParamVec> = pairs.iter().map(|pair| pair.vector.clone()).collect();
        let values = pairs.iter().map(|pair| pair.value).collect();
        for (index, vector) in vectors.iter().enumerate() {
            layout.check(vector.layout())?;
            let overlaps = vector.dot_many(&vectors[..=index]);
            for (other, overlap) in overlaps.iter().enumerate() {
                let expected = if other == index { 1.0 } else { 0.0 };
                CurvatureError::check(
                    (overlap - expected).abs() <= 1e-3,
                    "the product of two eigenvectors",
                    overlap,
                    "orthonormal vectors",
                )?;
            }
        }
        Self::from_parts(layout, Basis::of(vectors), values, rest)
    }

    pub(crate) fn from_parts(
        layout: Arc<ParamLayout>,
        basis: Basis,
        values: Vec<f64>,
        rest: f64,
    ) -> Result<Self, CurvatureError> {
        for value in values.iter().chain([&rest]) {
            if !value.is_finite() {
                return Err(CurvatureError::NonFinite {
                    what: "an eigenvalue",
                    value: *value,
                });
            }
        }
        Ok(Self {
            layout,
            basis,
            values,
            rest,
        })
    }

    /// The known eigenvalues `λ`.
    pub fn values(&self) -> &[f64] {
        &self.values
    }

    /// The directions `U`, orthonormal.
    pub fn vectors(&self) -> &[ParamVec] {
        self.basis.vectors()
    }

    /// The eigenvalue `ρ` of all other directions.
    pub fn rest(&self) -> f64 {
        self.rest
    }

    /// The operator with `f` applied to every eigenvalue: `x + δ`, `1 / x`, `1 / sqrt(x)`.
    ///
    /// # Errors
    /// [`CurvatureError::NonFinite`] where `f` gives a number that is not finite.
    pub fn map(&self, f: impl Fn(f64) -> f64) -> Result<Self, CurvatureError> {
        Self::from_parts(
            self.layout.clone(),
            self.basis.clone(),
            self.values.iter().map(|value| f(*value)).collect(),
            f(self.rest),
        )
    }

    /// The operator with another eigenvalue outside the known directions.
    ///
    /// # Errors
    /// [`CurvatureError::NonFinite`] where it is not finite.
    pub fn with_rest(&self, rest: f64) -> Result<Self, CurvatureError> {
        Self::from_parts(
            self.layout.clone(),
            self.basis.clone(),
            self.values.clone(),
            rest,
        )
    }

    /// The logarithm of the determinant. NaN unless all eigenvalues are positive.
    pub fn log_determinant(&self) -> f64 {
        let other = self.layout.num_elements() - self.values.len();
        let known: f64 = self.values.iter().map(|value| value.ln()).sum();
        if other == 0 {
            known
        } else {
            known + other as f64 * self.rest.ln()
        }
    }

    /// `A v`.
    pub(crate) fn product(&self, v: &ParamVec) -> ParamVec {
        let v = v.to_compute_dtype();
        let weights: Vec<f64> = self
            .basis
            .coefficients(&v)
            .into_iter()
            .zip(&self.values)
            .map(|(overlap, value)| overlap * (value - self.rest))
            .collect();
        self.basis.add(v.scale(self.rest), &weights)
    }
}

impl CurvatureOperator for LowRank {
    fn layout(&self) -> Arc<ParamLayout> {
        self.layout.clone()
    }

    fn structure(&self) -> Structure {
        if self
            .values
            .iter()
            .chain([&self.rest])
            .all(|value| *value >= 0.0)
        {
            Structure::PositiveSemidefinite
        } else {
            Structure::Symmetric
        }
    }

    fn apply(&self, v: &ParamVec) -> Result<Product, CurvatureError> {
        self.layout.check(v.layout())?;
        Ok(Product {
            value: self.product(v),
            cost: Cost::ZERO,
            provenance: Provenance::Exact,
        })
    }
}
