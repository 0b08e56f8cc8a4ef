//! One matrix: faer with its work space, scaling and certificates.

use std::ops::Range;

use faer::diag::{Diag, DiagRef};
use faer::dyn_stack::{MemBuffer, MemStack};
use faer::linalg::evd::{self, ComputeEigenvectors, SelfAdjointEvdParams};
use faer::linalg::householder;
use faer::linalg::matmul::triangular::{self, BlockStructure};
use faer::linalg::qr::no_pivoting::factor;
use faer::{Accum, Auto, Conj, Mat, MatMut, MatRef, Par, Spec};

use super::Real;

/// A power of two near the largest absolute value, 1 for a zero matrix; `None` where an element is
/// not finite.
pub(super) fn scale<T: Real>(elements: &[T]) -> Option<f64> {
    let mut largest = 0.0f64;
    for element in elements {
        let size = element.wide().abs();
        if !size.is_finite() {
            return None;
        }
        largest = largest.max(size);
    }
    if largest == 0.0 {
        return Some(1.0);
    }
    Some(largest.log2().floor().clamp(-1000.0, 1000.0).exp2())
}

/// Rows and columns of a tile, as many as one set of a first cache holds: rows of 1024 numbers all fall on one.
const TILE: usize = 8;

/// Calls `visit` with the ranges of rows and columns of every tile.
pub(super) fn tiles(
    rows: usize,
    columns: usize,
    mut visit: impl FnMut(Range<usize>, Range<usize>),
) {
    let ranges = |n: usize| (0..n).step_by(TILE).map(move |at| at..(at + TILE).min(n));
    for down in ranges(rows) {
        for across in ranges(columns) {
            visit(down.clone(), across);
        }
    }
}

/// A row-major matrix divided by a power of two, in another type.
pub(super) fn scaled<S: Real, T: Real>(elements: &[S], rows: usize, scale: f64) -> Mat<T> {
    let columns = elements.len().checked_div(rows).unwrap_or(0);
    let factor = 1.0 / scale;
    let mut matrix = Mat::<T>::zeros(rows, columns);
    tiles(rows, columns, |down, across| {
        for j in across {
            let column = &mut matrix.col_as_slice_mut(j)[down.clone()];
            for (element, i) in column.iter_mut().zip(down.clone()) {
                *element = T::of(elements[i * columns + j].wide() * factor);
            }
        }
    });
    matrix
}

/// Writes a matrix in row-major order.
pub(super) fn write<S: Real, T: Real>(matrix: &Mat<S>, out: &mut [T]) {
    let columns = matrix.ncols();
    tiles(matrix.nrows(), columns, |down, across| {
        for j in across {
            let column = &matrix.col_as_slice(j)[down.clone()];
            for (element, i) in column.iter().zip(down.clone()) {
                out[i * columns + j] = T::of(element.wide());
            }
        }
    });
}

/// Fills the lower half of a row-major matrix from its upper half.
pub(super) fn mirror<T: Real>(matrix: &mut [T], n: usize) {
    tiles(n, n, |down, across| {
        for i in down {
            for j in across.start..across.end.min(i) {
                matrix[i * n + j] = matrix[j * n + i];
            }
        }
    });
}

/// Writes the upper half of `scale A B`, which must be symmetric, in row-major order, at 0.6 of the cost of the whole.
pub(super) fn upper_product<T: Real>(
    out: &mut [T],
    a: MatRef<'_, T>,
    b: MatRef<'_, T>,
    scale: f64,
    par: Par,
) {
    let n = a.nrows();
    triangular::matmul(
        MatMut::from_row_major_slice_mut(out, n, n),
        BlockStructure::TriangularUpper,
        Accum::Replace,
        a,
        BlockStructure::Rectangular,
        b,
        BlockStructure::Rectangular,
        T::of(scale),
        par,
    );
}

/// Eigenvalues in ascending order, and the eigenvectors as columns.
pub(super) struct Eigen<T> {
    pub(super) values: Diag<T>,
    pub(super) vectors: Mat<T>,
    /// The larger of `‖A x - V Λ Vᵀ x‖ / (‖A‖ ‖x‖)` and `‖V Vᵀ x - x‖ / ‖x‖` for a fixed `x` with
    /// no structure: a certificate for `n²` multiplications.
    pub(super) residual: f64,
}

/// Rows from which the reduction to a tridiagonal matrix is worth more than one thread, measured on two cores.
const PARALLEL_TRIDIAGONALIZATION: usize = 1024;

