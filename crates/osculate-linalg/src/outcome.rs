//! Results of solvers that run on the device.

use burn::tensor::{Bool, Tensor};

use crate::error::{Effort, LinalgError, MatrixFailure, Outcome, Solved, like};
use crate::stack::within;

/// A result made on the device, with its residual. Nothing has been read back.
#[derive(Debug, Clone)]
pub struct DeviceSolution {
    /// The result for each matrix.
    pub value: Tensor<3>,
    /// Relative residual of each matrix, of shape `[k]`, in the compute type; NaN for a matrix
    /// with a NaN. Each solver says of what it is the residual.
    pub residual: Tensor<1>,
}

impl DeviceSolution {
    /// Where the residual is at most the tolerance, of shape `[k]`, on the device.
    pub fn converged(&self, tolerance: f64) -> Tensor<1, Bool> {
        within(self.residual.clone(), tolerance)
    }

    /// The result where the residual is at most the tolerance, and the last good one elsewhere.
    /// Nothing is read back.
    ///
    /// # Errors
    /// [`LinalgError::Shape`] where the last ones have another shape.
    pub fn or_last(self, tolerance: f64, last: Tensor<3>) -> Result<Tensor<3>, LinalgError> {
        like("or_last", self.value.dims(), last.dims())?;
        let [k, ..] = self.value.dims();
        if self.value.shape().num_elements() == 0 {
            return Ok(self.value);
        }
        let failed = self.converged(tolerance).bool_not();
        let failed = failed.reshape([k, 1, 1]).expand(self.value.shape());
        Ok(self.value.mask_where(failed, last))
    }

    /// Reads the residuals back and judges them.
    ///
    /// # Errors
    /// [`LinalgError::Read`].
    pub fn outcomes(&self, tolerance: f64) -> Result<Vec<Outcome>, LinalgError> {
        let data = self
            .residual
            .try_to_data()
            .map_err(|error| LinalgError::Read {
                operation: "outcomes",
                message: error.to_string(),
            })?;
        Ok(data
            .iter::<f64>()
            .map(|residual| judge(residual, tolerance, Effort::Plain))
            .collect())
    }
}

/// The outcome that a residual stands for.
pub(crate) fn judge(residual: f64, tolerance: f64, effort: Effort) -> Outcome {
    if !residual.is_finite() {
        Err(MatrixFailure::NonFinite)
    } else if residual > tolerance {
        Err(MatrixFailure::NoConvergence {
            residual,
            tolerance,
        })
    } else {
        Ok(Solved { residual, effort })
    }
}

/// The outcomes of a stack without elements.
pub(crate) fn trivial(k: usize) -> Vec<Outcome> {
    let solved = Solved {
        residual: 0.0,
        effort: Effort::Plain,
    };
    vec![Ok(solved); k]
}
