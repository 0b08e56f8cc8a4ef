use burn::tensor::{Tensor, TensorData};
use faer::Par;

use super::eigen::{EighConfig, InType, solve};
use super::kernel::{self, Eigen};
use super::{Real, elements, failed, for_each_matrix, for_type, read};
use crate::error::{LinalgError, MatrixFailure, Outcome, like, non_negative, square};
use crate::outcome::trivial;
use crate::stack::{narrow, widen};

/// What is added to the eigenvalues before a root is taken:
/// the larger of `absolute` and `relative` times the largest eigenvalue.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ridge {
    /// A number, whatever the matrix.
    pub absolute: f64,
    /// A fraction of the largest eigenvalue.
    pub relative: f64,
}

impl Ridge {
    /// Only an absolute ridge.
    pub const fn absolute(value: f64) -> Self {
        Self {
            absolute: value,
            relative: 0.0,
        }
    }

    /// The ridge of scalable Shampoo: relative to the largest eigenvalue, where that is at least
    /// 1e-6.
    pub const fn relative(value: f64) -> Self {
        Self {
            absolute: 1e-6 * value,
            relative: value,
        }
    }

    pub(crate) fn validate(&self, operation: &'static str) -> Result<(), LinalgError> {
        non_negative(operation, "ridge.absolute", self.absolute)?;
        non_negative(operation, "ridge.relative", self.relative)
    }

    fn of(&self, largest: f64) -> f64 {
        self.absolute.max(self.relative * largest)
    }
}

/// Inverse roots of a stack of symmetric matrices.
#[derive(Debug, Clone)]
pub struct InverseRoots {
    /// The roots, `[k, n, n]`; the identity for a matrix that failed.
    pub roots: Tensor<3>,
    /// The result for each matrix.
    pub outcomes: Vec<Outcome>,
}

impl InverseRoots {
    /// The roots, with the last good ones in the place of those that failed.
    ///
    /// # Errors
    /// [`LinalgError::Shape`] where the last ones have another shape.
    pub fn or_last(self, roots: Tensor<3>) -> Result<Self, LinalgError> {
        like("or_last", self.roots.dims(), roots.dims())?;
        let Some(failed) = failed(&self.outcomes, &self.roots.device()) else {
            return Ok(self);
        };
        let shape = self.roots.shape();
        let k = self.outcomes.len();
        let failed = failed.reshape([k, 1, 1]).expand(shape);
        Ok(Self {
            roots: self.roots.mask_where(failed, roots),
            outcomes: self.outcomes,
        })
    }
}

/// `(A + ρ I)^-exponent` of each symmetric positive semi-definite matrix of `[k, n, n]`, through its
/// eigendecomposition, for any exponent.
///
/// Negative eigenvalues, which rounding makes of small ones, count as zero; after the ridge `ρ`,
/// eigenvalues below one unit roundoff of the largest are raised to that, since they are noise. The
/// decomposition is [`eigh`](crate::eigh)'s, with its transfers, parallelism, ladder and residual.
/// A zero matrix without a ridge has no root and fails.
///
/// Costs about `10 n³` multiplications a matrix.
///
/// # Errors
/// [`LinalgError`] for matrices that are not square, an invalid setting, or a failed transfer.
pub fn eigh_inverse_root(
    stack: Tensor<3>,
    exponent: f64,
    ridge: Ridge,
    config: &EighConfig,
) -> Result<InverseRoots, LinalgError> {
    const OPERATION: &str = "eigh_inverse_root";
    let (k, n) = square(OPERATION, stack.dims())?;
    config.validate(OPERATION)?;
    ridge.validate(OPERATION)?;
    if !exponent.is_finite() {
        return Err(LinalgError::Setting {
            operation: OPERATION,
            setting: "exponent",
            value: exponent.to_string(),
            expected: "a finite number",
        });
    }
    if k * n == 0 {
        let outcomes = trivial(k);
        return Ok(InverseRoots {
            roots: stack,
            outcomes,
        });
    }
    let (device, dtype) = (stack.device(), stack.dtype());
    let data = read(OPERATION, widen(stack))?;
    let wide = data.dtype();
    let (result, outcomes) = for_type!(data, T => {
        let mut out = vec![0.0 as T; k * n * n];
        let input = elements::<T>(OPERATION, &data)?;
        let outcomes = for_each_matrix((k, n), input, &mut out, |matrix, out, par| {
            let root = solve(matrix, n, config, par).and_then(|found| {
                let (scale, floor) = (found.scale, <T as Real>::EPSILON);
                let power = |value: f64, largest: f64| {
                    let (value, largest) = (value.max(0.0) * scale, largest.max(0.0) * scale);
                    (value + ridge.of(largest)).max(floor * largest).powf(-exponent)
                };
                match &found.eigen {
                    InType::Own(eigen) => reassemble(eigen, power, out, par),
                    InType::Double(eigen) => reassemble(eigen, power, out, par),
                }
                .map(|()| found.solved)
            });
            if root.is_err() {
                out.fill(0.0);
                out.iter_mut().step_by(n + 1).for_each(|one| *one = 1.0);
            }
            root
        });
        (TensorData::new(out, [k, n, n]), outcomes)
    });
    Ok(InverseRoots {
        roots: narrow(Tensor::from_data(result, (&device, wide)), dtype),
        outcomes,
    })
}

/// Writes `V f(Λ) Vᵀ`; `power` gets an eigenvalue and the largest one.
fn reassemble<S: Real, T: Real>(
    eigen: &Eigen<S>,
    power: impl Fn(f64, f64) -> f64,
    out: &mut [T],
    par: Par,
) -> Result<(), MatrixFailure> {
    let n = eigen.vectors.nrows();
    let largest = eigen.values[n - 1].wide();
    let powers: Vec<S> = (0..n)
        .map(|i| S::of(power(eigen.values[i].wide(), largest)))
        .collect();
    let mut weighted = eigen.vectors.clone();
    for (j, &power) in powers.iter().enumerate() {
        for element in weighted.col_as_slice_mut(j) {
            *element *= power;
        }
    }
    let mut root = vec![S::of(0.0); n * n];
    let weighted = weighted.as_ref().transpose();
    kernel::upper_product(&mut root, eigen.vectors.as_ref(), weighted, 1.0, par);
    kernel::mirror(&mut root, n);
    for (out, element) in out.iter_mut().zip(&root) {
        *out = T::of(element.wide());
    }
    if out.iter().all(|element| element.wide().is_finite()) {
        Ok(())
    } else {
        Err(MatrixFailure::NonFinite)
    }
}
