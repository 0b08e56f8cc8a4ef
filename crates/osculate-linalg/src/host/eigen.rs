use burn::tensor::{Tensor, TensorData};
use faer::Par;

use super::kernel::{self, Eigen};
use super::{Real, elements, failed, for_each_matrix, for_type, null_space, read};
use crate::error::{
    Effort, LinalgError, MatrixFailure, Outcome, Solved, like, non_negative, square,
};
use crate::outcome::trivial;
use crate::stack::{narrow, widen};

/// Settings of [`eigh`] and what is built on it.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct EighConfig {
    /// Largest residual that a matrix is accepted with. Default: `64 √n` unit roundoffs of the
    /// compute type.
    pub tolerance: Option<f64>,
    /// Computes in f64 at once. Default `false`.
    pub double: bool,
}

impl EighConfig {
    pub(super) fn validate(&self, operation: &'static str) -> Result<(), LinalgError> {
        match self.tolerance {
            Some(value) => non_negative(operation, "tolerance", value),
            None => Ok(()),
        }
    }
}

/// Eigendecompositions of a stack of symmetric matrices.
#[derive(Debug, Clone)]
pub struct SymmetricEigen {
    /// Eigenvalues in ascending order, `[k, n]`; zeros for a matrix that failed.
    pub values: Tensor<2>,
    /// Eigenvectors as columns, `[k, n, n]`; the identity for a matrix that failed.
    pub vectors: Tensor<3>,
    /// The result for each matrix. The residual is the larger of `‖A x - V Λ Vᵀ x‖ / (‖A‖ ‖x‖)` and
    /// `‖V Vᵀ x - x‖ / ‖x‖` for a fixed vector `x`.
    pub outcomes: Vec<Outcome>,
}

impl SymmetricEigen {
    /// The decompositions, with the last good ones in the place of those that failed.
    ///
    /// # Errors
    /// [`LinalgError::Shape`] where the last ones have another shape.
    pub fn or_last(self, values: Tensor<2>, vectors: Tensor<3>) -> Result<Self, LinalgError> {
        like("or_last", self.values.dims(), values.dims())?;
        like("or_last", self.vectors.dims(), vectors.dims())?;
        let Some(failed) = failed(&self.outcomes, &self.vectors.device()) else {
            return Ok(self);
        };
        let [k, n] = self.values.dims();
        let of_values = failed.clone().reshape([k, 1]).expand([k, n]);
        let of_vectors = failed.reshape([k, 1, 1]).expand([k, n, n]);
        Ok(Self {
            values: self.values.mask_where(of_values, values),
            vectors: self.vectors.mask_where(of_vectors, vectors),
            outcomes: self.outcomes,
        })
    }
}

/// The eigendecomposition of each symmetric matrix of `[k, n, n]`.
///
/// The stack is read back once, its matrices are solved in parallel by faer, and the results are
/// sent in one transfer. Matrices are scaled by a power of two first, so that sizes from 1e-30 to
/// 1e30 are no trouble. A matrix whose residual is above the tolerance is solved again in f64, then
/// in f64 with a small multiple of the identity added (and taken off the eigenvalues); after that
/// it is a typed failure. One half of each matrix is decomposed and the other only checked against:
/// a matrix that is not symmetric fails. Of a null space of two dimensions and more the basis is the one
/// nearest to some of the axes, so that it does not depend on rounding.
///
/// Costs about `9 n³` multiplications a matrix.
///
/// # Errors
/// [`LinalgError`] for matrices that are not square, an invalid tolerance, or a failed transfer.
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use osculate_linalg::{EighConfig, eigh};
/// let a = Tensor::<3>::from_data([[[2.0, 1.0], [1.0, 2.0]]], &Device::default());
/// let eigen = eigh(a, &EighConfig::default())?;
/// let values = eigen.values.into_data().try_to_vec::<f32>().unwrap();
/// assert!((values[0] - 1.0).abs() < 1e-6 && (values[1] - 3.0).abs() < 1e-6);
/// assert!(eigen.outcomes[0].is_ok());
/// # Ok::<(), osculate_linalg::LinalgError>(())
/// ```
pub fn eigh(stack: Tensor<3>, config: &EighConfig) -> Result<SymmetricEigen, LinalgError> {
    const OPERATION: &str = "eigh";
    let (k, n) = square(OPERATION, stack.dims())?;
    config.validate(OPERATION)?;
    let (device, dtype) = (stack.device(), stack.dtype());
    if k * n == 0 {
        return Ok(SymmetricEigen {
            values: Tensor::zeros([k, n], (&device, dtype)),
            vectors: Tensor::zeros([k, n, n], (&device, dtype)),
            outcomes: trivial(k),
        });
    }
    let data = read(OPERATION, widen(stack))?;
    let wide = data.dtype();
    let (result, outcomes) = for_type!(data, T => {
        // The eigenvectors of a matrix, then a row with its eigenvalues.
        let mut out = vec![0.0 as T; k * (n + 1) * n];
        let input = elements::<T>(OPERATION, &data)?;
        let outcomes = for_each_matrix((k, n), input, &mut out, |matrix, out, par| {
            let (vectors, values) = out.split_at_mut(n * n);
            match solve(matrix, n, config, par) {
                Ok(mut found) => {
                    match &mut found.eigen {
                        InType::Own(eigen) => {
                            null_space::settle::<T, T>(eigen, par);
                            write(eigen, found.scale, vectors, values);
                        }
                        InType::Double(eigen) => {
                            null_space::settle::<T, f64>(eigen, par);
                            write(eigen, found.scale, vectors, values);
                        }
                    }
                    Ok(found.solved)
                }
                Err(failure) => {
                    vectors.iter_mut().step_by(n + 1).for_each(|one| *one = 1.0);
                    Err(failure)
                }
            }
        });
        (TensorData::new(out, [k, n + 1, n]), outcomes)
    });
    let result = narrow(Tensor::<3>::from_data(result, (&device, wide)), dtype);
    Ok(SymmetricEigen {
        values: result.clone().slice([0..k, n..n + 1, 0..n]).reshape([k, n]),
        vectors: result.slice([0..k, 0..n, 0..n]),
        outcomes,
    })
}

