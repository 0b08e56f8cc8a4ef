use std::f64::consts::PI;

use super::{LanczosConfig, lanczos};
use crate::cost::Cost;
use crate::error::CurvatureError;
use crate::estimate::{Estimate, ProbeDistribution};
use crate::operator::{CurvatureOperator, Provenance};
use crate::params::ParamVec;
use crate::tally::{Budget, Tally};

/// Settings of [`kernel_polynomial`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct KernelPolynomialConfig {
    /// Number of Chebyshev moments, even: two for each product. Default 80.
    pub moments: usize,
    /// Number of probes. Default 8.
    pub probes: usize,
    /// An interval that holds all eigenvalues, to which a margin of 5 % is added on either side.
    /// Default `None`: Lanczos' method looks for it, with at most 20 products.
    pub range: Option<(f64, f64)>,
    /// Distribution of the probes. Default Rademacher.
    pub distribution: ProbeDistribution,
    /// Seed of the probes. Default 0.
    pub seed: u64,
    /// What may be spent. Default: no limit.
    pub budget: Budget,
}

impl Default for KernelPolynomialConfig {
    fn default() -> Self {
        Self {
            moments: 80,
            probes: 8,
            range: None,
            distribution: ProbeDistribution::Rademacher,
            seed: 0,
            budget: Budget::default(),
        }
    }
}

/// A distribution of eigenvalues as Chebyshev moments.
#[derive(Debug, Clone, PartialEq)]
pub struct KernelPolynomial {
    /// Middle of the interval that the moments belong to.
    pub centre: f64,
    /// Half of its width.
    pub half_width: f64,
    /// For each probe `z`, the moments `zᵀ T_k(Ã) z / n` of the scaled operator.
    pub moments: Vec<Vec<f64>>,
    /// What it cost.
    pub cost: Cost,
    /// Number of products made.
    pub products: usize,
    /// Largest known error of a product; `None` where the products are exact or carry no estimate.
    pub product_error: Option<f64>,
    /// How the products were made: exactly, or by differences, then with the longest step and the
    /// largest errors of any, and why.
    pub provenance: Provenance,
    /// Whether all probes asked for were used.
    pub converged: bool,
}

/// The distribution of eigenvalues by the kernel polynomial method, for models whose Lanczos vectors
/// do not fit in memory.
///
/// With `Ã = (A - c) / d`, whose eigenvalues lie in `[-1, 1]`, the moments `μ_k = zᵀ T_k(Ã) z / n`
/// follow from Chebyshev's recurrence, two for each product: `μ_2k = 2 |t_k|² - μ_0` and
/// `μ_2k+1 = 2 t_k·t_k+1 - μ_1` with `t_k = T_k(Ã) z`. Jackson's kernel keeps the density positive.
///
/// Cost: `moments / 2 * probes` products. Memory: three vectors, whatever the number of moments.
/// The resolution is `π d / moments` in the middle of the range, far coarser than that of
/// [`spectral_density`](super::spectral_density), which finds outliers exactly: use that where its
/// vectors fit.
///
/// Paper: Weisse et al., <https://arxiv.org/abs/cond-mat/0504627>.
///
/// ```
/// # use burn::nn::{Linear, LinearConfig};
/// # use burn::tensor::{Device, Tensor};
/// use osculate_curvature::{KernelPolynomialConfig, kernel_polynomial};
/// # use osculate_curvature::{Batched, GradientOracle, Hessian};
/// # let device = Device::flex().autodiff();
/// # let model: Linear = LinearConfig::new(3, 1).with_bias(false).init(&device);
/// # let x = Tensor::<2>::from_data([[1.0, 0.0, 0.0], [0.0, 2.0, 0.0], [0.0, 0.0, 3.0]], &device);
/// # let objective = Batched::new(x, |model: &Linear, x: &Tensor<2>| {
/// #     model.forward(x.clone()).square().sum().mul_scalar(0.5)
/// # });
/// # let oracle = GradientOracle::new(&model, &objective);
/// let hessian = Hessian::new(&oracle)?; // diag(1, 4, 9) for this loss
/// let density = kernel_polynomial(&hessian, &KernelPolynomialConfig::default())?;
/// let there = density.curve(&[4.0, 6.5]);
/// assert!(there[0].value > there[1].value);
/// # Ok::<(), osculate_curvature::CurvatureError>(())
/// ```
///
/// # Errors
/// [`CurvatureError::InvalidSetting`], [`CurvatureError::SpectrumOutsideRange`] where moments grow
/// because an eigenvalue lies outside the range, [`CurvatureError::NonFinite`] and as the operator's
/// products.
pub fn kernel_polynomial(
    operator: &dyn CurvatureOperator,
    config: &KernelPolynomialConfig,
) -> Result<KernelPolynomial, CurvatureError> {
    let _span = tracing::debug_span!("kpm", moments = config.moments).entered();
    CurvatureError::check(
        config.moments >= 2 && config.moments.is_multiple_of(2),
        "moments",
        config.moments,
        "an even number of at least two moments",
    )?;
    CurvatureError::check(
        config.probes > 0,
        "probes",
        config.probes,
        "at least one probe",
    )?;
    let layout = operator.layout();
    let mut tally = Tally::new(config.budget)?;
    let (low, high) = match config.range {
        Some(range) => range,
        None => ends(operator, config.seed, &mut tally)?,
    };
    CurvatureError::check(
        low.is_finite() && high.is_finite() && low < high,
        "range",
        format_args!("({low}, {high})"),
        "two finite numbers, the lower one first",
    )?;
    let (centre, half_width) = (0.5 * (low + high), 0.55 * (high - low));
    let mut moments = Vec::with_capacity(config.probes);
    for index in 0..config.probes {
        if !moments.is_empty() && !tally.affords(config.moments / 2) {
            break;
        }
        let z = config.distribution.draw(&layout, config.seed, index as u64);
        let scaled = Scaled {
            operator,
            centre,
            half_width,
        };
        moments.push(scaled.moments(&z.to_compute_dtype(), config.moments, &mut tally)?);
    }
    Ok(KernelPolynomial {
        centre,
        half_width,
        converged: moments.len() == config.probes,
        moments,
        cost: tally.cost,
        products: tally.products,
        product_error: tally.product_error,
        provenance: tally.provenance,
    })
}

