use burn::module::Module;
use burn::tensor::s;

use crate::error::CurvatureError;
use crate::oracle::GradientOracle;
use crate::params::ParamVec;

/// The gradient of the loss of each of these rows, in the type of statistics: row `b`'s loss is that
/// of [`Criterion::per_sample`](crate::Criterion::per_sample), so their mean over all rows is the
/// gradient of the objective.
///
/// Cost: one gradient of the whole batch for each row. Memory: one vector for each row.
///
/// # Errors
/// [`CurvatureError::NotSupervised`], [`CurvatureError::InvalidSetting`] for a row that the batch does
/// not have, and as the oracle.
pub fn sample_gradients<M: Module>(
    oracle: &GradientOracle<'_, M>,
    rows: &[usize],
) -> Result<Vec<ParamVec>, CurvatureError> {
    let criterion = oracle.supervised("a gradient for each row")?.criterion();
    let layout = oracle.layout()?;
    rows.iter()
        .map(|&row| {
            let gradient = oracle.pull_back(&layout, |outputs| {
                let losses = criterion.per_sample(outputs)?;
                check_index("row", row, losses.dims()[0])?;
                Ok(losses.slice(row..row + 1))
            })?;
            Ok(gradient.to_compute_dtype())
        })
        .collect()
}

/// The gradient of each output of one row: the rows of the Jacobian that a linearised prediction is
/// made of.
///
/// Cost: one gradient of the whole batch for each output.
///
/// # Errors
/// As [`sample_gradients`].
pub fn output_jacobian<M: Module>(
    oracle: &GradientOracle<'_, M>,
    row: usize,
) -> Result<Vec<ParamVec>, CurvatureError> {
    let layout = oracle.layout()?;
    let [rows, columns] = oracle.outputs_at(None)?.dims();
    check_index("row", row, rows)?;
    (0..columns)
        .map(|column| {
            let gradient = oracle.pull_back(&layout, |outputs| {
                Ok(outputs.slice(s![row..row + 1, column..column + 1]).sum())
            })?;
            Ok(gradient.to_compute_dtype())
        })
        .collect()
}

fn check_index(name: &'static str, index: usize, count: usize) -> Result<(), CurvatureError> {
    CurvatureError::check(index < count, name, index, "a row of the batch")
}
