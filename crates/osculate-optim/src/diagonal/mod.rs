//! Optimizers that precondition with an estimate of the Hessian's diagonal.

mod adahessian;
mod curvature;
mod sophia;

pub use adahessian::{AdaHessian, AdaHessianConfig, MatrixAveraging};
pub use curvature::{DiagonalFn, DiagonalRequest, ProbeFn};
pub use sophia::{Sophia, SophiaConfig, SophiaEstimator, SophiaSchedule};

use burn::tensor::{Bool, Tensor};
use osculate_curvature::{FiniteFlags, ParamVec};
use osculate_linalg::compute_dtype;

use crate::record::{RecordError, StateStore};

/// `beta average + (1 - beta) value`.
fn ema(average: Tensor<1>, value: Tensor<1>, beta: f64) -> Tensor<1> {
    average.mul_scalar(beta) + value.mul_scalar(1.0 - beta)
}

/// `new` where the flag of one element is set, `old` elsewhere, on the device.
fn select(flag: &Tensor<1, Bool>, new: Tensor<1>, old: Tensor<1>) -> Tensor<1> {
    let n = new.dims()[0];
    if n == 0 {
        // burn expands nothing to a length of zero.
        return new;
    }
    old.mask_where(flag.clone().expand([n]), new)
}

/// Whether all elements are finite, as a flag on the device.
fn finite(tensor: &Tensor<1>) -> Tensor<1, Bool> {
    // The sum of a half-precision tensor soon leaves its range.
    let wide = tensor.clone().cast(compute_dtype(tensor.dtype()));
    wide.sum().is_finite()
}

/// The tensors of one field for every parameter of a vector, or `None` where one is missing.
fn load_all(
    state: &StateStore,
    field: &'static str,
    like: &ParamVec,
) -> Result<Option<ParamVec>, RecordError> {
    let tensors = like
        .layout()
        .entries()
        .iter()
        .map(|entry| state.get(entry, field, entry.num_elements(), entry.compute_dtype()))
        .collect::<Result<Option<Vec<_>>, _>>()?;
    Ok(tensors.map(|tensors| ParamVec::new(like.layout().clone(), tensors)))
}

/// The flag of parameter `index`, where flags are kept.
fn flag(flags: Option<&FiniteFlags>, index: usize) -> Option<&Tensor<1, Bool>> {
    flags.map(|flags| &flags.tensors()[index])
}
