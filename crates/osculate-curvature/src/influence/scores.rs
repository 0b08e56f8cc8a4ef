use crate::cost::Cost;
use crate::error::CurvatureError;
use crate::operator::{CurvatureOperator, Provenance};
use crate::params::ParamVec;
use crate::solve::{NeumannConfig, neumann};

/// Scores of training samples for one query.
#[derive(Debug, Clone, PartialEq)]
pub struct InfluenceScores {
    /// For each sample, the predicted change of the query's loss if the sample is removed.
    pub scores: Vec<f64>,
    /// What the inverse product cost.
    pub cost: Cost,
    /// Largest known error of a product; `None` where the products are exact or carry no estimate.
    pub product_error: Option<f64>,
    /// How the products were made: exactly, or by differences, then with the longest step and the
    /// largest errors of any, and why.
    pub provenance: Provenance,
}

impl InfluenceScores {
    /// Positions of the samples, those that help most first.
    pub fn ranking(&self) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.scores.len()).collect();
        order.sort_by(|&a, &b| self.scores[b].total_cmp(&self.scores[a]));
        order
    }
}

/// First-order influence: `score_z = g_qᵀ (H + δ)⁻¹ g_z / N` for a model trained on the mean loss of
/// `count = N` samples.
///
/// `inverse` is the damped inverse at the trained weights: a [`DampedInverse`](crate::DampedInverse)
/// of the Hessian or, on networks that have not converged, of the Gauss-Newton matrix; a
/// [`Woodbury`](crate::Woodbury); or [`LowRank`](crate::LowRank) pairs inverted by `map`, which keeps
/// the top directions alone and so favours what samples have in common.
///
/// Rank with it. For magnitudes, take the sample's own curvature away with
/// [`removal_step`](super::removal_step) and evaluate the query's loss at the moved weights: the
/// strongest samples are otherwise underestimated. In deep networks it follows the response near the
/// present weights better than a retraining from scratch; check with
/// [`leave_one_out`](super::leave_one_out) before trusting it.
///
/// Cost: one inverse product, and one dot product for each sample. It is not affordable to look for
/// the best samples of a large set for each of many queries: sort those of one query.
///
/// Paper: Koh, Liang, <https://arxiv.org/abs/1703.04730>.
///
/// The scores are in the unit of the loss. They depend on the damping, and, where `δ` is not small, on the
/// scale of each layer: compare scores of one inverse alone.
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
/// use osculate_curvature::{DampedInverse, influence, sample_gradients};
/// let samples = sample_gradients(&oracle, &[0, 1, 2, 3])?;
/// let inverse = DampedInverse::new(&hessian, SolveConfig { tolerance: 1e-6, ..SolveConfig::damped(1e-6) })?;
/// // What does each sample do for the loss of the first one?
/// let found = influence(&inverse, &samples[0], &samples, 4)?;
/// // At the solution the gradients, and with them the scores, sum to zero; its own removal hurts the first.
/// assert!(found.scores.iter().sum::<f64>().abs() < 1e-3 && found.scores[0] > 0.0);
/// assert!(found.provenance.is_exact());
/// # Ok::<(), osculate_curvature::CurvatureError>(())
/// ```
///
/// # Errors
/// [`CurvatureError::InvalidSetting`] for a count of 0, [`CurvatureError::LayoutMismatch`],
/// [`CurvatureError::NonFinite`], and as the inverse products.
pub fn influence(
    inverse: &dyn CurvatureOperator,
    query: &ParamVec,
    samples: &[ParamVec],
    count: usize,
) -> Result<InfluenceScores, CurvatureError> {
    check_count(count)?;
    let product = inverse.apply(query)?;
    Ok(InfluenceScores {
        scores: dots(&product.value, samples, 1.0 / count as f64)?,
        cost: product.cost,
        product_error: product.error(),
        provenance: product.provenance,
    })
}

