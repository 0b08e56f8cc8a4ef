//! The polar factor by iterations of matrix products, on the device.

mod newton_schulz;
mod polar_express;

pub use newton_schulz::{newton_schulz, quintic_newton_schulz};
pub use polar_express::polar_express;

use burn::tensor::Tensor;

use crate::host;
use crate::outcome::DeviceSolution;
use crate::stack::{frobenius, identity, narrow, positive, transpose, widen};

/// Coefficients `(a, b, c)` of the odd polynomial `a x + b x³ + c x⁵`.
pub(crate) type Quintic = (f64, f64, f64);

/// Runs `X ← a X + (b A + c A²) X`, `A = X Xᵀ`, over the polynomials, starting from the stack
/// divided by `margin` times its Frobenius norms, on its shorter side.
fn iterate(stack: Tensor<3>, margin: f64, polynomials: impl Iterator<Item = Quintic>) -> Tensor<3> {
    let (dtype, [k, m, n]) = (stack.dtype(), stack.dims());
    if k * m * n == 0 {
        return stack;
    }
    let tall = m > n;
    let wide = if tall { transpose(stack) } else { stack };
    let wide = widen(wide);
    let norm = frobenius(wide.clone());
    let mut x = wide / positive(norm).mul_scalar(margin);
    let polynomials: Vec<Quintic> = polynomials.collect();
    x = host::polar_iteration(&x, &polynomials).unwrap_or_else(|| on_device(x, &polynomials));
    narrow(if tall { transpose(x) } else { x }, dtype)
}

fn on_device(mut x: Tensor<3>, polynomials: &[Quintic]) -> Tensor<3> {
    for &(a, b, c) in polynomials {
        let gram = x.clone().matmul(transpose(x.clone()));
        let mix = if c == 0.0 {
            gram.mul_scalar(b)
        } else {
            gram.clone().mul_scalar(b) + gram.clone().matmul(gram).mul_scalar(c)
        };
        x = x.clone().mul_scalar(a) + mix.matmul(x);
    }
    x
}

/// How far the rows (the columns of a tall matrix) are from orthonormal:
/// `‖X Xᵀ - I‖ / √min(m, n)` of each matrix of `[k, m, n]`, of shape `[k]`.
///
/// Costs one product on the shorter side; nothing is read back. A matrix with a NaN gives NaN, an
/// empty one 0.
pub fn orthogonality_defect(stack: Tensor<3>) -> Tensor<1> {
    let stack = widen(stack);
    let [k, m, n] = stack.dims();
    let (device, dtype) = (stack.device(), stack.dtype());
    let side = m.min(n);
    if k * side == 0 {
        return Tensor::zeros([k], (&device, dtype));
    }
    let turned = transpose(stack.clone());
    let gram = if m > n {
        turned.matmul(stack)
    } else {
        stack.matmul(turned)
    };
    frobenius(gram - identity(side, &device, dtype))
        .reshape([k])
        .div_scalar((side as f64).sqrt())
}

/// The factor with its [`orthogonality_defect`] for the residual.
fn solution(value: Tensor<3>) -> DeviceSolution {
    DeviceSolution {
        residual: orthogonality_defect(value.clone()),
        value,
    }
}
