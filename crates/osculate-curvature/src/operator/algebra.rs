//! Operators made from operators.

use std::sync::Arc;

use burn::module::ParamGroup;

use super::{CurvatureOperator, Product, Structure};
use crate::error::CurvatureError;
use crate::params::{ParamLayout, ParamVec};

/// `A + B`.
#[derive(Debug, Clone)]
pub struct Sum<A, B> {
    left: A,
    right: B,
}

impl<A: CurvatureOperator, B: CurvatureOperator> Sum<A, B> {
    /// The sum of two operators on one space.
    ///
    /// # Errors
    /// [`CurvatureError::LayoutMismatch`] where the spaces differ.
    pub fn new(left: A, right: B) -> Result<Self, CurvatureError> {
        left.layout().check(&right.layout())?;
        Ok(Self { left, right })
    }

    fn combine(a: Product, b: Product) -> Product {
        Product {
            value: a.value.add(&b.value),
            cost: a.cost + b.cost,
            provenance: a.provenance.combine(b.provenance),
        }
    }
}

impl<A: CurvatureOperator, B: CurvatureOperator> CurvatureOperator for Sum<A, B> {
    fn layout(&self) -> Arc<ParamLayout> {
        self.left.layout()
    }

    fn structure(&self) -> Structure {
        match (self.left.structure(), self.right.structure()) {
            (Structure::PositiveSemidefinite, Structure::PositiveSemidefinite) => {
                Structure::PositiveSemidefinite
            }
            _ => Structure::Symmetric,
        }
    }

    fn apply(&self, v: &ParamVec) -> Result<Product, CurvatureError> {
        Ok(Self::combine(self.left.apply(v)?, self.right.apply(v)?))
    }

    fn apply_probe(&self, z: &ParamVec) -> Result<Product, CurvatureError> {
        Ok(Self::combine(
            self.left.apply_probe(z)?,
            self.right.apply_probe(z)?,
        ))
    }

    fn width(&self) -> usize {
        self.left.width().max(self.right.width())
    }

    fn apply_many(&self, vectors: &[ParamVec]) -> Result<Vec<Product>, CurvatureError> {
        let (left, right) = (
            self.left.apply_many(vectors)?,
            self.right.apply_many(vectors)?,
        );
        let pairs = left.into_iter().zip(right);
        Ok(pairs.map(|(a, b)| Self::combine(a, b)).collect())
    }
}

/// `alpha A`.
#[derive(Debug, Clone)]
pub struct Scaled<A> {
    inner: A,
    alpha: f64,
}

impl<A: CurvatureOperator> Scaled<A> {
    /// `alpha` times an operator.
    pub fn new(alpha: f64, inner: A) -> Self {
        Self { inner, alpha }
    }

    fn scale(&self, product: Product) -> Product {
        Product {
            value: product.value.scale(self.alpha),
            cost: product.cost,
            provenance: product.provenance.scale(self.alpha),
        }
    }
}

impl<A: CurvatureOperator> CurvatureOperator for Scaled<A> {
    fn layout(&self) -> Arc<ParamLayout> {
        self.inner.layout()
    }

    fn structure(&self) -> Structure {
        if self.alpha >= 0.0 {
            self.inner.structure()
        } else {
            Structure::Symmetric
        }
    }

    fn apply(&self, v: &ParamVec) -> Result<Product, CurvatureError> {
        Ok(self.scale(self.inner.apply(v)?))
    }

    fn apply_probe(&self, z: &ParamVec) -> Result<Product, CurvatureError> {
        Ok(self.scale(self.inner.apply_probe(z)?))
    }

    fn width(&self) -> usize {
        self.inner.width()
    }

    fn apply_many(&self, vectors: &[ParamVec]) -> Result<Vec<Product>, CurvatureError> {
        let products = self.inner.apply_many(vectors)?.into_iter();
        Ok(products.map(|product| self.scale(product)).collect())
    }
}

/// `A + shift I`.
#[derive(Debug, Clone)]
pub struct Shifted<A> {
    inner: A,
    shift: f64,
}

impl<A: CurvatureOperator> Shifted<A> {
    /// An operator with a multiple of the identity added: damping, where `shift` is positive.
    pub fn new(inner: A, shift: f64) -> Self {
        Self { inner, shift }
    }

    fn shift(&self, product: Product, v: &ParamVec) -> Product {
        Product {
            value: product.value.axpy(self.shift, &v.to_compute_dtype()),
            ..product
        }
    }
}