/// First-order influence with the truncated series of LiSSA as the inverse.
///
/// The series damps by being short: [`neumann`] says by how much. Prefer [`influence`] with
/// conjugate gradients; this is for comparison with published scores.
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
/// use osculate_curvature::{
///     DampedInverse, NeumannConfig, influence, influence_lissa, sample_gradients,
/// };
/// let samples = sample_gradients(&oracle, &[0, 1, 2, 3])?;
/// let series = NeumannConfig { terms: 200, ..NeumannConfig::default() };
/// let lissa = influence_lissa(&hessian, &samples[0], &samples, 4, &series)?.scores;
/// let inverse = DampedInverse::new(&hessian, SolveConfig { tolerance: 1e-6, ..SolveConfig::damped(1e-6) })?;
/// let solved = influence(&inverse, &samples[0], &samples, 4)?.scores;
/// assert!((lissa[0] / solved[0] - 1.0).abs() < 1e-2);
/// # Ok::<(), osculate_curvature::CurvatureError>(())
/// ```
///
/// # Errors
/// As [`influence`] and [`neumann`].
pub fn influence_lissa(
    operator: &dyn CurvatureOperator,
    query: &ParamVec,
    samples: &[ParamVec],
    count: usize,
    config: &NeumannConfig,
) -> Result<InfluenceScores, CurvatureError> {
    check_count(count)?;
    let series = neumann(operator, query, config)?;
    Ok(InfluenceScores {
        scores: dots(&series.x, samples, 1.0 / count as f64)?,
        cost: series.cost,
        product_error: series.product_error,
        provenance: series.provenance,
    })
}

/// Self-influence `g_zᵀ (H + δ)⁻¹ g_z` of each sample: large for samples that the model had to learn
/// by heart, mislabelled ones among them. Over `N` it is the first-order change of the sample's own
/// loss by its removal.
///
/// Cost: one inverse product for each sample.
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
/// use osculate_curvature::{DampedInverse, sample_gradients, self_influence};
/// let samples = sample_gradients(&oracle, &[0, 1, 2, 3])?;
/// let inverse = DampedInverse::new(&hessian, SolveConfig { tolerance: 1e-6, ..SolveConfig::damped(1e-6) })?;
/// let found = self_influence(&inverse, &samples)?;
/// assert!(found.scores.iter().all(|score| *score >= 0.0));
/// # Ok::<(), osculate_curvature::CurvatureError>(())
/// ```
///
/// # Errors
/// As [`influence`].
pub fn self_influence(
    inverse: &dyn CurvatureOperator,
    samples: &[ParamVec],
) -> Result<InfluenceScores, CurvatureError> {
    let mut scores = Vec::with_capacity(samples.len());
    let (mut cost, mut provenance) = (Cost::ZERO, Provenance::Exact);
    for product in inverse.apply_many(samples)? {
        cost += product.cost;
        provenance = provenance.worst(product.provenance);
        let sample = &samples[scores.len()..=scores.len()];
        scores.extend(dots(&product.value, sample, 1.0)?);
    }
    Ok(InfluenceScores {
        scores,
        cost,
        product_error: provenance.error(),
        provenance,
    })
}

fn check_count(count: usize) -> Result<(), CurvatureError> {
    CurvatureError::check(count > 0, "count", count, "the number of training samples")
}

fn dots(solved: &ParamVec, samples: &[ParamVec], scale: f64) -> Result<Vec<f64>, CurvatureError> {
    for sample in samples {
        solved.layout().check(sample.layout())?;
    }
    let samples: Vec<ParamVec> = samples.iter().map(ParamVec::to_compute_dtype).collect();
    let scores: Vec<f64> = solved
        .dot_many(&samples)
        .iter()
        .map(|dot| dot * scale)
        .collect();
    match scores.iter().find(|score| !score.is_finite()) {
        None => Ok(scores),
        Some(value) => Err(CurvatureError::NonFinite {
            what: "an influence score",
            value: *value,
        }),
    }
}
