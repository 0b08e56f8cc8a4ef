use std::f64::consts::{LN_10, TAU};

use super::quadrature::{Probes, Quadrature, quadratures};
use super::{EigenPair, LanczosConfig, lanczos};
use crate::cost::Cost;
use crate::error::CurvatureError;
use crate::estimate::{Estimate, ProbeDistribution};
use crate::operator::{CurvatureOperator, Provenance};
use crate::params::Basis;
use crate::tally::{Budget, Tally};

/// Settings of [`spectral_density`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DensityConfig {
    /// Lanczos steps for each probe, each of which costs one product. Default 80; 40 for a quick
    /// look, 120 for a publication.
    pub steps: usize,
    /// Number of probes. Default 8; 4 for a quick look, 20 for a publication.
    pub probes: usize,
    /// How many of the largest eigenvalues (in magnitude, by Lanczos' method) are found first and
    /// kept out of the probes: they then have no sampling error. Default 0.
    pub deflate: usize,
    /// Distribution of the probes. Default Rademacher.
    pub distribution: ProbeDistribution,
    /// Seed of the probes. Default 0.
    pub seed: u64,
    /// What may be spent. Default: no limit.
    pub budget: Budget,
}

impl Default for DensityConfig {
    fn default() -> Self {
        Self {
            steps: 80,
            probes: 8,
            deflate: 0,
            distribution: ProbeDistribution::Rademacher,
            seed: 0,
            budget: Budget::default(),
        }
    }
}

/// Standard deviation of the normal kernel that a density is smoothed with.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Width {
    /// A fraction of the range of the nodes.
    FractionOfRange(f64),
    /// An absolute value, in the unit of the eigenvalues.
    Absolute(f64),
}

/// A smoothed density at one place, with its sampling error.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DensityPoint {
    /// Where.
    pub at: f64,
    /// The density of eigenvalues there, which integrates to 1.
    pub density: Estimate,
    /// `log10` of the density above a floor of a tenth of the bump that one eigenvalue makes: what
    /// is lower is not real.
    pub log10: f64,
    /// Standard error of `log10`, by the jackknife over the probes; `None` for a single probe.
    pub log10_error: Option<f64>,
}

/// The distribution of an operator's eigenvalues, as probes see it.
#[derive(Debug, Clone)]
pub struct SpectralDensity {
    /// Number of eigenvalues.
    pub dimension: usize,
    /// Eigenpairs that were found first and are exact atoms of the density.
    pub outliers: Vec<EigenPair>,
    /// One quadrature for each probe.
    pub probes: Vec<Quadrature>,
    /// What it cost.
    pub cost: Cost,
    /// Number of products made.
    pub products: usize,
    /// Largest known error of a product, as an absolute error of the nodes; `None` where the
    /// products are exact or carry no estimate.
    pub product_error: Option<f64>,
    /// How the products were made: exactly, or by differences, then with the longest step and the
    /// largest errors of any, and why.
    pub provenance: Provenance,
    /// Whether all probes asked for were used with all their steps.
    pub converged: bool,
}

