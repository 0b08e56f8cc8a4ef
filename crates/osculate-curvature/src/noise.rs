//! How much of a mini-batch gradient is noise.

use crate::cost::Cost;
use crate::error::CurvatureError;
use crate::estimate::Estimate;
use crate::operator::CurvatureOperator;
use crate::params::ParamVec;
use crate::tally::Tally;

/// The gradient noise scale from gradients of two batch sizes, as training goes on.
///
/// For the squared gradient norms `|g_s|²`, `|g_b|²` of a small and a large batch of independent
/// samples, `(B_b |g_b|² - B_s |g_s|²) / (B_b - B_s)` is an unbiased estimate of `|G|²`, and
/// `(|g_s|² - |g_b|²) / (1/B_s - 1/B_b)` of the trace `S` of the covariance of one sample's gradient.
/// Both are averaged exponentially *before* they are divided: the mean of ratios has no meaning.
///
/// `B_simple = S / |G|²` is the batch size at which noise and gradient are of one size. Accumulated
/// micro-batches give it for free: the small batch is a micro-batch.
///
/// Paper: McCandlish et al., <https://arxiv.org/abs/1812.06162>.
///
/// ```
/// use osculate_curvature::NoiseScale;
/// let mut noise = NoiseScale::new(0.99)?;
/// noise.observe((1, 3.0), (6, 0.565))?;
/// assert!((noise.covariance_trace() - 2.922).abs() < 1e-9);
/// # Ok::<(), osculate_curvature::CurvatureError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct NoiseScale {
    decay: f64,
    weight: f64,
    squared_gradient: f64,
    covariance_trace: f64,
}

impl NoiseScale {
    /// An average that keeps the share `decay` of itself at every observation; 0.99 is usual.
    ///
    /// # Errors
    /// [`CurvatureError::InvalidSetting`] for a decay outside `0..1`.
    pub fn new(decay: f64) -> Result<Self, CurvatureError> {
        CurvatureError::check(
            (0.0..1.0).contains(&decay),
            "decay",
            decay,
            "at least 0 and less than 1",
        )?;
        Ok(Self {
            decay,
            weight: 0.0,
            squared_gradient: 0.0,
            covariance_trace: 0.0,
        })
    }

    /// Takes the sizes and squared gradient norms of a small and of a large batch in. For several
    /// small batches, give the mean of their squared norms.
    ///
    /// # Errors
    /// [`CurvatureError::InvalidSetting`] unless `0 < small < large`, and
    /// [`CurvatureError::NonFinite`].
    pub fn observe(
        &mut self,
        (small, of_small): (usize, f64),
        (large, of_large): (usize, f64),
    ) -> Result<(), CurvatureError> {
        CurvatureError::check_batch_sizes(small, large)?;
        for norm in [of_small, of_large] {
            if !norm.is_finite() {
                return Err(CurvatureError::NonFinite {
                    what: "the squared norm of a gradient",
                    value: norm,
                });
            }
        }
        let (s, b) = (small as f64, large as f64);
        let gradient = (b * of_large - s * of_small) / (b - s);
        let noise = (of_small - of_large) / (1.0 / s - 1.0 / b);
        let keep = self.decay;
        self.weight = keep * self.weight + (1.0 - keep);
        self.squared_gradient = keep * self.squared_gradient + (1.0 - keep) * gradient;
        self.covariance_trace = keep * self.covariance_trace + (1.0 - keep) * noise;
        Ok(())
    }

    /// The average estimate of `|G|²`, which can be negative where the gradient is below the noise.
    /// NaN before the first observation.
    pub fn squared_gradient(&self) -> f64 {
        self.squared_gradient / self.weight
    }

    /// The average estimate of the covariance's trace. NaN before the first observation.
    pub fn covariance_trace(&self) -> f64 {
        self.covariance_trace / self.weight
    }

    /// `B_simple = S / |G|²` in samples; `None` while the gradient is below the noise.
    pub fn simple(&self) -> Option<f64> {
        let gradient = self.squared_gradient();
        (gradient > 0.0).then(|| self.covariance_trace() / gradient)
    }
}

/// The noise of single samples' gradients around their mean.
#[derive(Debug, Clone, PartialEq)]
pub struct GradientNoise {
    /// `|G|²` of the mean gradient of these samples.
    pub squared_gradient: f64,
    /// Trace of the covariance `Σ` of one sample's gradient, with `1 / (N - 1)`.
    pub covariance_trace: f64,
    /// `B_simple = tr Σ / |G|²`, in samples.
    pub simple: f64,
    /// `B_noise = tr(A Σ) / Gᵀ A G` in samples, where an operator was given: what noise costs in
    /// loss, measured by the curvature. Its error is that of the mean over samples in `tr(A Σ)`.
    pub weighted: Option<Estimate>,
    /// What the products cost.
    pub cost: Cost,
}