impl<A: CurvatureOperator> CurvatureOperator for Shifted<A> {
    fn layout(&self) -> Arc<ParamLayout> {
        self.inner.layout()
    }

    fn structure(&self) -> Structure {
        if self.shift >= 0.0 {
            self.inner.structure()
        } else {
            Structure::Symmetric
        }
    }

    fn apply(&self, v: &ParamVec) -> Result<Product, CurvatureError> {
        Ok(self.shift(self.inner.apply(v)?, v))
    }

    fn apply_probe(&self, z: &ParamVec) -> Result<Product, CurvatureError> {
        Ok(self.shift(self.inner.apply_probe(z)?, z))
    }

    fn width(&self) -> usize {
        self.inner.width()
    }

    fn apply_many(&self, vectors: &[ParamVec]) -> Result<Vec<Product>, CurvatureError> {
        let products = self.inner.apply_many(vectors)?.into_iter();
        let shifted = products.zip(vectors);
        Ok(shifted.map(|(product, v)| self.shift(product, v)).collect())
    }
}

/// The diagonal block `P A P^T` of an operator on the parameters of a group.
#[derive(Debug, Clone)]
pub struct Restricted<A> {
    inner: A,
    full: Arc<ParamLayout>,
    layout: Arc<ParamLayout>,
    positions: Vec<usize>,
}

impl<A: CurvatureOperator> Restricted<A> {
    /// The block of the parameters that `group` selects by path, regular expression or identity.
    ///
    /// # Errors
    /// [`CurvatureError::EmptySelection`] where nothing matches.
    pub fn new(inner: A, group: &ParamGroup) -> Result<Self, CurvatureError> {
        let full = inner.layout();
        let positions = full.select(group)?;
        let layout = Arc::new(full.subset(&positions));
        Ok(Self {
            inner,
            full,
            layout,
            positions,
        })
    }

    fn block(&self, product: Product) -> Product {
        let tensors = product.value.subset(&self.positions).into_tensors();
        Product {
            value: ParamVec::new(self.layout.clone(), tensors),
            ..product
        }
    }
}

impl<A: CurvatureOperator> CurvatureOperator for Restricted<A> {
    fn layout(&self) -> Arc<ParamLayout> {
        self.layout.clone()
    }

    fn structure(&self) -> Structure {
        self.inner.structure()
    }

    // A probe of the block is zero elsewhere, so it is not a probe of the whole: both go the way
    // of a general direction.
    fn apply(&self, v: &ParamVec) -> Result<Product, CurvatureError> {
        self.layout.check(v.layout())?;
        let product = self.inner.apply(&v.embed(&self.full, &self.positions))?;
        Ok(self.block(product))
    }

    fn width(&self) -> usize {
        self.inner.width()
    }

    fn apply_many(&self, vectors: &[ParamVec]) -> Result<Vec<Product>, CurvatureError> {
        let embedded = vectors
            .iter()
            .map(|v| {
                self.layout.check(v.layout())?;
                Ok(v.embed(&self.full, &self.positions))
            })
            .collect::<Result<Vec<ParamVec>, CurvatureError>>()?;
        let products = self.inner.apply_many(&embedded)?.into_iter();
        Ok(products.map(|product| self.block(product)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operator::{Preconditioned, dense_matrix};
    use crate::testing::{Abreast, m12};

    #[test]
    fn combinations_pass_side_by_side_products_on() {
        let operator = Abreast(m12());
        let layout = operator.layout();
        let scale = ParamVec::gaussian(&layout, 3).abs();
        let group = ParamGroup::from_path("layer0.p1");
        let all: [Box<dyn CurvatureOperator>; 5] = [
            Box::new(Sum::new(&operator, Scaled::new(-0.5, &operator)).unwrap()),
            Box::new(Scaled::new(3.0, &operator)),
            Box::new(Shifted::new(&operator, 0.7)),
            Box::new(Restricted::new(&operator, &group).unwrap()),
            Box::new(Preconditioned::new(&operator, scale).unwrap()),
        ];
        for made in all {
            assert_eq!(made.width(), 4);
            let rows = dense_matrix(made.as_ref()).unwrap();
            let v = ParamVec::gaussian(&made.layout(), 2);
            let product = made.apply(&v).unwrap().value.to_values();
            let x = v.to_values();
            for (row, value) in rows.chunks(x.len()).zip(product) {
                let expected: f64 = row.iter().zip(&x).map(|(a, b)| a * b).sum();
                assert!((value - expected).abs() < 1e-10, "{value} {expected}");
            }
        }
    }
}
