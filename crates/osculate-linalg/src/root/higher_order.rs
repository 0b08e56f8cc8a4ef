use burn::tensor::Tensor;

use super::newton::empty;
use super::{Coupled, RootIteration, power, regularized, run};
use crate::error::LinalgError;
use crate::host::Ridge;
use crate::norm::spectral_norm_upper;
use crate::outcome::DeviceSolution;
use crate::stack::{identity, positive};

/// `(A + ρ I)^(-1/p)` of each symmetric positive semi-definite matrix of `[k, n, n]`, by the coupled
/// iteration of a higher order, on the device.
///
/// With `M = A / σ` for an upper bound `σ` of the norm and `R = I - M`, `T` is the series of
/// `(I - R)^(-1/p)` up to `R^(order - 1)`, and `X ← X T`, `M ← Tᵖ M`. Order 2 is Newton's
/// iteration; each order more costs a product and saves iterations. The residual is `‖M - I‖ / √n`;
/// a matrix whose residual no longer falls is left as it is.
///
/// Costs `order + log2 p` products an iteration; see
/// [`coupled_newton_inverse_root`](crate::coupled_newton_inverse_root) for the rest.
///
/// # Errors
/// [`LinalgError`] for matrices that are not square, `p = 0`, an order below 2, or an invalid ridge or
/// tolerance.
pub fn higher_order_inverse_root(
    stack: Tensor<3>,
    p: u32,
    order: usize,
    ridge: Ridge,
    settings: &RootIteration,
) -> Result<DeviceSolution, LinalgError> {
    const OPERATION: &str = "higher_order_inverse_root";
    if order < 2 {
        return Err(LinalgError::Setting {
            operation: OPERATION,
            setting: "order",
            value: order.to_string(),
            expected: "at least 2",
        });
    }
    let dtype = stack.dtype();
    let a = regularized(OPERATION, stack, p, ridge, settings)?;
    let [k, n, _] = a.dims();
    if k * n == 0 {
        return Ok(empty(a));
    }
    let eye = identity(n, &a.device(), a.dtype());
    let exponent = 1.0 / f64::from(p);
    let bound = positive(spectral_norm_upper(a.clone())).reshape([k, 1, 1]);
    let start = Coupled {
        x: eye.clone().expand([k, n, n]) * bound.clone().powf_scalar(-exponent),
        m: a / bound,
    };
    // c_j = c_(j-1) (1/p + j - 1) / j
    let mut coefficients = vec![1.0];
    for j in 1..order {
        let last = coefficients[j - 1];
        coefficients.push(last * (exponent + j as f64 - 1.0) / j as f64);
    }
    Ok(run(start, settings, dtype, |now| {
        let r = eye.clone() - now.m.clone();
        // Horner's rule.
        let mut t = r.clone().mul_scalar(coefficients[order - 1])
            + eye.clone().mul_scalar(coefficients[order - 2]);
        for &c in coefficients[..order - 2].iter().rev() {
            t = t.matmul(r.clone()) + eye.clone().mul_scalar(c);
        }
        Coupled {
            x: now.x.clone().matmul(t.clone()),
            m: power(t, p).matmul(now.m.clone()),
        }
    }))
}
