use burn::tensor::{Tensor, TensorData};

use super::{elements, for_each_matrix, for_type, kernel, read};
use crate::error::{Effort, LinalgError, MatrixFailure, Outcome, Solved};
use crate::outcome::trivial;
use crate::stack::{narrow, widen};

/// An orthonormal basis of the columns of each matrix of `[k, m, n]`, `m ≥ n`: the factor `Q` of its
/// QR factorisation by Householder reflections, on the host.
///
/// The columns of a rank-deficient matrix are completed to an orthonormal set. One transfer each
/// way; the residual is `‖Qᵀ Q x - x‖ / ‖x‖` for a fixed `x`; about `8 m n² / 3` multiplications a matrix. A matrix with a NaN or an infinity is a typed
/// failure and gives the first columns of the identity.
///
/// # Errors
/// [`LinalgError`] for matrices that are wider than tall, or a failed transfer.
pub fn orthonormalize(stack: Tensor<3>) -> Result<(Tensor<3>, Vec<Outcome>), LinalgError> {
    const OPERATION: &str = "orthonormalize";
    let [k, m, n] = stack.dims();
    if m < n {
        return Err(LinalgError::Shape {
            operation: OPERATION,
            expected: "a stack of matrices with at least as many rows as columns",
            shape: vec![k, m, n],
        });
    }
    if k * m * n == 0 {
        return Ok((stack, trivial(k)));
    }
    let (device, dtype) = (stack.device(), stack.dtype());
    let data = read(OPERATION, widen(stack))?;
    let wide = data.dtype();
    let (result, outcomes) = for_type!(data, T => {
        let mut out = vec![0.0 as T; k * m * n];
        let input = elements::<T>(OPERATION, &data)?;
        let outcomes = for_each_matrix((k, m), input, &mut out, |matrix, out, par| {
            let basis = kernel::scale(matrix)
                .map(|scale| kernel::scaled::<T, T>(matrix, m, scale))
                .map(|matrix| kernel::orthogonal_factor(matrix, par));
            match basis {
                Some(basis) => {
                    kernel::write(&basis, out);
                    Ok(Solved {
                        residual: kernel::orthogonality(basis.as_ref()),
                        effort: Effort::Plain,
                    })
                }
                None => {
                    out.iter_mut().step_by(n + 1).take(n).for_each(|one| *one = 1.0);
                    Err(MatrixFailure::NonFinite)
                }
            }
        });
        (TensorData::new(out, [k, m, n]), outcomes)
    });
    let basis = narrow(Tensor::from_data(result, (&device, wide)), dtype);
    Ok((basis, outcomes))
}
