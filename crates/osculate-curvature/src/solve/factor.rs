use std::sync::Arc;

use faer::Mat;

use crate::cost::Cost;
use crate::error::CurvatureError;
use crate::params::{ParamLayout, ParamVec};

/// A rectangular matrix `J` of `rows` by parameters, with `A = Jᵀ J`: the square root that an
/// operator of least squares is made of.
///
/// Its condition number is the root of that of `Jᵀ J`, which is what
/// [`lsmr`](super::lsmr) gains.
pub trait Factor {
    /// The space of the columns.
    fn layout(&self) -> Arc<ParamLayout>;

    /// Number of rows.
    fn rows(&self) -> usize;

    /// `J v`, on the host.
    ///
    /// # Errors
    /// [`CurvatureError::LayoutMismatch`] for a vector of another space, and what its passes fail
    /// with.
    fn apply(&self, v: &ParamVec) -> Result<FactorProduct<Vec<f64>>, CurvatureError>;

    /// `Jᵀ u` for one number for each row.
    ///
    /// # Errors
    /// What its passes fail with.
    fn transpose(&self, u: &[f64]) -> Result<FactorProduct<ParamVec>, CurvatureError>;

    /// How many transposed products are best asked for at once.
    fn width(&self) -> usize {
        1
    }

    /// `Jᵀ u` for each of several, one for each in their order, side by side where the factor gains by it.
    ///
    /// # Errors
    /// As [`transpose`](Self::transpose).
    fn transpose_many(
        &self,
        several: &[Vec<f64>],
    ) -> Result<Vec<FactorProduct<ParamVec>>, CurvatureError> {
        several.iter().map(|u| self.transpose(u)).collect()
    }
}

/// A product with a [`Factor`] or its transpose.
#[derive(Debug, Clone)]
pub struct FactorProduct<T> {
    /// The product.
    pub value: T,
    /// What it cost.
    pub cost: Cost,
}

impl<T> FactorProduct<T> {
    fn free(value: T) -> Self {
        Self {
            value,
            cost: Cost::ZERO,
        }
    }
}

/// An explicit factor, for tests and for small models.
#[derive(Debug, Clone)]
pub struct DenseFactor {
    layout: Arc<ParamLayout>,
    elements: Mat<f64>,
}

impl DenseFactor {
    /// The factor with these elements, row by row.
    ///
    /// # Errors
    /// [`CurvatureError::InvalidSetting`] where their number is not a multiple of the dimension.
    pub fn new(layout: Arc<ParamLayout>, elements: &[f64]) -> Result<Self, CurvatureError> {
        let n = layout.num_elements().max(1);
        CurvatureError::check(
            elements.len().is_multiple_of(n),
            "number of matrix elements",
            elements.len(),
            "a multiple of the layout's dimension",
        )?;
        let elements = Mat::from_fn(elements.len() / n, n, |row, column| {
            elements[row * n + column]
        });
        Ok(Self { layout, elements })
    }
}

impl Factor for DenseFactor {
    fn layout(&self) -> Arc<ParamLayout> {
        self.layout.clone()
    }

    fn rows(&self) -> usize {
        self.elements.nrows()
    }

    fn apply(&self, v: &ParamVec) -> Result<FactorProduct<Vec<f64>>, CurvatureError> {
        self.layout.check(v.layout())?;
        let v = v.to_values();
        let row = |row: usize| {
            v.iter()
                .enumerate()
                .map(|(k, x)| self.elements[(row, k)] * x)
                .sum()
        };
        Ok(FactorProduct::free((0..self.rows()).map(row).collect()))
    }

    fn transpose(&self, u: &[f64]) -> Result<FactorProduct<ParamVec>, CurvatureError> {
        let column = |column: usize| {
            u.iter()
                .enumerate()
                .map(|(k, x)| self.elements[(k, column)] * x)
                .sum()
        };
        let values: Vec<f64> = (0..self.elements.ncols()).map(column).collect();
        let value = ParamVec::from_values(&self.layout, &values);
        Ok(FactorProduct::free(value.to_compute_dtype()))
    }
}

/// Stored gradients as the rows of a factor: `J = G / sqrt(m)` for `m` gradients, so that `Jᵀ J` is
/// their mean outer product, the empirical Fisher matrix.
///
/// Memory: one vector for each gradient.
#[derive(Debug, Clone)]
pub struct GradientRows {
    rows: Vec<ParamVec>,
}

impl GradientRows {
    /// The factor of these gradients.
    ///
    /// # Errors
    /// [`CurvatureError::InvalidSetting`] for none, [`CurvatureError::LayoutMismatch`] where they are
    /// of several spaces and [`CurvatureError::NonFinite`] where one is not finite.
    pub fn new(gradients: Vec<ParamVec>) -> Result<Self, CurvatureError> {
        let Some(first) = gradients.first() else {
            return Err(CurvatureError::InvalidSetting {
                name: "number of gradients",
                value: "0".to_string(),
                expected: "at least one gradient",
            });
        };
        let layout = first.layout().clone();
        let mut rows = Vec::with_capacity(gradients.len());
        for gradient in &gradients {
            layout.check(gradient.layout())?;
            let row = gradient.to_compute_dtype();
            let norm = row.norm();
            if !norm.is_finite() {
                return Err(CurvatureError::NonFinite {
                    what: "the norm of a gradient",
                    value: norm,
                });
            }
            rows.push(row);
        }
        Ok(Self { rows })
    }

    /// The gradients, in the type of statistics.
    pub fn gradients(&self) -> &[ParamVec] {
        &self.rows
    }

    fn scale(&self) -> f64 {
        1.0 / (self.rows.len() as f64).sqrt()
    }
}

impl Factor for GradientRows {
    fn layout(&self) -> Arc<ParamLayout> {
        self.rows[0].layout().clone()
    }

    fn rows(&self) -> usize {
        self.rows.len()
    }

    fn apply(&self, v: &ParamVec) -> Result<FactorProduct<Vec<f64>>, CurvatureError> {
        self.layout().check(v.layout())?;
        let dots = v.to_compute_dtype().dot_many(&self.rows);
        let scaled = dots.into_iter().map(|dot| dot * self.scale());
        Ok(FactorProduct::free(scaled.collect()))
    }

    fn transpose(&self, u: &[f64]) -> Result<FactorProduct<ParamVec>, CurvatureError> {
        let zero = self.rows[0].scale(0.0);
        let terms = self.rows.iter().zip(u);
        let sum = terms.fold(zero, |sum, (row, u)| sum.axpy(u * self.scale(), row));
        Ok(FactorProduct::free(sum))
    }
}
