use crate::error::CurvatureError;
use crate::operator::{CurvatureOperator, Scaled, Sum};
use crate::params::ParamVec;
use crate::solve::{Solution, SolveConfig, conjugate_gradient};

/// What is removed from the training set.
#[derive(Debug, Clone)]
pub struct RemovalConfig {
    /// The removed samples' share of all `N`: `k / N` for `k` samples.
    pub share: f64,
    /// How the system is solved. The damping is that of `H - share H_z + δ I`.
    pub solve: SolveConfig,
}

/// The Newton step from the weights of a model trained on all samples to those of one trained
/// without some: `Δθ = (H - w H_z + δ I)⁻¹ w g_z` for samples of mean gradient `g_z`, mean Hessian
/// `H_z` and share `w`.
///
/// `hessian` is that of the whole training objective, its regulariser included, and `removed` that of
/// the mean loss of the removed samples alone. Taking `H_z` away is what leverage is: without it the
/// strongest samples move the weights too little. For a quadratic loss the step is exact.
///
/// It serves three purposes: leave-one-out predictions with magnitudes (evaluate the query's loss at
/// the moved weights), Newton influence `g_q·Δθ`, and approximate unlearning. It is no certificate of
/// deletion: compare the loss of the removed and of the kept samples, and the distance to retrained
/// weights, as with [`leave_one_out`](super::leave_one_out).
///
/// Cost: that of the solution, one product with each operator a step.
///
/// Papers: Koh, Liang, <https://arxiv.org/abs/1703.04730>; Guo et al.,
/// <https://arxiv.org/abs/1911.03030>.
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
/// use osculate_curvature::{RemovalConfig, removal_step, sample_gradients};
/// # let first = Tensor::<2>::from_data([[1.0, 0.0]], &device);
/// # let removed = SupervisedBatch::new(first, forward, Criterion::mse(Tensor::from_data([[1.0]], &device)));
/// # let removed_oracle = GradientOracle::new(&model, &removed);
/// let gradient = sample_gradients(&oracle, &[0])?.remove(0);
/// let config = RemovalConfig { share: 0.25, solve: SolveConfig { tolerance: 1e-6, ..SolveConfig::damped(0.0) } };
/// let step = removal_step(&hessian, &Hessian::new(&removed_oracle)?, &gradient, &config)?.solved()?;
/// // Exact for least squares: at the moved weights the gradient of the three others vanishes.
/// let moved = assign(model.clone(), &oracle.parameters()?.add(&step));
/// let samples = sample_gradients(&GradientOracle::new(&moved, &objective), &[1, 2, 3])?;
/// assert!(samples[0].add(&samples[1]).add(&samples[2]).norm() < 1e-3);
/// # Ok::<(), osculate_curvature::CurvatureError>(())
/// ```
///
/// # Errors
/// [`CurvatureError::InvalidSetting`] for a share outside `0..1`, and as
/// [`conjugate_gradient`]; see [`Solution::solved`].
pub fn removal_step(
    hessian: &dyn CurvatureOperator,
    removed: &dyn CurvatureOperator,
    gradient: &ParamVec,
    config: &RemovalConfig,
) -> Result<Solution, CurvatureError> {
    let share = config.share;
    CurvatureError::check(
        share > 0.0 && share < 1.0,
        "share",
        share,
        "more than 0 and less than 1",
    )?;
    let kept = Sum::new(hessian, Scaled::new(-share, removed))?;
    let right = gradient.to_compute_dtype().scale(share);
    conjugate_gradient(&kept, &right, None, &config.solve)
}
