//! Orthonormal vectors of parameter space, and the factorisations built from them.

use faer::Mat;

use super::vector::ParamVec;
use crate::error::CurvatureError;

/// Orthonormal vectors, kept on the device. Coefficients live on the host in `f64`.
#[derive(Debug, Clone, Default)]
pub(crate) struct Basis {
    vectors: Vec<ParamVec>,
}

impl Basis {
    /// A basis of vectors that are orthonormal already.
    pub(crate) fn of(vectors: Vec<ParamVec>) -> Self {
        Self { vectors }
    }

    pub(crate) fn vectors(&self) -> &[ParamVec] {
        &self.vectors
    }

    pub(crate) fn into_vectors(self) -> Vec<ParamVec> {
        self.vectors
    }

    pub(crate) fn len(&self) -> usize {
        self.vectors.len()
    }

    pub(crate) fn push(&mut self, unit: ParamVec) {
        self.vectors.push(unit);
    }

    /// `Qᵀ x`. One read-back.
    pub(crate) fn coefficients(&self, x: &ParamVec) -> Vec<f64> {
        if self.vectors.is_empty() {
            return Vec::new();
        }
        x.dot_many(&self.vectors)
    }

    /// `x + Q c`.
    pub(crate) fn add(&self, x: ParamVec, coefficients: &[f64]) -> ParamVec {
        self.vectors
            .iter()
            .zip(coefficients)
            .fold(x, |sum, (q, c)| sum.axpy(*c, q))
    }

    /// `x - Q Qᵀ x`, with the coefficients `Qᵀ x`. The second pass removes what rounding left of the
    /// first.
    pub(crate) fn split(&self, x: &ParamVec) -> (Vec<f64>, ParamVec) {
        let mut rest = x.clone();
        let mut total = vec![0.0; self.vectors.len()];
        if self.vectors.is_empty() {
            return (total, rest);
        }
        for _ in 0..2 {
            let overlaps = rest.dot_many(&self.vectors);
            for (index, overlap) in overlaps.into_iter().enumerate() {
                rest = rest.axpy(-overlap, &self.vectors[index]);
                total[index] += overlap;
            }
        }
        (total, rest)
    }
}

/// `Y = Q R` with orthonormal `Q` of as many columns as `Y` has numerical rank.
pub(crate) struct ThinQr {
    pub(crate) basis: Basis,
    /// Rank by number of columns of `Y`.
    pub(crate) r: Mat<f64>,
}

/// The factorisation of the given columns. A column whose part outside the columns before it is at
/// most `tolerance` times the largest column's norm gives no new direction.
///
/// # Errors
/// [`CurvatureError::NonFinite`] for a column that is not finite: it would be left out as if it were 0.
pub(crate) fn thin_qr(columns: &[ParamVec], tolerance: f64) -> Result<ThinQr, CurvatureError> {
    let norms: Vec<f64> = columns.iter().map(ParamVec::norm).collect();
    if let Some(&value) = norms.iter().find(|norm| !norm.is_finite()) {
        return Err(CurvatureError::NonFinite {
            what: "the norm of a vector or of a product",
            value,
        });
    }
    let largest = norms.into_iter().fold(0.0_f64, f64::max);
    let mut basis = Basis::default();
    let mut rows: Vec<Vec<f64>> = Vec::with_capacity(columns.len());
    for column in columns {
        let (mut coefficients, rest) = basis.split(column);
        let norm = rest.norm();
        if norm > tolerance * largest {
            basis.push(rest.scale(1.0 / norm));
            coefficients.push(norm);
        }
        rows.push(coefficients);
    }
    let r = Mat::from_fn(basis.len(), columns.len(), |row, column| {
        rows[column].get(row).copied().unwrap_or(0.0)
    });
    Ok(ThinQr { basis, r })
}
