//! The small symmetric eigenproblem at the end of a Lanczos run, by faer.

use faer::{Mat, Side};

use crate::error::CurvatureError;

/// Eigenvalues in ascending order, and the eigenvectors as columns.
pub(super) struct Decomposition {
    pub(super) values: Vec<f64>,
    pub(super) vectors: Mat<f64>,
}

/// Decomposes the symmetric tridiagonal matrix with the given diagonal and off-diagonal.
pub(super) fn decompose(
    diagonal: &[f64],
    off_diagonal: &[f64],
) -> Result<Decomposition, CurvatureError> {
    let size = diagonal.len();
    let matrix = Mat::<f64>::from_fn(size, size, |row, column| match row.abs_diff(column) {
        0 => diagonal[row],
        1 => off_diagonal[row.min(column)],
        _ => 0.0,
    });
    let eigen = matrix
        .self_adjoint_eigen(Side::Lower)
        .map_err(|_| CurvatureError::Eigensolver { size })?;
    Ok(Decomposition {
        values: eigen.S().column_vector().iter().copied().collect(),
        vectors: eigen.U().to_owned(),
    })
}