/// The noise scale of per-sample gradients, as [`sample_gradients`](crate::sample_gradients) gives
/// them, and weighted by curvature where an operator is given.
///
/// Cost: one dot product for each sample; with an operator, one product for each sample and one for
/// the mean.
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
/// use osculate_curvature::{gradient_noise, sample_gradients};
/// let samples = sample_gradients(&oracle, &[0, 1, 2, 3])?;
/// let noise = gradient_noise(&samples, None)?;
/// // At the solution the mean gradient vanishes, and no batch is large enough.
/// assert!(noise.simple > 1e3);
/// # Ok::<(), osculate_curvature::CurvatureError>(())
/// ```
///
/// # Errors
/// [`CurvatureError::InvalidSetting`] for fewer than two samples, [`CurvatureError::LayoutMismatch`],
/// [`CurvatureError::NonFinite`], and as the operator's products.
pub fn gradient_noise(
    gradients: &[ParamVec],
    operator: Option<&dyn CurvatureOperator>,
) -> Result<GradientNoise, CurvatureError> {
    let count = gradients.len();
    CurvatureError::check(
        count >= 2,
        "number of gradients",
        count,
        "at least two gradients",
    )?;
    let layout = gradients[0].layout().clone();
    for gradient in gradients {
        layout.check(gradient.layout())?;
    }
    let n = count as f64;
    let zero = gradients[0].to_compute_dtype().scale(0.0);
    let mean = gradients.iter().fold(zero, |sum, gradient| {
        sum.axpy(1.0 / n, &gradient.to_compute_dtype())
    });
    let squared_gradient = mean.dot(&mean);
    let deviations: Vec<ParamVec> = gradients
        .iter()
        .map(|gradient| gradient.to_compute_dtype().sub(&mean))
        .collect();
    let squares: f64 = deviations
        .iter()
        .map(|deviation| deviation.dot(deviation))
        .sum();
    let covariance_trace = squares / (n - 1.0);
    if !covariance_trace.is_finite() {
        return Err(CurvatureError::NonFinite {
            what: "the trace of the gradients' covariance",
            value: covariance_trace,
        });
    }
    let mut tally = Tally::unlimited();
    let weighted = match operator {
        None => None,
        Some(operator) => {
            layout.check(&operator.layout())?;
            let along = mean.dot(&tally.apply(operator, &mean)?);
            let products = tally.apply_all(operator, &deviations)?;
            // Deviations from a mean of N samples are smaller than those from the true one.
            let forms: Vec<f64> = deviations
                .iter()
                .zip(&products)
                .map(|(deviation, product)| deviation.dot(product) * n / (n - 1.0))
                .collect();
            Some(Estimate::from_samples(&forms).affine(1.0 / along, 0.0))
        }
    };
    Ok(GradientNoise {
        squared_gradient,
        covariance_trace,
        simple: covariance_trace / squared_gradient,
        weighted,
        cost: tally.cost,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operator::{DenseOperator, Structure};
    use crate::testing::{Lcg, layout};

    const X: [[f64; 2]; 6] = [
        [1.0, 0.0],
        [0.0, 1.0],
        [1.0, 1.0],
        [2.0, -1.0],
        [-1.0, 0.5],
        [0.5, 2.0],
    ];
    const Y: [f64; 6] = [1.0, -1.0, 0.5, 2.0, 0.0, 1.0];

    /// Gradients of least squares at (0.2, -0.1), as in the oracle.
    fn gradients() -> (Vec<ParamVec>, DenseOperator) {
        let layout = layout(&[2]);
        let residual = |x: &[f64; 2], y: f64| 0.2 * x[0] - 0.1 * x[1] - y;
        let gradients = X
            .iter()
            .zip(Y)
            .map(|(x, y)| {
                let r = residual(x, y);
                ParamVec::from_values(&layout, &[r * x[0], r * x[1]])
            })
            .collect();
        let element = |k: usize| X.iter().map(|x| x[k / 2] * x[k % 2]).sum::<f64>() / 6.0;
        let rows = (0..4).map(element).collect();
        let operator = DenseOperator::new(layout, rows, Structure::PositiveSemidefinite).unwrap();
        (gradients, operator)
    }

    #[test]
    fn scales_of_samples_are_the_oracles() {
        let (gradients, operator) = gradients();
        let found = gradient_noise(&gradients, Some(&operator)).unwrap();
        assert!((found.squared_gradient - 0.5654340277777777).abs() < 1e-12);
        assert!((found.covariance_trace - 2.969604166666666).abs() < 1e-12);
        // The oracle divides by N, we by N - 1.
        assert!((found.simple - 1.2 * 4.376585096257177).abs() < 1e-10);
        let weighted = found.weighted.unwrap();
        assert!((weighted.value - 1.2 * 4.560211775550425).abs() < 1e-10);
        assert!(gradient_noise(&gradients[..1], None).is_err());
    }

    #[test]
    fn two_batch_sizes_are_the_oracles() {
        let (gradients, _) = gradients();
        let small = gradients.iter().map(|g| g.dot(g)).sum::<f64>() / 6.0;
        let mut noise = NoiseScale::new(0.9).unwrap();
        assert!(noise.squared_gradient().is_nan());
        noise.observe((1, small), (6, 0.5654340277777777)).unwrap();
        assert!((noise.squared_gradient() - 0.0705).abs() < 1e-10);
        assert!((noise.covariance_trace() - 2.969604166666667).abs() < 1e-10);
        noise.observe((1, 2.0), (6, 0.1)).unwrap();
        assert!(noise.squared_gradient() < 0.0 && noise.simple().is_none());
        assert!(noise.observe((6, 1.0), (6, 1.0)).is_err());
        assert!(noise.observe((1, f64::NAN), (6, 1.0)).is_err());
        assert!(NoiseScale::new(1.0).is_err());
    }

    #[test]
    fn averages_of_independent_batches_are_unbiased() {
        // Gradients G + e with unit noise in four dimensions: |G|² = 1, S = 4, B_simple = 4.
        let mut lcg = Lcg::new(3);
        let mut noise = NoiseScale::new(0.9995).unwrap();
        let mut squared = |samples: usize| {
            let sum = (0..4).map(|k| {
                let spread = lcg.normal(1)[0] / (samples as f64).sqrt();
                let mean = if k == 0 { 1.0 } else { 0.0 };
                (mean + spread) * (mean + spread)
            });
            sum.sum::<f64>()
        };
        for _ in 0..20_000 {
            noise.observe((2, squared(2)), (32, squared(32))).unwrap();
        }
        let simple = noise.simple().unwrap();
        assert!((simple - 4.0).abs() < 0.6, "{simple}");
    }
}
