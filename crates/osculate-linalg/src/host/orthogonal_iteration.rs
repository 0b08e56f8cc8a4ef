use burn::tensor::{Int, Tensor, TensorData};
use faer::{Mat, MatRef, Par};

use super::null_space::{hold, null_columns};
use super::{Real, elements, failed, for_each_matrix, for_type, kernel, read};
use crate::error::{Effort, LinalgError, MatrixFailure, Outcome, Solved, non_negative, square};
use crate::outcome::trivial;
use crate::stack::{frobenius, narrow, positive, widen};

/// Settings of [`orthogonal_iteration`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct OrthogonalIterationConfig {
    /// Most iterations. Default 1, as in SOAP.
    pub iterations: usize,
    /// Stops, and does not begin, where [`off_diagonality`] is at most this. Default: none.
    pub tolerance: Option<f64>,
    /// Orders the columns by their Rayleigh quotients, descending, before the first iteration.
    /// Default `true`.
    pub sort: bool,
}

impl Default for OrthogonalIterationConfig {
    fn default() -> Self {
        Self {
            iterations: 1,
            tolerance: None,
            sort: true,
        }
    }
}

/// Bases that were brought nearer to the eigenvectors of a stack.
#[derive(Debug, Clone)]
pub struct EigenBasis {
    /// Orthonormal columns, `[k, n, n]`; the basis that was given for a matrix that failed.
    pub vectors: Tensor<3>,
    /// For each column, the column of the given basis that it came from, `[k, n]`: what moments
    /// kept in the old basis are to be reordered by.
    pub order: Tensor<2, Int>,
    /// The result for each matrix. The residual is the [`off_diagonality`]: that of the basis where
    /// a tolerance is set, and otherwise that of the basis which was given.
    pub outcomes: Vec<Outcome>,
    /// Iterations that each matrix took.
    pub iterations: Vec<usize>,
}

/// How far a basis is from the eigenvectors: `‖B - diag B‖ / ‖B‖` with `B = Qᵀ A Q`, in Frobenius
/// norms, of shape `[k]`.
///
/// On the device, one product, for `Q` is taken to be orthonormal; nothing is read back. 0 for a zero matrix, NaN for one with a NaN.
///
/// # Errors
/// [`LinalgError::Shape`] where the stacks are not square and of one shape.
pub fn off_diagonality(stack: Tensor<3>, basis: Tensor<3>) -> Result<Tensor<1>, LinalgError> {
    let (k, n) = same("off_diagonality", &stack, &basis)?;
    let (stack, basis) = (widen(stack), widen(basis));
    if k * n == 0 {
        return Ok(Tensor::zeros([k], (&stack.device(), stack.dtype())));
    }
    // As on the host: the columns of the off-diagonal part, up to a rotation.
    let image = stack.matmul(basis.clone());
    let quotients = (basis.clone() * image.clone()).sum_dim(1);
    let size = positive(frobenius(image.clone()));
    Ok((frobenius(image - basis * quotients) / size).reshape([k]))
}

fn same(
    operation: &'static str,
    stack: &Tensor<3>,
    basis: &Tensor<3>,
) -> Result<(usize, usize), LinalgError> {
    let (k, n) = square(operation, stack.dims())?;
    if basis.dims() != [k, n, n] {
        return Err(LinalgError::Shape {
            operation,
            expected: "a basis of the shape of the stack",
            shape: basis.dims().to_vec(),
        });
    }
    Ok((k, n))
}

/// Brings a basis `Q` nearer to the eigenvectors of each symmetric matrix `A` of `[k, n, n]`, by
/// orthogonal (subspace) iteration: `Q ← qr(A Q)`.
///
/// One iteration moves a basis that was good for a slightly different matrix most of the way, for a
/// fifth of an eigendecomposition's price. It needs `A` positive semi-definite to converge;
/// directions of equal eigenvalues stay as they are up to rotations among them, and those that `A` takes
/// to zero keep their part that is new to the others. The signs of the columns are those of Householder's
/// QR: they may flip.
///
/// On the host, in parallel, one transfer each way. About `11 n³ / 3` multiplications an iteration, and
/// `n³` more where a tolerance is set and not met at the start.
///
/// # Errors
/// [`LinalgError`] for stacks that are not square and of one shape, an invalid setting, or a failed
/// transfer.
pub fn orthogonal_iteration(
    stack: Tensor<3>,
    basis: Tensor<3>,
    config: &OrthogonalIterationConfig,
) -> Result<EigenBasis, LinalgError> {
    const OPERATION: &str = "orthogonal_iteration";
    let (k, n) = same(OPERATION, &stack, &basis)?;
    let (device, dtype) = (basis.device(), basis.dtype());
    if let Some(value) = config.tolerance {
        non_negative(OPERATION, "tolerance", value)?;
    }
    if k * n == 0 {
        return Ok(EigenBasis {
            vectors: basis,
            order: Tensor::zeros([k, n], &device),
            outcomes: trivial(k),
            iterations: vec![0; k],
        });
    }
    let stack = widen(stack);
    let both = Tensor::cat(vec![stack.clone(), basis.clone().cast(stack.dtype())], 1);
    let data = read(OPERATION, both)?;
    let wide = data.dtype();
    let (result, results) = for_type!(data, T => {
        let mut out = vec![0.0 as T; k * n * n];
        let input = elements::<T>(OPERATION, &data)?;
        let results = for_each_matrix((k, n), input, &mut out, |both, out, par| {
            iterate(both, n, config, out, par)
        });
        (TensorData::new(out, [k, n, n]), results)
    });
    let mut order = Vec::with_capacity(k * n);
    let (mut outcomes, mut iterations) = (Vec::with_capacity(k), Vec::with_capacity(k));
    for result in results {
        match result {
            Ok(done) => {
                order.extend(done.order);
                iterations.push(done.iterations);
                outcomes.push(Ok(Solved {
                    residual: done.residual,
                    effort: Effort::Plain,
                }));
            }
            Err(failure) => {
                order.extend(0..n as i64);
                iterations.push(0);
                outcomes.push(Err(failure));
            }
        }
    }
    let mut vectors = narrow(Tensor::from_data(result, (&device, wide)), dtype);
    if let Some(failed) = failed(&outcomes, &device) {
        let failed = failed.reshape([k, 1, 1]).expand([k, n, n]);
        vectors = vectors.mask_where(failed, basis);
    }
    Ok(EigenBasis {
        vectors,
        order: Tensor::from_data(TensorData::new(order, [k, n]), &device),
        outcomes,
        iterations,
    })
}

