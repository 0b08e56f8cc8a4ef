//! Inverse p-th roots by iterations of matrix products, on the device.

mod higher_order;
mod newton;

pub use higher_order::higher_order_inverse_root;
pub use newton::coupled_newton_inverse_root;

use burn::tensor::{DType, Tensor};

use crate::error::{LinalgError, non_negative, square};
use crate::host::Ridge;
use crate::norm::spectral_norm_upper;
use crate::outcome::DeviceSolution;
use crate::stack::{epsilon, frobenius, identity, narrow, widen};

/// Settings of the inverse roots by iteration.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RootIteration {
    /// Most iterations. Default 100.
    pub iterations: usize,
    /// A matrix is done when `‖M - I‖ / √n` of its iterate is at most this. Default 1e-6.
    pub tolerance: f64,
    /// Iterations between two looks at whether all matrices are done; each reads one number back.
    /// 0 never looks. Default 4.
    pub look_every: usize,
}

impl Default for RootIteration {
    fn default() -> Self {
        Self {
            iterations: 100,
            tolerance: 1e-6,
            look_every: 4,
        }
    }
}

/// `X` and `M`, with `M = Xᵖ A` up to rounding, where `M` goes to the identity.
struct Coupled {
    x: Tensor<3>,
    m: Tensor<3>,
}

/// Checks the arguments and adds the ridge, relative to a bound of the largest eigenvalue.
fn regularized(
    operation: &'static str,
    stack: Tensor<3>,
    p: u32,
    ridge: Ridge,
    settings: &RootIteration,
) -> Result<Tensor<3>, LinalgError> {
    let (k, n) = square(operation, stack.dims())?;
    ridge.validate(operation)?;
    non_negative(operation, "tolerance", settings.tolerance)?;
    if p == 0 {
        return Err(LinalgError::Setting {
            operation,
            setting: "p",
            value: p.to_string(),
            expected: "at least 1",
        });
    }
    let stack = widen(stack);
    if k * n == 0 {
        return Ok(stack);
    }
    let (device, dtype) = (stack.device(), stack.dtype());
    let largest = spectral_norm_upper(stack.clone()).reshape([k, 1, 1]);
    // Below the roundoff of the largest eigenvalue a ridge is lost.
    let relative = ridge.relative.max(epsilon(dtype));
    let ridge = largest.mul_scalar(relative).clamp_min(ridge.absolute);
    Ok(stack + identity(n, &device, dtype) * ridge)
}

/// Iterates while there are matrices that are not done, and leaves alone those that are.
fn run(
    start: Coupled,
    settings: &RootIteration,
    dtype: DType,
    step: impl Fn(&Coupled) -> Coupled,
) -> DeviceSolution {
    let [k, n, _] = start.x.dims();
    let eye = identity(n, &start.x.device(), start.x.dtype());
    let distance = |m: &Tensor<3>| frobenius(m.clone() - eye.clone()).div_scalar((n as f64).sqrt());
    let mut error = distance(&start.m);
    let mut now = start;
    let mut active = error.clone().greater_elem(settings.tolerance);
    for iteration in 1..=settings.iterations {
        let next = step(&now);
        let reached = distance(&next.m);
        // Far from the root the error may grow a little. Near it, where it should square, rounding
        // sets a floor; a NaN fails every comparison.
        let near = error.clone().lower_elem(0.01);
        let allowed = error
            .clone()
            .mul_scalar(1.2)
            .mask_where(near, error.clone().mul_scalar(0.7));
        active = active.bool_and(reached.clone().lower(allowed));
        let all = active.clone().expand([k, n, n]);
        now = Coupled {
            x: now.x.mask_where(all.clone(), next.x),
            m: now.m.mask_where(all, next.m),
        };
        error = error.mask_where(active.clone(), reached);
        active = active.bool_and(error.clone().greater_elem(settings.tolerance));
        if settings.look_every > 0 && iteration % settings.look_every == 0 {
            let left = active.clone().any().into_data();
            if !left.iter::<bool>().any(|left| left) {
                break;
            }
        }
    }
    DeviceSolution {
        value: narrow(now.x, dtype),
        residual: error.reshape([k]),
    }
}

/// The `p`-th power of each matrix, by repeated squaring.
fn power(matrix: Tensor<3>, p: u32) -> Tensor<3> {
    let mut square = matrix;
    let mut result: Option<Tensor<3>> = None;
    let mut left = p;
    loop {
        if left & 1 == 1 {
            result = Some(match result {
                Some(result) => result.matmul(square.clone()),
                None => square.clone(),
            });
        }
        left >>= 1;
        match (left, result) {
            (0, Some(result)) => return result,
            (_, partial) => result = partial,
        }
        square = square.clone().matmul(square);
    }
}