/// The symmetric eigenproblem, of a matrix whose elements are at most about 1 in size.
pub(super) fn eigen<T: Real>(matrix: MatRef<'_, T>, par: Par) -> Option<Eigen<T>> {
    let n = matrix.nrows();
    let mut params: SelfAdjointEvdParams = Auto::<T>::auto();
    if n < PARALLEL_TRIDIAGONALIZATION {
        params.tridiag.par_threshold = usize::MAX;
    }
    let mut values = Diag::<T>::zeros(n);
    let mut vectors = Mat::<T>::zeros(n, n);
    let scratch =
        evd::self_adjoint_evd_scratch::<T>(n, ComputeEigenvectors::Yes, par, Spec::new(params));
    let mut buffer = MemBuffer::new(scratch);
    evd::self_adjoint_evd(
        matrix,
        values.as_mut(),
        Some(vectors.as_mut()),
        par,
        MemStack::new(&mut buffer),
        Spec::new(params),
    )
    .ok()?;
    let mut eigen = Eigen {
        values,
        vectors,
        residual: f64::NAN,
    };
    eigen.certify(matrix);
    Some(eigen)
}

impl<T: Real> Eigen<T> {
    /// Computes the residual, of the decomposition of this matrix.
    pub(super) fn certify(&mut self, matrix: MatRef<'_, T>) {
        self.residual = certificate(matrix, self.values.as_ref(), self.vectors.as_ref());
    }
}

fn certificate<T: Real>(
    matrix: MatRef<'_, T>,
    values: DiagRef<'_, T>,
    vectors: MatRef<'_, T>,
) -> f64 {
    let n = matrix.nrows();
    let x = probe::<T>(n);
    let image = matrix * &x;
    let coefficients = vectors.transpose() * &x;
    let back = vectors * &coefficients;
    let weighted = Mat::<T>::from_fn(n, 1, |i, _| values[i] * coefficients[(i, 0)]);
    let reconstructed = vectors * &weighted;
    let size = |m: &Mat<T>| m.norm_l2().wide();
    let largest = [0, n - 1]
        .map(|i| values[i].wide().abs())
        .into_iter()
        .fold(f64::MIN_POSITIVE, f64::max);
    let length = size(&x);
    let reconstruction = size(&(image - reconstructed)) / (largest * length);
    let orthogonality = size(&(back - &x)) / length;
    if reconstruction.is_finite() && orthogonality.is_finite() {
        reconstruction.max(orthogonality)
    } else {
        f64::NAN
    }
}

/// A fixed vector from a quasi-random sequence: it has no structure that a matrix could share.
pub(super) fn probe<T: Real>(n: usize) -> Mat<T> {
    let golden = 0.618_033_988_749_894_9;
    Mat::from_fn(n, 1, |i, _| T::of(((i + 1) as f64 * golden).fract() - 0.5))
}

/// `‖Qᵀ Q x - x‖ / ‖x‖` for the fixed vector `x`.
pub(super) fn orthogonality<T: Real>(basis: MatRef<'_, T>) -> f64 {
    let x = probe::<T>(basis.ncols());
    let back = basis.transpose() * (basis * &x);
    (back - &x).norm_l2().wide() / x.norm_l2().wide()
}

/// Rows from which the panels of a QR factorisation are worth more than one thread, measured on two cores:
/// below, its threads wait for each other, and it takes up to six times as long.
const PARALLEL_PANELS: usize = 2048;

/// Replaces a matrix by the orthogonal factor of its QR factorisation.
pub(super) fn orthogonal_factor<T: Real>(mut matrix: Mat<T>, par: Par) -> Mat<T> {
    let (m, n) = (matrix.nrows(), matrix.ncols());
    let size = m.min(n);
    if size == 0 {
        return Mat::zeros(m, size);
    }
    let panels = if m < PARALLEL_PANELS { Par::Seq } else { par };
    let block = factor::recommended_block_size::<T>(m, n);
    let mut coefficients = Mat::<T>::zeros(block, size);
    let scratch = factor::qr_in_place_scratch::<T>(m, n, block, panels, Default::default()).or(
        householder::apply_block_householder_sequence_on_the_left_in_place_scratch::<T>(
            m, block, size,
        ),
    );
    let mut buffer = MemBuffer::new(scratch);
    factor::qr_in_place(
        matrix.as_mut(),
        coefficients.as_mut(),
        panels,
        MemStack::new(&mut buffer),
        Default::default(),
    );
    let mut basis = Mat::<T>::identity(m, size);
    householder::apply_block_householder_sequence_on_the_left_in_place_with_conj(
        matrix.as_ref().subcols(0, size),
        coefficients.as_ref(),
        Conj::No,
        basis.as_mut(),
        par,
        MemStack::new(&mut buffer),
    );
    basis
}

/// Whether every element is finite.
pub(super) fn is_finite<T: Real>(matrix: MatRef<'_, T>) -> bool {
    matrix
        .col_iter()
        .all(|column| column.iter().all(|element| element.wide().is_finite()))
}
