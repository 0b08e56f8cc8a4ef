use burn::tensor::{Tensor, TensorData};
use faer::dyn_stack::{MemBuffer, MemStack};
use faer::linalg::cholesky::llt::factor;
use faer::{Mat, Par};

use super::{Real, elements, failed, for_each_matrix, for_type, kernel, read};
use crate::error::{
    Effort, LinalgError, MatrixFailure, Outcome, Solved, like, non_negative, square,
};
use crate::outcome::trivial;
use crate::stack::{narrow, widen};

/// Cholesky factors of a stack.
#[derive(Debug, Clone)]
pub struct Cholesky {
    /// Lower triangular factors, `[k, n, n]`, with zeros above the diagonal; the identity for a
    /// matrix that failed.
    pub factors: Tensor<3>,
    /// The result for each matrix. The residual is `‖A x - L Lᵀ x‖ / (‖A‖ ‖x‖)` for a fixed vector
    /// `x`, with the Frobenius norm of `A`.
    pub outcomes: Vec<Outcome>,
}

impl Cholesky {
    /// The factors, with the last good ones in the place of those that failed.
    ///
    /// # Errors
    /// [`LinalgError::Shape`] where the last ones have another shape.
    pub fn or_last(self, factors: Tensor<3>) -> Result<Self, LinalgError> {
        like("or_last", self.factors.dims(), factors.dims())?;
        let Some(failed) = failed(&self.outcomes, &self.factors.device()) else {
            return Ok(self);
        };
        let shape = self.factors.shape();
        let k = self.outcomes.len();
        let failed = failed.reshape([k, 1, 1]).expand(shape);
        Ok(Self {
            factors: self.factors.mask_where(failed, factors),
            outcomes: self.outcomes,
        })
    }
}

/// The Cholesky factor `L`, `L Lᵀ = A`, of each symmetric positive definite matrix of `[k, n, n]`.
/// Only the lower half is looked at.
///
/// On the host, in parallel, with one transfer each way. A matrix with a pivot that is not positive
/// is factored again in f64; if that fails too, and `jitter` is not zero, once more with `jitter`
/// times its largest element added to the diagonal. `Effort` says which it was.
///
/// Costs about `n³ / 3` multiplications a matrix.
///
/// # Errors
/// [`LinalgError`] for matrices that are not square, a negative or non-finite jitter, or a failed
/// transfer.
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use osculate_linalg::{MatrixFailure, cholesky};
/// let a = Tensor::<3>::from_data([[[4.0, 2.0], [2.0, 1.0]]], &Device::default());
/// let outcome = cholesky(a, 0.0)?.outcomes[0];
/// assert_eq!(outcome, Err(MatrixFailure::NotPositiveDefinite { pivot: 1 }));
/// # Ok::<(), osculate_linalg::LinalgError>(())
/// ```
pub fn cholesky(stack: Tensor<3>, jitter: f64) -> Result<Cholesky, LinalgError> {
    const OPERATION: &str = "cholesky";
    let (k, n) = square(OPERATION, stack.dims())?;
    non_negative(OPERATION, "jitter", jitter)?;
    if k * n == 0 {
        return Ok(Cholesky {
            factors: stack,
            outcomes: trivial(k),
        });
    }
    let (device, dtype) = (stack.device(), stack.dtype());
    let data = read(OPERATION, widen(stack))?;
    let wide = data.dtype();
    let (result, outcomes) = for_type!(data, T => {
        let mut out = vec![0.0 as T; k * n * n];
        let input = elements::<T>(OPERATION, &data)?;
        let outcomes = for_each_matrix((k, n), input, &mut out, |matrix, out, par| {
            let outcome = climb::<T>(matrix, n, jitter, out, par);
            if outcome.is_err() {
                out.iter_mut().step_by(n + 1).for_each(|one| *one = 1.0);
            }
            outcome
        });
        (TensorData::new(out, [k, n, n]), outcomes)
    });
    Ok(Cholesky {
        factors: narrow(Tensor::from_data(result, (&device, wide)), dtype),
        outcomes,
    })
}

fn climb<T: Real>(elements: &[T], n: usize, jitter: f64, out: &mut [T], par: Par) -> Outcome {
    let scale = kernel::scale(elements).ok_or(MatrixFailure::NonFinite)?;
    let own = kernel::scaled::<T, T>(elements, n, scale);
    let mut result = factorize(&own, 0.0, par).map(|l| finish(&own, &l, scale, out, Effort::Plain));
    let wide = kernel::scaled::<T, f64>(elements, n, scale);
    for (effort, shift) in [(Effort::Double, 0.0), (Effort::Jitter, jitter)] {
        let repeats = effort == Effort::Jitter && shift == 0.0;
        if result.is_err() && !repeats {
            let l = factorize(&wide, shift, par);
            result = l.map(|l| finish(&wide, &l, scale, out, effort));
        }
    }
    result
}

fn factorize<T: Real>(matrix: &Mat<T>, shift: f64, par: Par) -> Result<Mat<T>, MatrixFailure> {
    let n = matrix.nrows();
    let mut factor = Mat::<T>::from_fn(n, n, |i, j| match i.cmp(&j) {
        std::cmp::Ordering::Less => T::of(0.0),
        std::cmp::Ordering::Equal => matrix[(i, j)] + T::of(shift),
        std::cmp::Ordering::Greater => matrix[(i, j)],
    });
    let scratch = factor::cholesky_in_place_scratch::<T>(n, par, Default::default());
    factor::cholesky_in_place(
        factor.as_mut(),
        Default::default(),
        par,
        MemStack::new(&mut MemBuffer::new(scratch)),
        Default::default(),
    )
    .map_err(|error| match error {
        factor::LltError::NonPositivePivot { index } => {
            MatrixFailure::NotPositiveDefinite { pivot: index }
        }
    })?;
    // faer leaves what it likes above the diagonal.
    for j in 1..n {
        factor.col_mut(j).subrows_mut(0, j).fill(T::of(0.0));
    }
    if kernel::is_finite(factor.as_ref()) {
        Ok(factor)
    } else {
        Err(MatrixFailure::NonFinite)
    }
}

fn finish<S: Real, T: Real>(
    matrix: &Mat<S>,
    factor: &Mat<S>,
    scale: f64,
    out: &mut [T],
    effort: Effort,
) -> Solved {
    let n = matrix.nrows();
    let root = scale.sqrt();
    for i in 0..n {
        for j in 0..=i {
            out[i * n + j] = T::of(factor[(i, j)].wide() * root);
        }
    }
    let x = kernel::probe::<S>(n);
    let image = Mat::<S>::from_fn(n, 1, |i, _| {
        (0..n).fold(S::of(0.0), |sum, j| {
            sum + matrix[(i.max(j), i.min(j))] * x[(j, 0)]
        })
    });
    let product = factor * (factor.transpose() * &x);
    let difference = (image - product).norm_l2().wide();
    let size = matrix.norm_l2().wide() * x.norm_l2().wide();
    Solved {
        residual: difference / size,
        effort,
    }
}
