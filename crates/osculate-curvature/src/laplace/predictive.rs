use super::Posterior;
use crate::error::CurvatureError;
use crate::params::ParamVec;

/// The covariance `J P⁻¹ Jᵀ` of the outputs of one input, by linearising the network around the
/// trained weights. `jacobian` holds the gradient of each output:
/// [`output_jacobian`](crate::output_jacobian).
///
/// Cost: one product with the covariance for each output.
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