/// An interval that holds the spectrum: the outermost Ritz values with their residuals.
fn ends(
    operator: &dyn CurvatureOperator,
    seed: u64,
    tally: &mut Tally,
) -> Result<(f64, f64), CurvatureError> {
    let config = LanczosConfig {
        largest: 1,
        smallest: 1,
        steps: 20,
        tolerance: 1e-2,
        seed,
    };
    let found = lanczos(operator, &config)?;
    tally.book(
        found.steps,
        found.cost,
        found.product_error,
        found.provenance,
    )?;
    let (Some(top), Some(bottom)) = (found.largest.first(), found.smallest.first()) else {
        // A space of one dimension: any interval around its eigenvalue will do.
        let value = found.largest.first().map_or(0.0, |pair| pair.value);
        let margin = value.abs().max(1.0);
        return Ok((value - margin, value + margin));
    };
    Ok((bottom.value - bottom.residual, top.value + top.residual))
}

struct Scaled<'a> {
    operator: &'a dyn CurvatureOperator,
    centre: f64,
    half_width: f64,
}

impl Scaled<'_> {
    fn apply(&self, v: &ParamVec, tally: &mut Tally) -> Result<ParamVec, CurvatureError> {
        let product = tally.apply(self.operator, v)?;
        Ok(product.axpy(-self.centre, v).scale(1.0 / self.half_width))
    }

    fn moments(
        &self,
        z: &ParamVec,
        count: usize,
        tally: &mut Tally,
    ) -> Result<Vec<f64>, CurvatureError> {
        let n = z.layout().num_elements() as f64;
        let (mut before, mut last) = (z.clone(), self.apply(z, tally)?);
        let (zero, one) = (z.dot(z), z.dot(&last));
        let mut moments = vec![zero / n, one / n];
        while moments.len() < count {
            let next = self.apply(&last, tally)?.scale(2.0).sub(&before);
            let dots = last.dot_many(&[last.clone(), next.clone()]);
            moments.push((2.0 * dots[0] - zero) / n);
            moments.push((2.0 * dots[1] - one) / n);
            (before, last) = (last, next);
        }
        for moment in &moments {
            if !moment.is_finite() {
                return Err(CurvatureError::NonFinite {
                    what: "a Chebyshev moment",
                    value: *moment,
                });
            }
            // |T_k| is at most 1 inside the range and grows like cosh outside.
            if moment.abs() > moments[0] * (1.0 + 1e-3) {
                return Err(CurvatureError::SpectrumOutsideRange {
                    low: self.centre - self.half_width,
                    high: self.centre + self.half_width,
                });
            }
        }
        Ok(moments)
    }
}

impl KernelPolynomial {
    /// The width of the kernel in the middle of the range; it narrows towards the ends.
    pub fn resolution(&self) -> f64 {
        let count = self.moments.first().map_or(1, Vec::len);
        PI * self.half_width / count as f64
    }

