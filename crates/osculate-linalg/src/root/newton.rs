use burn::tensor::Tensor;

use super::{Coupled, RootIteration, power, regularized, run};
use crate::error::LinalgError;
use crate::host::Ridge;
use crate::outcome::DeviceSolution;
use crate::stack::{frobenius, identity, positive};

/// `(A + ρ I)^(-1/p)` of each symmetric positive semi-definite matrix of `[k, n, n]`, by the coupled
/// Newton iteration, on the device.
///
/// With `z = (p + 1) / (2 ‖A‖)`, `X = z^(1/p) I` and `M = z A`, iterates
/// `T = (1 + 1/p) I - M/p`, `X ← X T`, `M ← Tᵖ M`. The residual is `‖M - I‖ / √n`; a matrix whose
/// residual no longer falls is left as it is. Eigenvalues that are a fraction `1/κ` of the norm take
/// about `log κ / (p log(1 + 1/p))` iterations.
///
/// A ridge below the unit roundoff of the norm is raised to that. Costs `log2 p + 2` products an
/// iteration. Where the host is near, [`eigh_inverse_root`](crate::eigh_inverse_root) is several
/// times faster and more accurate for ill-conditioned matrices; this one needs no transfer.
///
/// # Errors
/// [`LinalgError`] for matrices that are not square, `p = 0`, or an invalid ridge or tolerance.
pub fn coupled_newton_inverse_root(
    stack: Tensor<3>,
    p: u32,
    ridge: Ridge,
    settings: &RootIteration,
) -> Result<DeviceSolution, LinalgError> {
    let dtype = stack.dtype();
    let a = regularized("coupled_newton_inverse_root", stack, p, ridge, settings)?;
    let [k, n, _] = a.dims();
    if k * n == 0 {
        return Ok(empty(a));
    }
    let eye = identity(n, &a.device(), a.dtype());
    let order = f64::from(p);
    let norm = positive(frobenius(a.clone()));
    let z = norm.recip().mul_scalar((order + 1.0) / 2.0);
    let start = Coupled {
        x: eye.clone().expand([k, n, n]) * z.clone().powf_scalar(1.0 / order),
        m: a * z,
    };
    Ok(run(start, settings, dtype, |now| {
        let t = eye.clone().mul_scalar(1.0 + 1.0 / order) - now.m.clone().div_scalar(order);
        Coupled {
            x: now.x.clone().matmul(t.clone()),
            m: power(t, p).matmul(now.m.clone()),
        }
    }))
}

/// The solution for a stack without elements.
pub(super) fn empty(stack: Tensor<3>) -> DeviceSolution {
    let residual = Tensor::zeros([stack.dims()[0]], (&stack.device(), stack.dtype()));
    DeviceSolution {
        value: stack,
        residual,
    }
}