/// The distribution of eigenvalues by stochastic Lanczos quadrature.
///
/// For a probe `z` of unit length, `m` steps of Lanczos' method give nodes `θ_j` (the Ritz values)
/// and weights `ω_j` (the squared first components of their vectors) with
/// `zᵀ f(A) z ≈ Σ_j ω_j f(θ_j)`, exactly for polynomials of degree up to `2m - 1`; the mean over
/// probes estimates `tr f(A) / n`. Basis vectors are orthogonalised twice against all before them,
/// so no ghosts appear. Probes run side by side where the operator likes that.
///
/// [`SpectralDensity`] then gives smoothed densities, the distribution function, and integrals such
/// as the log-determinant, each with a standard error, at no further product.
///
/// Cost: `steps * probes` products. Memory: `steps + 2` vectors for each probe that runs at once.
/// Isolated outliers are best taken from converged Ritz pairs ([`lanczos`] or `deflate`), not from
/// the smoothed curve. On batches, the spectrum is broader than that of the whole data set.
///
/// Papers: Lin, Saad, Yang, <https://arxiv.org/abs/1308.5467>; Ghorbani, Krishnan, Xiao,
/// <https://arxiv.org/abs/1901.10159>.
///
/// ```
/// # use burn::nn::{Linear, LinearConfig};
/// # use burn::tensor::{Device, Tensor};
/// use osculate_curvature::{DensityConfig, spectral_density};
/// # use osculate_curvature::{Batched, GradientOracle, Hessian};
/// # let device = Device::flex().autodiff();
/// # let model: Linear = LinearConfig::new(3, 1).with_bias(false).init(&device);
/// # let x = Tensor::<2>::from_data([[1.0, 0.0, 0.0], [0.0, 2.0, 0.0], [0.0, 0.0, 3.0]], &device);
/// # let objective = Batched::new(x, |model: &Linear, x: &Tensor<2>| {
/// #     model.forward(x.clone()).square().sum().mul_scalar(0.5)
/// # });
/// # let oracle = GradientOracle::new(&model, &objective);
/// let hessian = Hessian::new(&oracle)?; // diag(1, 4, 9) for this loss
/// let density = spectral_density(&hessian, &DensityConfig::default())?;
/// assert!((density.trace().value - 14.0).abs() < 1e-2);
/// // Directions that a damping of 1 leaves: 1/2 + 4/5 + 9/10.
/// assert!((density.effective_dimension(1.0).value - 2.2).abs() < 1e-2);
/// # Ok::<(), osculate_curvature::CurvatureError>(())
/// ```
///
/// # Errors
/// [`CurvatureError::InvalidSetting`], [`CurvatureError::NonFinite`] where a product is not finite,
/// [`CurvatureError::BudgetTooSmall`], and as the operator's products.
///
/// ```
/// # use burn::nn::{Linear, LinearConfig};
/// # use burn::tensor::{Device, Distribution, Tensor};
/// use osculate_curvature::{
///     Batched, DensityConfig, GradientOracle, Hessian, Width, spectral_density,
/// };
/// let device = Device::flex().autodiff();
/// let model: Linear = LinearConfig::new(6, 2).init(&device);
/// let x = Tensor::<2>::random([20, 6], Distribution::Default, &device);
/// let objective = Batched::new(x, |model: &Linear, x: &Tensor<2>| {
///     model.forward(x.clone()).square().mean()
/// });
/// let oracle = GradientOracle::new(&model, &objective);
/// let config = DensityConfig { steps: 14, probes: 4, ..DensityConfig::default() };
/// let density = spectral_density(&Hessian::new(&oracle)?, &config)?;
/// // A loss of squares: no negative curvature.
/// assert!(density.negative_share().value < 1e-3);
/// let curve = density.curve(&[0.0, 0.5, 1.0], Width::FractionOfRange(0.05))?;
/// assert!(curve.iter().all(|point| point.density.value >= 0.0));
/// # Ok::<(), osculate_curvature::CurvatureError>(())
/// ```
pub fn spectral_density(
    operator: &dyn CurvatureOperator,
    config: &DensityConfig,
) -> Result<SpectralDensity, CurvatureError> {
    let _span = tracing::debug_span!("slq", steps = config.steps, probes = config.probes).entered();
    CurvatureError::check(config.steps > 0, "steps", config.steps, "at least one step")?;
    CurvatureError::check(
        config.probes > 0,
        "probes",
        config.probes,
        "at least one probe",
    )?;
    let layout = operator.layout();
    let dimension = layout.num_elements();
    CurvatureError::check(
        config.deflate < dimension,
        "deflate",
        config.deflate,
        "fewer eigenpairs than the dimension",
    )?;
    let mut tally = Tally::new(config.budget)?;
    let outliers = outliers(operator, config, &mut tally)?;
    let deflated = Basis::of(outliers.iter().map(|pair| pair.vector.clone()).collect());
    let steps = config.steps.min(dimension - deflated.len());
    let probes = Probes {
        layout,
        distribution: config.distribution,
        seed: config.seed,
    };
    let made = quadratures(
        operator,
        &probes,
        config.probes,
        steps,
        &deflated,
        &mut tally,
    )?;
    let complete = |probe: &Quadrature| probe.exact || probe.nodes.len() >= steps;
    Ok(SpectralDensity {
        dimension,
        converged: made.len() == config.probes
            && made.iter().all(complete)
            && outliers.len() == config.deflate
            && outliers.iter().all(|pair| pair.converged),
        outliers,
        probes: made,
        cost: tally.cost,
        products: tally.products,
        product_error: tally.product_error,
        provenance: tally.provenance,
    })
}

