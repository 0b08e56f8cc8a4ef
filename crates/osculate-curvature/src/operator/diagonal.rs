use std::sync::Arc;

use super::{CurvatureOperator, Product, Provenance, Structure};
use crate::cost::Cost;
use crate::error::CurvatureError;
use crate::params::{ParamLayout, ParamVec};

/// A diagonal matrix: a diagonal estimate, an optimizer's second moments, or Jacobi's
/// preconditioner.
#[derive(Debug, Clone)]
pub struct DiagonalOperator {
    diagonal: ParamVec,
}

impl DiagonalOperator {
    /// The matrix with this diagonal.
    pub fn new(diagonal: ParamVec) -> Self {
        Self {
            diagonal: diagonal.to_compute_dtype(),
        }
    }

    /// The diagonal.
    pub fn diagonal(&self) -> &ParamVec {
        &self.diagonal
    }

    /// The inverse of `max(d, 0) + damping`, element by element.
    ///
    /// # Errors
    /// [`CurvatureError::InvalidSetting`] for a damping that is not positive.
    pub fn damped_inverse(&self, damping: f64) -> Result<Self, CurvatureError> {
        CurvatureError::check(
            damping.is_finite() && damping > 0.0,
            "damping",
            damping,
            "a positive finite number",
        )?;
        let inverse = |d: burn::tensor::Tensor<1>| d.clamp_min(0.0).add_scalar(damping).recip();
        Ok(Self {
            diagonal: self.diagonal.map(|(_, d)| inverse(d.clone())),
        })
    }
}

impl CurvatureOperator for DiagonalOperator {
    fn layout(&self) -> Arc<ParamLayout> {
        self.diagonal.layout().clone()
    }

    /// Not known to be definite: looking would read every element back.
    fn structure(&self) -> Structure {
        Structure::Symmetric
    }

    fn apply(&self, v: &ParamVec) -> Result<Product, CurvatureError> {
        self.diagonal.layout().check(v.layout())?;
        Ok(Product {
            value: self.diagonal.hadamard(&v.to_compute_dtype()),
            cost: Cost::ZERO,
            provenance: Provenance::Exact,
        })
    }
}