struct Iterated {
    order: Vec<i64>,
    residual: f64,
    iterations: usize,
}

/// `both` holds the matrix, then the basis.
fn iterate<T: Real>(
    both: &[T],
    n: usize,
    config: &OrthogonalIterationConfig,
    out: &mut [T],
    par: Par,
) -> Result<Iterated, MatrixFailure> {
    let (matrix, basis) = both.split_at(n * n);
    let scale = kernel::scale(matrix).ok_or(MatrixFailure::NonFinite)?;
    kernel::scale(basis).ok_or(MatrixFailure::NonFinite)?;
    let matrix = kernel::scaled::<T, T>(matrix, n, scale);
    let mut basis = kernel::scaled::<T, T>(basis, n, 1.0);
    let mut image = product(matrix.as_ref(), basis.as_ref(), par);
    let mut order: Vec<usize> = (0..n).collect();
    if config.sort {
        let mut quotients: Vec<f64> = (0..n)
            .map(|j| (basis.col(j).transpose() * image.col(j)).wide())
            .collect();
        for j in null_columns(&image) {
            quotients[j] = 0.0;
        }
        // Stable, so that columns of equal quotients, of a zero matrix for instance, stay.
        order.sort_by(|&a, &b| quotients[b].total_cmp(&quotients[a]));
        (basis, image) = (permuted(&basis, &order), permuted(&image, &order));
    }
    let mut residual = off_diagonal(basis.as_ref(), image.as_ref());
    let mut iterations = 0;
    while iterations < config.iterations && config.tolerance.is_none_or(|t| residual > t) {
        let null = null_columns(&image);
        hold(&basis, &mut image, &null);
        basis = kernel::orthogonal_factor(image, par);
        iterations += 1;
        let more = iterations < config.iterations || config.tolerance.is_some();
        image = if more {
            product(matrix.as_ref(), basis.as_ref(), par)
        } else {
            Mat::new()
        };
        if config.tolerance.is_some() {
            residual = off_diagonal(basis.as_ref(), image.as_ref());
        }
    }
    if !kernel::is_finite(basis.as_ref()) {
        return Err(MatrixFailure::NonFinite);
    }
    kernel::write(&basis, out);
    Ok(Iterated {
        order: order.into_iter().map(|index| index as i64).collect(),
        residual,
        iterations,
    })
}

/// The columns in another order.
fn permuted<T: Real>(matrix: &Mat<T>, order: &[usize]) -> Mat<T> {
    let mut result = Mat::<T>::zeros(matrix.nrows(), order.len());
    for (j, &from) in order.iter().enumerate() {
        let column = matrix.col_as_slice(from);
        result.col_as_slice_mut(j).copy_from_slice(column);
    }
    result
}

fn product<T: Real>(a: MatRef<'_, T>, b: MatRef<'_, T>, par: Par) -> Mat<T> {
    let mut result = Mat::<T>::zeros(a.nrows(), b.ncols());
    faer::linalg::matmul::matmul(result.as_mut(), faer::Accum::Replace, a, b, T::of(1.0), par);
    result
}

/// The off-diagonality: column `j` of the off-diagonal part of `Qᵀ A Q` is as long as
/// `A q_j - (q_jᵀ A q_j) q_j`, since `Q` is orthonormal.
fn off_diagonal<T: Real>(basis: MatRef<'_, T>, image: MatRef<'_, T>) -> f64 {
    let (mut off, mut all) = (0.0f64, 0.0f64);
    for j in 0..basis.ncols() {
        let (q, a) = (basis.col(j), image.col(j));
        let quotient = (q.transpose() * a).wide();
        off += q
            .iter()
            .zip(a.iter())
            .map(|(q, a)| (a.wide() - quotient * q.wide()).powi(2))
            .sum::<f64>();
        all += a.squared_norm_l2().wide();
    }
    if all == 0.0 { 0.0 } else { (off / all).sqrt() }
}
