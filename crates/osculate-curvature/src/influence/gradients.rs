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
/// ```
/// # use burn::nn::{Linear, LinearConfig};
/// # use burn::tensor::{Device, Distribution, Int, Tensor};
/// # use osculate_curvature::{Criterion, GradientOracle, SupervisedBatch};
/// # let device = Device::flex().autodiff();
/// # device.seed(1);
/// # let model: Linear = LinearConfig::new(8, 3).init(&device);
/// # let x = Tensor::<2>::random([16, 8], Distribution::Default, &device);
/// # let labels = Tensor::<1, Int>::arange(0..16, &device).remainder_scalar(3);
/// # let forward = |model: &Linear, x: &Tensor<2>| model.forward(x.clone());
/// # let objective = SupervisedBatch::new(x, forward, Criterion::cross_entropy(labels));
/// # let oracle = GradientOracle::new(&model, &objective);
/// use osculate_curvature::sample_gradients;
/// let rows: Vec<usize> = (0..16).collect();
/// let gradients = sample_gradients(&oracle, &rows)?;
/// let sum = gradients.iter().skip(1).fold(gradients[0].clone(), |sum, g| sum.add(g));
/// let mean = sum.scale(1.0 / 16.0);
/// assert!(mean.sub(&oracle.clean()?.gradient).norm() < 1e-5);
/// # Ok::<(), osculate_curvature::CurvatureError>(())
/// ```
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
/// ```
/// # use burn::nn::{Linear, LinearConfig};
/// # use burn::tensor::{Device, Tensor};
/// # use osculate_curvature::{
/// #     CurvatureOperator, Criterion, GradientOracle, Hessian, SolveConfig, SupervisedBatch, assign,
/// #     conjugate_gradient,
/// # };
/// # let device = Device::flex().autodiff();
/// # let model: Linear = LinearConfig::new(2, 1).with_bias(false).init(&device);
/// # let x = Tensor::<2>::from_data([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [2.0, -1.0]], &device);
/// # let y = Tensor::<2>::from_data([[1.0], [2.0], [2.0], [1.0]], &device);
/// # let forward = |model: &Linear, x: &Tensor<2>| model.forward(x.clone());
/// # let objective = SupervisedBatch::new(x, forward, Criterion::mse(y));
/// # let solve = SolveConfig { tolerance: 1e-6, ..SolveConfig::damped(0.0) };
/// # let model = {
/// #     let oracle = GradientOracle::new(&model, &objective);
/// #     let gradient = oracle.clean()?.gradient.clone();
/// #     let step = conjugate_gradient(&Hessian::new(&oracle)?, &gradient, None, &solve)?.x;
/// #     let trained = oracle.parameters()?.sub(&step);
/// #     assign(model.clone(), &trained)
/// # };
/// # let oracle = GradientOracle::new(&model, &objective); // least squares, at the solution
/// # let hessian = Hessian::new(&oracle)?;
/// use osculate_curvature::output_jacobian;
/// let jacobian = output_jacobian(&oracle, 3)?;
/// // The model is linear: the derivative of its output is the input.
/// assert_eq!(jacobian[0].to_values(), [2.0, -1.0]);
/// # Ok::<(), osculate_curvature::CurvatureError>(())
/// ```
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
