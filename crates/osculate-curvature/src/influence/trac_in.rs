use crate::error::CurvatureError;
use crate::params::ParamVec;

/// Gradients at the weights of one checkpoint.
#[derive(Debug, Clone, Copy)]
pub struct Checkpoint<'a> {
    /// Learning rate in use around the checkpoint.
    pub rate: f64,
    /// Gradient of the query's loss.
    pub query: &'a ParamVec,
    /// Gradient of each training sample's loss, the same samples at every checkpoint.
    pub samples: &'a [ParamVec],
}

/// TracIn: `Σ_t η_t g_z·g_q` over checkpoints, what gradient steps on the sample did to the query's
/// loss to first order.
///
/// No inverse and no damping. The scores are no changes of a loss by removal, and are not comparable
/// with those of [`influence`](super::influence) in size: use them to rank.
///
/// Cost: the gradients, which the caller has made.
///
/// Paper: Pruthi et al., <https://arxiv.org/abs/2002.08484>.
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
/// use osculate_curvature::{Checkpoint, sample_gradients, trac_in};
/// let samples = sample_gradients(&oracle, &[0, 1, 2, 3])?;
/// let checkpoint = Checkpoint { rate: 0.1, query: &samples[0], samples: &samples };
/// let scores = trac_in(&[checkpoint, checkpoint])?;
/// assert!((scores[0] - 0.2 * samples[0].dot(&samples[0])).abs() < 1e-6);
/// # Ok::<(), osculate_curvature::CurvatureError>(())
/// ```
///
/// # Errors
/// [`CurvatureError::InvalidSetting`] where checkpoints are missing or of different samples,
/// [`CurvatureError::LayoutMismatch`], and [`CurvatureError::NonFinite`] for gradients and rates that are not numbers.
pub fn trac_in(checkpoints: &[Checkpoint<'_>]) -> Result<Vec<f64>, CurvatureError> {
    let count = checkpoints.first().map_or(0, |first| first.samples.len());
    CurvatureError::check(
        !checkpoints.is_empty(),
        "number of checkpoints",
        0,
        "at least one checkpoint",
    )?;
    let mut scores = vec![0.0; count];
    for checkpoint in checkpoints {
        CurvatureError::check(
            checkpoint.samples.len() == count,
            "number of samples",
            checkpoint.samples.len(),
            "the same samples at every checkpoint",
        )?;
        for sample in checkpoint.samples {
            checkpoint.query.layout().check(sample.layout())?;
        }
        let query = checkpoint.query.to_compute_dtype();
        let samples: Vec<ParamVec> = checkpoint
            .samples
            .iter()
            .map(ParamVec::to_compute_dtype)
            .collect();
        for (score, dot) in scores.iter_mut().zip(query.dot_many(&samples)) {
            *score += checkpoint.rate * dot;
        }
    }
    match scores.iter().find(|score| !score.is_finite()) {
        Some(score) => Err(CurvatureError::NonFinite {
            what: "a score of TracIn",
            value: *score,
        }),
        None => Ok(scores),
    }
}
