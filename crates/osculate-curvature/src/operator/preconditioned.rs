use std::sync::Arc;

use super::{CurvatureOperator, Product, Structure};
use crate::error::CurvatureError;
use crate::params::{ParamLayout, ParamVec};

/// `S A S` for a positive diagonal `S`: the curvature that a diagonally preconditioned optimizer
/// sees.
///
/// With `S = P^(-1/2)` its eigenvalues are those of `P⁻¹ A`: for Adam `P = sqrt(v̂) + ε`, and the
/// largest of them times the learning rate is what decides stability. They are also the solutions
/// of `A x = λ P x`, with `x = S y` for an eigenvector `y`.
#[derive(Debug, Clone)]
pub struct Preconditioned<A> {
    inner: A,
    scale: ParamVec,
}

impl<A: CurvatureOperator> Preconditioned<A> {
    /// `S A S` with `S` given.
    ///
    /// # Errors
    /// [`CurvatureError::LayoutMismatch`] for a scale of another space.
    pub fn new(inner: A, scale: ParamVec) -> Result<Self, CurvatureError> {
        inner.layout().check(scale.layout())?;
        Ok(Self {
            inner,
            scale: scale.to_compute_dtype(),
        })
    }

    /// `P^(-1/2) A P^(-1/2)` for a positive diagonal `P`.
    ///
    /// # Errors
    /// As [`new`](Self::new), and [`CurvatureError::NonFinite`] where an element of `P` is not
    /// positive. One read-back.
    pub fn by_diagonal(inner: A, diagonal: &ParamVec) -> Result<Self, CurvatureError> {
        let root = |x: burn::tensor::Tensor<1>| x.sqrt().recip();
        let scale = diagonal.to_compute_dtype().map(|(_, x)| root(x.clone()));
        let norm = scale.norm();
        if !norm.is_finite() {
            return Err(CurvatureError::NonFinite {
                what: "the norm of the inverse root of the preconditioner",
                value: norm,
            });
        }
        Self::new(inner, scale)
    }
}

impl<A: CurvatureOperator> CurvatureOperator for Preconditioned<A> {
    fn layout(&self) -> Arc<ParamLayout> {
        self.inner.layout()
    }

    fn structure(&self) -> Structure {
        self.inner.structure()
    }

    fn apply(&self, v: &ParamVec) -> Result<Product, CurvatureError> {
        self.inner.layout().check(v.layout())?;
        let scaled = self.scale.hadamard(&v.to_compute_dtype());
        let product = self.inner.apply(&scaled)?;
        Ok(Product {
            value: self.scale.hadamard(&product.value),
            ..product
        })
    }

    fn width(&self) -> usize {
        self.inner.width()
    }

    fn apply_many(&self, vectors: &[ParamVec]) -> Result<Vec<Product>, CurvatureError> {
        for v in vectors {
            self.inner.layout().check(v.layout())?;
        }
        let scaled: Vec<ParamVec> = vectors
            .iter()
            .map(|v| self.scale.hadamard(&v.to_compute_dtype()))
            .collect();
        let products = self.inner.apply_many(&scaled)?;
        let rescaled = products.into_iter().map(|product| Product {
            value: self.scale.hadamard(&product.value),
            ..product
        });
        Ok(rescaled.collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operator::DenseOperator;
    use crate::spectrum::{LanczosConfig, lanczos};
    use crate::testing::layout;

    #[test]
    fn adams_sharpness_is_the_oracles() {
        // The Hessian of P3 at its start, and second moments (4, 0.25, 1).
        let rows = vec![4.2, 1.0, 0.5, 1.0, 6.8, 0.3, 0.5, 0.3, 1.3];
        let layout = layout(&[3]);
        let operator =
            DenseOperator::new(layout.clone(), rows.clone(), Structure::Symmetric).unwrap();
        let p = ParamVec::from_values(&layout, &[2.0, 0.5, 1.0]);
        let seen = Preconditioned::by_diagonal(&operator, &p).unwrap();
        let config = LanczosConfig {
            largest: 1,
            ..LanczosConfig::default()
        };
        let top = &lanczos(&seen, &config).unwrap().largest[0];
        assert!(
            (top.value - 13.702872057650673).abs() < 1e-6,
            "{}",
            top.value
        );
        // The same eigenvalue of P⁻¹ A.
        let x = ParamVec::from_values(&layout, &[0.5_f64.sqrt(), 2.0_f64.sqrt(), 1.0])
            .hadamard(&top.vector);
        let ax = operator.apply(&x).unwrap().value;
        assert!(ax.axpy(-top.value, &p.hadamard(&x)).norm() < 1e-10);
        let zero = ParamVec::from_values(&layout, &[2.0, 0.0, 1.0]);
        assert!(Preconditioned::by_diagonal(&operator, &zero).is_err());
    }
}
