use burn::module::Module;

use super::diagonal::{DiagonalEstimate, Moments};
use crate::error::CurvatureError;
use crate::oracle::GradientOracle;
use crate::params::{ParamVec, random};

/// Settings of [`gnb_diagonal`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GnbConfig {
    /// How many times targets are drawn. Each draw costs one gradient. Default 1.
    pub draws: usize,
    /// Seed of the draws. Default 0.
    pub seed: u64,
}

impl Default for GnbConfig {
    fn default() -> Self {
        Self { draws: 1, seed: 0 }
    }
}

/// The Gauss-Newton-Bartlett estimate of the diagonal of the Gauss-Newton matrix.
///
/// Targets `ŷ` are drawn from the model's own distribution, and with `ĝ` the gradient of the *mean*
/// loss over `B` rows at these targets,
///
/// ```text
/// diag(G) ≈ B ĝ ⊙ ĝ / s
/// ```
///
/// with the criterion's likelihood scale `s` (1 for cross-entropy). It is never negative, and
/// unbiased because scores of independent rows have zero cross terms; with the batch's own targets
/// it would be biased by about `B - 1` times the squared mean gradient.
///
/// A loss that is a sum of such means has the sum of their diagonals.
///
/// Cost: one gradient evaluation for each draw. It needs a [`Supervised`](crate::Supervised)
/// objective.
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
/// # use osculate_curvature::{GaussNewton, GnbConfig, dense_diagonal, gnb_diagonal};
/// let config = GnbConfig { draws: 200, ..GnbConfig::default() };
/// let found = gnb_diagonal(&oracle, &config)?.value.to_values();
/// let exact = dense_diagonal(&GaussNewton::new(&oracle)?)?.to_values();
/// let (found, exact): (f64, f64) = (found.iter().sum(), exact.iter().sum());
/// assert!((found / exact - 1.0).abs() < 0.2);
/// # Ok::<(), osculate_curvature::CurvatureError>(())
/// ```
///
/// # Errors
/// [`CurvatureError::NotSupervised`], [`CurvatureError::InvalidSetting`] for no draws,
/// [`CurvatureError::NonFinite`] where a gradient is not finite, and as the oracle.
///
/// Paper: Liu et al., *Sophia*, <https://arxiv.org/abs/2305.14342>.
pub fn gnb_diagonal<M: Module>(
    oracle: &GradientOracle<'_, M>,
    config: &GnbConfig,
) -> Result<DiagonalEstimate, CurvatureError> {
    let _span = tracing::debug_span!("gnb_diagonal", draws = config.draws).entered();
    CurvatureError::check(config.draws > 0, "draws", config.draws, "at least one draw")?;
    let before = oracle.cost();
    let mut moments = Moments::default();
    for draw in 0..config.draws {
        moments.add(gnb_sample(oracle, random::mix(config.seed, draw as u64))?);
    }
    moments.finish(oracle.cost().since(before), None, true)
}

/// One draw of [`gnb_diagonal`], left on the device: nothing is read back, so nothing is checked.
///
/// # Errors
/// [`CurvatureError::NotSupervised`], and as the oracle.
pub fn gnb_sample<M: Module>(
    oracle: &GradientOracle<'_, M>,
    seed: u64,
) -> Result<ParamVec, CurvatureError> {
    let terms = oracle.supervised_terms("a Gauss-Newton-Bartlett diagonal")?;
    let layout = oracle.layout()?;
    let mut sum: Option<ParamVec> = None;
    for (index, term) in terms.into_iter().enumerate() {
        let seed = match index {
            0 => seed,
            index => random::mix(seed, index as u64),
        };
        let criterion = term.criterion();
        let mut factor = 1.0;
        // Sampling looks at the outputs of the same pass whose tape it then uses.
        let gradient = oracle.pull_back_of(term, &layout, |outputs| {
            let [rows, columns] = outputs.dims();
            factor = rows as f64 / criterion.likelihood_scale(columns);
            criterion.sample(outputs.clone(), seed).loss(outputs)
        })?;
        let gradient = gradient.to_compute_dtype();
        let diagonal = gradient.hadamard(&gradient).scale(factor);
        sum = Some(match sum {
            None => diagonal,
            Some(sum) => sum.add(&diagonal),
        });
    }
    sum.ok_or(CurvatureError::NoGradient)
}