/// The eigenpairs of largest magnitude, which the probes are kept away from.
fn outliers(
    operator: &dyn CurvatureOperator,
    config: &DensityConfig,
    tally: &mut Tally,
) -> Result<Vec<EigenPair>, CurvatureError> {
    if config.deflate == 0 {
        return Ok(Vec::new());
    }
    let ends = LanczosConfig {
        largest: config.deflate,
        smallest: config.deflate,
        steps: (4 * config.deflate + 40)
            .min(tally.affordable())
            .max(2 * config.deflate),
        seed: config.seed ^ 0x5EED,
        ..LanczosConfig::default()
    };
    let found = lanczos(operator, &ends)?;
    tally.book(
        found.steps,
        found.cost,
        found.product_error,
        found.provenance,
    )?;
    let mut pairs: Vec<EigenPair> = found.largest.into_iter().chain(found.smallest).collect();
    pairs.sort_by(|a, b| b.value.abs().total_cmp(&a.value.abs()));
    pairs.truncate(config.deflate);
    Ok(pairs)
}

impl SpectralDensity {
    /// Smallest and largest node or outlier.
    pub fn range(&self) -> (f64, f64) {
        let nodes = self.probes.iter().flat_map(|probe| &probe.nodes).copied();
        let all = nodes.chain(self.outliers.iter().map(|pair| pair.value));
        all.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), x| {
            (low.min(x), high.max(x))
        })
    }

    /// The narrowest smoothing that shows more of the operator than of the method: half a node
    /// spacing, and at least a thousandth of the range.
    pub fn default_width(&self) -> Width {
        let nodes = self.probes.iter().map(|probe| probe.nodes.len()).max();
        Width::FractionOfRange((0.5 / nodes.unwrap_or(1).max(1) as f64).max(1e-3))
    }

    /// The standard deviation that a width stands for.
    ///
    /// # Errors
    /// [`CurvatureError::InvalidSetting`] where it is not positive.
    pub fn resolution(&self, width: Width) -> Result<f64, CurvatureError> {
        let sigma = match width {
            Width::Absolute(sigma) => sigma,
            Width::FractionOfRange(fraction) => {
                let (low, high) = self.range();
                // All eigenvalues may be one.
                let spread = (high - low).max(1e-12 * high.abs().max(low.abs()));
                fraction * spread.max(f64::MIN_POSITIVE)
            }
        };
        CurvatureError::check(
            sigma.is_finite() && sigma > 0.0,
            "width",
            sigma,
            "a positive finite width",
        )?;
        Ok(sigma)
    }

    /// The estimate of `tr f(A) = Σ_i f(λ_i)`, with its standard error over the probes.
    ///
    /// Exact for polynomials of degree below twice the steps but for the sampling error; functions
    /// with a kink or a pole among the eigenvalues add an error of the quadrature, which more steps
    /// lower.
    pub fn integral(&self, f: impl Fn(f64) -> f64) -> Estimate {
        let samples: Vec<f64> = self.probes.iter().map(|p| p.integrate(&f)).collect();
        let atoms = self.outliers.iter().map(|pair| f(pair.value)).sum();
        Estimate::from_samples(&samples).affine(1.0, atoms)
    }

    /// The ratio of two integrals, with its standard error by the jackknife.
    pub fn ratio(&self, above: impl Fn(f64) -> f64, below: impl Fn(f64) -> f64) -> Estimate {
        let samples = |f: &dyn Fn(f64) -> f64| -> Vec<f64> {
            let atoms: f64 = self.outliers.iter().map(|pair| f(pair.value)).sum();
            self.probes.iter().map(|p| atoms + p.integrate(f)).collect()
        };
        let (above, below) = (samples(&above), samples(&below));
        let pairs: Vec<[f64; 2]> = above.into_iter().zip(below).map(<[f64; 2]>::from).collect();
        Estimate::jackknife(&pairs, |[above, below]| above / below)
    }

    /// `tr A`.
    pub fn trace(&self) -> Estimate {
        self.integral(|x| x)
    }

    /// `tr |A| = Σ |λ_i|`, the nuclear norm.
    pub fn absolute_trace(&self) -> Estimate {
        self.integral(f64::abs)
    }

    /// `‖A‖_F² = Σ λ_i²`.
    pub fn squared_frobenius_norm(&self) -> Estimate {
        self.integral(|x| x * x)
    }

    /// `Σ log(1 + max(λ_i, 0) / damping)`: the log-determinant of `A + damping I` over that of
    /// `damping I`, for a positive semi-definite `A`.
    pub fn log_determinant(&self, damping: f64) -> Estimate {
        self.integral(|x| (x.max(0.0) / damping).ln_1p())
    }

    /// The effective dimension `Σ max(λ_i, 0) / (max(λ_i, 0) + damping)`: how many directions are
    /// curved more than the damping.
    pub fn effective_dimension(&self, damping: f64) -> Estimate {
        self.integral(|x| x.max(0.0) / (x.max(0.0) + damping))
    }

    /// The share of the negative eigenvalues in `Σ |λ_i|`. It does not depend on the number of
    /// steps, as sums of roots of weights would.
    pub fn negative_share(&self) -> Estimate {
        self.ratio(|x| (-x).max(0.0), f64::abs)
    }

    /// The participation ratio `(Σ |λ_i|)² / Σ λ_i²`: how many eigenvalues carry the trace.
    pub fn participation_ratio(&self) -> Estimate {
        let samples = |f: &dyn Fn(f64) -> f64| -> Vec<f64> {
            let atoms: f64 = self.outliers.iter().map(|pair| f(pair.value)).sum();
            self.probes.iter().map(|p| atoms + p.integrate(f)).collect()
        };
        let (sums, squares) = (samples(&f64::abs), samples(&|x: f64| x * x));
        let pairs: Vec<[f64; 2]> = sums
            .into_iter()
            .zip(squares)
            .map(<[f64; 2]>::from)
            .collect();
        Estimate::jackknife(&pairs, |[sum, squares]| sum * sum / squares)
    }

    /// The fraction of eigenvalues of magnitude below `threshold`.
    pub fn fraction_within(&self, threshold: f64) -> Estimate {
        self.integral(|x| f64::from(u8::from(x.abs() < threshold)))
            .affine(1.0 / self.dimension as f64, 0.0)
    }

    /// The fraction of eigenvalues at or below each point.
    pub fn cumulative(&self, points: &[f64]) -> Vec<Estimate> {
        let below = |at: f64| self.integral(move |x| f64::from(u8::from(x <= at)));
        points
            .iter()
            .map(|at| below(*at).affine(1.0 / self.dimension as f64, 0.0))
            .collect()
    }

    /// The density smoothed with a normal kernel, at each point of a grid.
    ///
    /// # Errors
    /// [`CurvatureError::InvalidSetting`] for a width that is not positive.
    pub fn curve(&self, grid: &[f64], width: Width) -> Result<Vec<DensityPoint>, CurvatureError> {
        let sigma = self.resolution(width)?;
        let n = self.dimension as f64;
        let peak = 1.0 / (n * sigma * TAU.sqrt());
        let floor = 0.1 * peak;
        let point = |at: f64| {
            let kernel = |x: f64| {
                let z = (x - at) / sigma;
                (-0.5 * z * z).exp() / (sigma * TAU.sqrt())
            };
            let atoms: f64 = self.outliers.iter().map(|pair| kernel(pair.value)).sum();
            let samples: Vec<f64> = self
                .probes
                .iter()
                .map(|probe| (atoms + probe.integrate(kernel)) / n)
                .collect();
            let ones: Vec<[f64; 1]> = samples.iter().map(|x| [*x]).collect();
            let log = Estimate::jackknife(&ones, |[density]| (density + floor).ln() / LN_10);
            DensityPoint {
                at,
                density: Estimate::from_samples(&samples),
                log10: log.value,
                log10_error: log.standard_error,
            }
        };
        Ok(grid.iter().map(|at| point(*at)).collect())
    }
}

#[cfg(test)]
mod tests;
