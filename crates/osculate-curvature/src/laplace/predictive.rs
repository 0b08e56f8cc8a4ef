use super::Posterior;
use crate::error::CurvatureError;
use crate::params::ParamVec;

/// The covariance `J P⁻¹ Jᵀ` of the outputs of one input, by linearising the network around the
/// trained weights. `jacobian` holds the gradient of each output:
/// [`output_jacobian`](crate::output_jacobian).
///
/// Cost: one product with the covariance for each output.
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
/// use osculate_curvature::{DensePosterior, LaplaceConfig, output_jacobian, predictive_covariance};
/// let config = LaplaceConfig { scale: 4.0, prior_precision: 1.0 };
/// let posterior = DensePosterior::new(&hessian, &config)?;
/// let of = |row| predictive_covariance(&posterior, &output_jacobian(&oracle, row)?);
/// // The fourth input lies farthest from the origin.
/// assert!(of(3)?[0][0] > of(0)?[0][0]);
/// # Ok::<(), osculate_curvature::CurvatureError>(())
/// ```
///
/// # Errors
/// As the posterior's, and [`CurvatureError::NonFinite`] where the result is not finite.
///
/// Paper: Immer, Korzepa, Bauer, <https://arxiv.org/abs/2008.08400>.
pub fn predictive_covariance(
    posterior: &dyn Posterior,
    jacobian: &[ParamVec],
) -> Result<Vec<Vec<f64>>, CurvatureError> {
    let rows: Vec<ParamVec> = jacobian.iter().map(ParamVec::to_compute_dtype).collect();
    rows.iter()
        .map(|row| {
            let covariances = posterior.covariance(row)?.dot_many(&rows);
            match covariances.iter().find(|value| !value.is_finite()) {
                None => Ok(covariances),
                Some(value) => Err(CurvatureError::NonFinite {
                    what: "a predictive covariance",
                    value: *value,
                }),
            }
        })
        .collect()
}

/// Class probabilities for normal logits of these means and variances: the softmax of
/// `f / sqrt(1 + π/8 · variance)`, MacKay's probit approximation applied to every class.
///
/// ```
/// use osculate_curvature::probit;
/// let sure = probit(&[2.0, 0.0], &[0.0, 0.0])?;
/// let unsure = probit(&[2.0, 0.0], &[9.0, 9.0])?;
/// assert!((sure[0] - 1.0 / (1.0 + (-2.0_f64).exp())).abs() < 1e-9);
/// assert!(unsure[0] < sure[0] && unsure[0] > 0.5);
/// # Ok::<(), osculate_curvature::CurvatureError>(())
/// ```
///
/// # Errors
/// [`CurvatureError::InvalidSetting`] where the numbers of means and variances differ or a variance is
/// negative, and [`CurvatureError::NonFinite`].
pub fn probit(mean: &[f64], variance: &[f64]) -> Result<Vec<f64>, CurvatureError> {
    CurvatureError::check(
        mean.len() == variance.len(),
        "number of variances",
        variance.len(),
        "one for each mean",
    )?;
    let mut logits = Vec::with_capacity(mean.len());
    for (mean, variance) in mean.iter().zip(variance) {
        CurvatureError::check(*variance >= 0.0, "variance", variance, "at least 0")?;
        let logit = mean / (1.0 + std::f64::consts::PI / 8.0 * variance).sqrt();
        if !logit.is_finite() {
            return Err(CurvatureError::NonFinite {
                what: "a moderated logit",
                value: logit,
            });
        }
        logits.push(logit);
    }
    let top = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let powers: Vec<f64> = logits.iter().map(|logit| (logit - top).exp()).collect();
    let sum: f64 = powers.iter().sum();
    Ok(powers.into_iter().map(|power| power / sum).collect())
}
