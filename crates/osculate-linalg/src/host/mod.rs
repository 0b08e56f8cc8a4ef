//! Solvers that run on the host: the whole stack goes over in one transfer, its matrices are solved
//! in parallel, and the results come back in one transfer.

mod cholesky;
mod eigen;
mod gram;
mod kernel;
mod null_space;
mod orthogonal_iteration;
mod polar;
mod qr;
mod root;

pub use cholesky::{Cholesky, cholesky};
pub use eigen::{EighConfig, SymmetricEigen, eigh};
pub(crate) use gram::{Form, gram};
pub use orthogonal_iteration::{
    EigenBasis, OrthogonalIterationConfig, off_diagonality, orthogonal_iteration,
};
pub(crate) use polar::iterate as polar_iteration;
pub use qr::orthonormalize;
pub use root::{InverseRoots, Ridge, eigh_inverse_root};

use burn::tensor::{Bool, Device, Element, Tensor, TensorData};
use faer::Par;
use faer::traits::RealField;
use rayon::prelude::*;

use crate::error::{LinalgError, Outcome};

/// A type that the host computes in.
pub(crate) trait Real: RealField + Element + Copy + Send + Sync {
    /// The unit roundoff.
    const EPSILON: f64;

    fn of(value: f64) -> Self;

    fn wide(self) -> f64;
}

impl Real for f32 {
    const EPSILON: f64 = f32::EPSILON as f64;

    fn of(value: f64) -> Self {
        value as f32
    }

    fn wide(self) -> f64 {
        f64::from(self)
    }
}

impl Real for f64 {
    const EPSILON: f64 = f64::EPSILON;

    fn of(value: f64) -> Self {
        value
    }

    fn wide(self) -> f64 {
        self
    }
}

/// Reads a stack back, in one transfer.
fn read<const D: usize>(
    operation: &'static str,
    stack: Tensor<D>,
) -> Result<TensorData, LinalgError> {
    stack.try_into_data().map_err(|error| LinalgError::Read {
        operation,
        message: error.to_string(),
    })
}

/// The elements of a stack that was read back.
fn elements<'a, T: Real>(
    operation: &'static str,
    data: &'a TensorData,
) -> Result<&'a [T], LinalgError> {
    data.as_slice::<T>().map_err(|error| LinalgError::Read {
        operation,
        message: format!("{error:?}"),
    })
}

/// Multiplications below which handing work to another thread costs more than it gains.
const PARALLEL_WORK: usize = 64 * 64 * 64;

/// Solves every matrix: `solve` gets the matrix's run of the input and of the output. Matrices go
/// to the threads one each; where there are more threads than matrices, each may use several.
fn for_each_matrix<T: Real, R: Send>(
    (k, n): (usize, usize),
    input: &[T],
    output: &mut [T],
    solve: impl Fn(&[T], &mut [T], Par) -> R + Sync,
) -> Vec<R> {
    for_each_with_work((k, n * n * n), input, output, solve)
}

/// [`for_each_matrix`] with the multiplications that one matrix takes.
fn for_each_with_work<T: Real, R: Send>(
    (k, work): (usize, usize),
    input: &[T],
    output: &mut [T],
    solve: impl Fn(&[T], &mut [T], Par) -> R + Sync,
) -> Vec<R> {
    if k == 0 {
        return Vec::new();
    }
    let (input_len, output_len) = (input.len() / k, output.len() / k);
    let threads = rayon::current_num_threads();
    let within = if k < threads && work >= 8 * PARALLEL_WORK {
        Par::rayon(threads.div_ceil(k))
    } else {
        Par::Seq
    };
    let pairs = |index: usize, out| {
        solve(
            &input[index * input_len..(index + 1) * input_len],
            out,
            within,
        )
    };
    if k == 1 || k * work < PARALLEL_WORK {
        output
            .chunks_mut(output_len.max(1))
            .take(k)
            .enumerate()
            .map(|(index, out)| pairs(index, out))
            .collect()
    } else {
        output
            .par_chunks_mut(output_len.max(1))
            .take(k)
            .enumerate()
            .map(|(index, out)| pairs(index, out))
            .collect()
    }
}

/// Where the outcomes are failures, of shape `[k]`; `None` where there is none.
fn failed(outcomes: &[Outcome], device: &Device) -> Option<Tensor<1, Bool>> {
    if outcomes.iter().all(Result::is_ok) {
        return None;
    }
    let flags: Vec<bool> = outcomes.iter().map(Result::is_err).collect();
    let count = flags.len();
    Some(Tensor::from_data(TensorData::new(flags, [count]), device))
}

/// Runs the body with `T` the type that the data holds.
macro_rules! for_type {
    ($data:expr, $T:ident => $body:expr) => {
        if $data.dtype() == burn::tensor::DType::F64 {
            type $T = f64;
            $body
        } else {
            type $T = f32;
            $body
        }
    };
}
use for_type;