    /// The density of eigenvalues at each point, which integrates to 1, with its standard error
    /// over the probes. It is 0 outside the range.
    pub fn curve(&self, grid: &[f64]) -> Vec<Estimate> {
        let kernel = jackson(self.moments.first().map_or(0, Vec::len));
        let at = |point: f64| {
            let x = (point - self.centre) / self.half_width;
            if x.abs() >= 1.0 {
                return Estimate::exact(0.0);
            }
            let angle = x.acos();
            let samples: Vec<f64> = self
                .moments
                .iter()
                .map(|moments| {
                    let terms = moments.iter().zip(&kernel).enumerate();
                    let sum: f64 = terms
                        .map(|(k, (moment, g))| {
                            let twice = if k == 0 { 1.0 } else { 2.0 };
                            twice * g * moment * (k as f64 * angle).cos()
                        })
                        .sum();
                    sum / (PI * (1.0 - x * x).sqrt() * self.half_width)
                })
                .collect();
            Estimate::from_samples(&samples)
        };
        grid.iter().map(|point| at(*point)).collect()
    }
}

/// Jackson's damping of the first `count` Chebyshev coefficients.
fn jackson(count: usize) -> Vec<f64> {
    let n = count as f64 + 1.0;
    (0..count)
        .map(|k| {
            let (k, angle) = (k as f64, PI * k as f64 / n);
            ((n - k) * angle.cos() + angle.sin() / (PI / n).tan()) / n
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{M12_EIGENVALUES, assert_close, m12, signs};

    #[test]
    fn densities_are_the_oracles() {
        let operator = m12();
        let mut tally = Tally::unlimited();
        let (low, high) = (-0.4, 10.0);
        let scaled = Scaled {
            operator: &operator,
            centre: 0.5 * (low + high),
            half_width: 0.55 * (high - low),
        };
        let moments = signs(&operator.layout(), 100, 16)
            .iter()
            .map(|z| scaled.moments(z, 24, &mut tally).unwrap())
            .collect();
        assert_eq!(tally.products, 16 * 12);
        let density = KernelPolynomial {
            centre: scaled.centre,
            half_width: scaled.half_width,
            moments,
            cost: tally.cost,
            products: tally.products,
            product_error: None,
            provenance: Provenance::Exact,
            converged: true,
        };
        assert!((density.resolution() - 0.7487462491055674).abs() < 1e-12);
        let curve = density.curve(&[-0.4, 0.0, 0.5, 3.0, 8.0, 10.0]);
        let values: Vec<f64> = curve.iter().map(|point| point.value).collect();
        let expected = [
            0.5011585788590385,
            0.6530248561288965,
            0.3676818573667955,
            0.045703007206766864,
            0.00016268959270327422,
            0.10956095420068873,
        ];
        assert_close(&values, &expected, 1e-10);
    }

    #[test]
    fn the_range_is_found_and_the_density_integrates_to_one() {
        let density = kernel_polynomial(&m12(), &KernelPolynomialConfig::default()).unwrap();
        let (low, high) = (
            density.centre - density.half_width,
            density.centre + density.half_width,
        );
        assert!(low < -0.4 && high > 10.0);
        let points = 4000;
        let step = (high - low) / f64::from(points);
        let grid: Vec<f64> = (0..points)
            .map(|i| low + (f64::from(i) + 0.5) * step)
            .collect();
        let integral: f64 = density.curve(&grid).iter().map(|x| x.value * step).sum();
        assert!((integral - 1.0).abs() < 1e-2, "{integral}");
        let mean: f64 = density
            .curve(&grid)
            .iter()
            .zip(&grid)
            .map(|(x, at)| x.value * at * step)
            .sum();
        let exact = M12_EIGENVALUES.iter().sum::<f64>() / 12.0;
        assert!((mean / exact - 1.0).abs() < 0.25, "{mean} {exact}");
    }

    #[test]
    fn a_range_that_is_too_narrow_is_an_error() {
        let config = KernelPolynomialConfig {
            range: Some((0.0, 5.0)),
            ..KernelPolynomialConfig::default()
        };
        let error = kernel_polynomial(&m12(), &config).unwrap_err();
        assert!(
            matches!(error, CurvatureError::SpectrumOutsideRange { .. }),
            "{error}"
        );
        let odd = KernelPolynomialConfig {
            moments: 3,
            ..KernelPolynomialConfig::default()
        };
        assert!(kernel_polynomial(&m12(), &odd).is_err());
    }
}