fn write<S: Real, T: Real>(eigen: &Eigen<S>, scale: f64, vectors: &mut [T], values: &mut [T]) {
    kernel::write(&eigen.vectors, vectors);
    for (value, out) in eigen.values.column_vector().iter().zip(values) {
        *out = T::of(value.wide() * scale);
    }
}

/// A decomposition of a scaled matrix that is good enough, in the type that it took.
pub(super) struct Decomposition<T> {
    /// What the eigenvalues are to be multiplied by.
    pub(super) scale: f64,
    pub(super) solved: Solved,
    pub(super) eigen: InType<T>,
}

/// A decomposition in the stack's own type or in f64.
pub(super) enum InType<T> {
    Own(Eigen<T>),
    Double(Eigen<f64>),
}

/// Climbs the ladder of efforts to the first decomposition that is good enough.
pub(super) fn solve<T: Real>(
    matrix: &[T],
    n: usize,
    config: &EighConfig,
    par: Par,
) -> Result<Decomposition<T>, MatrixFailure> {
    let scale = kernel::scale(matrix).ok_or(MatrixFailure::NonFinite)?;
    let tolerance = config
        .tolerance
        .unwrap_or(64.0 * (n as f64).sqrt() * T::EPSILON);
    let found = |residual, effort, eigen| {
        Ok(Decomposition {
            scale,
            solved: Solved { residual, effort },
            eigen,
        })
    };
    let mut best = f64::NAN;
    if !config.double {
        let own = kernel::scaled::<T, T>(matrix, n, scale);
        if let Some(eigen) = kernel::eigen(own.as_ref(), par) {
            if eigen.residual <= tolerance {
                return found(eigen.residual, Effort::Plain, InType::Own(eigen));
            }
            best = best.min(eigen.residual);
        }
    }
    let mut wide = kernel::scaled::<T, f64>(matrix, n, scale);
    let original = wide.clone();
    for effort in [Effort::Double, Effort::Jitter] {
        let jitter = if effort == Effort::Jitter {
            n as f64 * T::EPSILON
        } else {
            0.0
        };
        wide.as_mut()
            .diagonal_mut()
            .column_vector_mut()
            .iter_mut()
            .for_each(|element| *element += jitter);
        let Some(mut eigen) = kernel::eigen(wide.as_ref(), par) else {
            continue;
        };
        if effort == Effort::Jitter {
            let values = eigen.values.as_mut().column_vector_mut();
            values.iter_mut().for_each(|value| *value -= jitter);
            eigen.certify(original.as_ref());
        }
        if eigen.residual <= tolerance {
            tracing::debug!(
                ?effort,
                n,
                "an eigenproblem took more than plain arithmetic"
            );
            return found(eigen.residual, effort, InType::Double(eigen));
        }
        best = best.min(eigen.residual);
    }
    Err(MatrixFailure::NoConvergence {
        residual: best,
        tolerance,
    })
}
