use std::sync::Arc;

use burn::tensor::Tensor;
use faer::prelude::Solve;
use faer::{Mat, Side};

use crate::error::CurvatureError;
use crate::objective::Criterion;
use crate::operator::{CurvatureOperator, LowRank, dense_matrix};
use crate::params::{ParamLayout, ParamVec};
use crate::spectrum::EigenPair;

/// What turns the curvature of a loss into the precision of a posterior, `P = scale A + τ I`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LaplaceConfig {
    /// By how much the negative log-likelihood of all data exceeds the loss whose curvature is used:
    /// `N` for a mean cross-entropy over `N` rows.
    pub scale: f64,
    /// Precision `τ` of the normal prior of every weight. A decay of `d` in the mean loss is
    /// `τ = N d`.
    pub prior_precision: f64,
}

impl LaplaceConfig {
    /// The scale for `count` training rows of this criterion with `outputs` columns.
    ///
    /// `noise` is the standard deviation of the observations, used for the mean squared error alone:
    /// its likelihood is `exp(-|f - y|² / 2 noise²)`, and the criterion averages over columns. A
    /// `temperature` below 1 sharpens the posterior; 1 is Bayes'.
    ///
    /// # Errors
    /// [`CurvatureError::InvalidSetting`] where a number is not positive.
    pub fn for_criterion(
        criterion: &Criterion,
        count: usize,
        outputs: usize,
        noise: f64,
        temperature: f64,
        prior_precision: f64,
    ) -> Result<Self, CurvatureError> {
        for (name, value) in [("noise", noise), ("temperature", temperature)] {
            CurvatureError::check(
                value.is_finite() && value > 0.0,
                name,
                value,
                "a positive finite number",
            )?;
        }
        let n = count as f64;
        let likelihood = match criterion {
            Criterion::Mse { .. } => n * outputs as f64 / (2.0 * noise * noise),
            other => n / other.likelihood_scale(outputs),
        };
        let config = Self {
            scale: likelihood / temperature,
            prior_precision,
        };
        config.validate()?;
        Ok(config)
    }

    fn validate(&self) -> Result<(), CurvatureError> {
        for (name, value) in [
            ("scale", self.scale),
            ("prior_precision", self.prior_precision),
        ] {
            CurvatureError::check(
                value.is_finite() && value > 0.0,
                name,
                value,
                "a positive finite number",
            )?;
        }
        Ok(())
    }
}

/// A normal distribution of weights around the trained ones.
///
/// The three structures err in different ways: the diagonal forgets correlations, and can be too sure
/// or not sure enough; the low rank gives every direction that it drops the whole variance of the
/// prior and is not sure enough. Print them beside each other where it matters.
pub trait Posterior {
    /// The space of the weights.
    fn layout(&self) -> Arc<ParamLayout>;

    /// `P⁻¹ v`: the covariance times a vector.
    ///
    /// # Errors
    /// [`CurvatureError::LayoutMismatch`] for a vector of another space.
    fn covariance(&self, v: &ParamVec) -> Result<ParamVec, CurvatureError>;

    /// The logarithm of the determinant of the precision.
    ///
    /// # Errors
    /// [`CurvatureError::NonFinite`] where it is not finite.
    fn log_determinant(&self) -> Result<f64, CurvatureError>;

    /// A deviation from the trained weights, drawn with this seed.
    ///
    /// Predictions at sampled weights of a *nonlinear* network can be far worse than at the mean: use
    /// the linearised [`predictive_covariance`](super::predictive_covariance).
    ///
    /// # Errors
    /// As [`covariance`](Self::covariance).
    fn sample(&self, seed: u64) -> Result<ParamVec, CurvatureError>;
}

/// Precision `scale diag(d) + τ I`.
///
/// ```
/// # use burn::nn::{Linear, LinearConfig};
/// # use burn::tensor::{Device, Tensor};
/// # use osculate_curvature::{Batched, GradientOracle, Hessian};
/// # let device = Device::flex().autodiff();
/// # let model: Linear = LinearConfig::new(3, 1).with_bias(false).init(&device);
/// # let x = Tensor::<2>::from_data([[1.0, 0.0, 0.0], [0.0, 2.0, 0.0], [0.0, 0.0, 3.0]], &device);
/// # let objective = Batched::new(x, |model: &Linear, x: &Tensor<2>| {
/// #     model.forward(x.clone()).square().sum().mul_scalar(0.5)
/// # });
/// # let oracle = GradientOracle::new(&model, &objective);
/// # use osculate_curvature::CurvatureOperator;
/// use osculate_curvature::{DiagonalPosterior, LaplaceConfig, ParamVec, Posterior, dense_diagonal};
/// let hessian = Hessian::new(&oracle)?; // diag(1, 4, 9) for this loss
/// let config = LaplaceConfig { scale: 1.0, prior_precision: 1.0 };
/// let posterior = DiagonalPosterior::new(&dense_diagonal(&hessian)?, &config)?;
/// let variances = posterior.covariance(&ParamVec::from_values(&hessian.layout(), &[1.0; 3]))?;
/// let expected = [1.0 / 2.0, 1.0 / 5.0, 1.0 / 10.0];
/// assert!(variances.to_values().iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-3));
/// # Ok::<(), osculate_curvature::CurvatureError>(())
/// ```
#[derive(Debug, Clone)]
pub struct DiagonalPosterior {
    precision: ParamVec,
}

impl DiagonalPosterior {
    /// The posterior of a curvature with this diagonal, whose negative elements count as 0.
    ///
    /// # Errors
    /// [`CurvatureError::InvalidSetting`], and [`CurvatureError::NonFinite`] for a diagonal that is
    /// not finite.
    pub fn new(diagonal: &ParamVec, config: &LaplaceConfig) -> Result<Self, CurvatureError> {
        config.validate()?;
        let norm = diagonal.norm();
        if !norm.is_finite() {
            return Err(CurvatureError::NonFinite {
                what: "the norm of the diagonal",
                value: norm,
            });
        }
        let damp = |d: Tensor<1>| {
            let scaled = d.clamp_min(0.0).mul_scalar(config.scale);
            scaled.add_scalar(config.prior_precision)
        };
        let precision = diagonal.to_compute_dtype().map(|(_, d)| damp(d.clone()));
        Ok(Self { precision })
    }
}

impl Posterior for DiagonalPosterior {
    fn layout(&self) -> Arc<ParamLayout> {
        self.precision.layout().clone()
    }

    fn covariance(&self, v: &ParamVec) -> Result<ParamVec, CurvatureError> {
        self.precision.layout().check(v.layout())?;
        Ok(v.to_compute_dtype().zip_map(&self.precision, |v, p| v / p))
    }

    fn log_determinant(&self) -> Result<f64, CurvatureError> {
        let logs = self.precision.map(|(_, p)| p.clone().log());
        let one = logs.map(|(_, x)| x.ones_like());
        finite_determinant(logs.dot(&one))
    }

    fn sample(&self, seed: u64) -> Result<ParamVec, CurvatureError> {
        let z = ParamVec::gaussian(&self.layout(), seed).to_compute_dtype();
        Ok(z.zip_map(&self.precision, |z, p| z / p.sqrt()))
    }
}

/// Precision `scale U diag(λ) Uᵀ + τ I` from the top eigenpairs.
///
/// ```
/// # use burn::nn::{Linear, LinearConfig};
/// # use burn::tensor::{Device, Tensor};
/// # use osculate_curvature::{Batched, GradientOracle, Hessian};
/// # let device = Device::flex().autodiff();
/// # let model: Linear = LinearConfig::new(3, 1).with_bias(false).init(&device);
/// # let x = Tensor::<2>::from_data([[1.0, 0.0, 0.0], [0.0, 2.0, 0.0], [0.0, 0.0, 3.0]], &device);
/// # let objective = Batched::new(x, |model: &Linear, x: &Tensor<2>| {
/// #     model.forward(x.clone()).square().sum().mul_scalar(0.5)
/// # });
/// # let oracle = GradientOracle::new(&model, &objective);
/// # use osculate_curvature::CurvatureOperator;
/// use osculate_curvature::{
///     LanczosConfig, LaplaceConfig, LowRankPosterior, ParamVec, Posterior, lanczos,
/// };
/// let hessian = Hessian::new(&oracle)?; // diag(1, 4, 9) for this loss
/// let config = LaplaceConfig { scale: 1.0, prior_precision: 1.0 };
/// let pairs = lanczos(&hessian, &LanczosConfig { largest: 1, ..LanczosConfig::default() })?.largest;
/// let posterior = LowRankPosterior::new(hessian.layout(), &pairs, &config)?;
/// let variances = posterior.covariance(&ParamVec::from_values(&hessian.layout(), &[1.0; 3]))?;
/// // What is not among the pairs keeps the prior's variance.
/// let expected = [1.0, 1.0, 1.0 / 10.0];
/// assert!(variances.to_values().iter().zip(expected).all(|(a, b)| (a - b).abs() < 0.05));
/// # Ok::<(), osculate_curvature::CurvatureError>(())
/// ```
#[derive(Debug, Clone)]
pub struct LowRankPosterior {
    precision: LowRank,
}

impl LowRankPosterior {
    /// The posterior of the given eigenpairs, whose negative eigenvalues count as 0.
    ///
    /// # Errors
    /// As [`LowRank::new`], and [`CurvatureError::InvalidSetting`].
    pub fn new(
        layout: Arc<ParamLayout>,
        pairs: &[EigenPair],
        config: &LaplaceConfig,
    ) -> Result<Self, CurvatureError> {
        config.validate()?;
        let curvature = LowRank::new(layout, pairs, 0.0)?;
        let precise = |x: f64| config.scale * x.max(0.0) + config.prior_precision;
        Ok(Self {
            precision: curvature.map(precise)?,
        })
    }
}

impl Posterior for LowRankPosterior {
    fn layout(&self) -> Arc<ParamLayout> {
        self.precision.layout()
    }

    fn covariance(&self, v: &ParamVec) -> Result<ParamVec, CurvatureError> {
        Ok(self.precision.map(f64::recip)?.apply(v)?.value)
    }

    fn log_determinant(&self) -> Result<f64, CurvatureError> {
        finite_determinant(self.precision.log_determinant())
    }

    fn sample(&self, seed: u64) -> Result<ParamVec, CurvatureError> {
        let z = ParamVec::gaussian(&self.layout(), seed);
        Ok(self.precision.map(|x| x.sqrt().recip())?.apply(&z)?.value)
    }
}

/// Precision `scale A + τ I` with the whole matrix: for small models, and for the last layer alone
/// with a [`Restricted`](crate::Restricted) operator.
///
/// ```
/// # use burn::nn::{Linear, LinearConfig};
/// # use burn::tensor::{Device, Tensor};
/// # use osculate_curvature::{Batched, GradientOracle, Hessian};
/// # let device = Device::flex().autodiff();
/// # let model: Linear = LinearConfig::new(3, 1).with_bias(false).init(&device);
/// # let x = Tensor::<2>::from_data([[1.0, 0.0, 0.0], [0.0, 2.0, 0.0], [0.0, 0.0, 3.0]], &device);
/// # let objective = Batched::new(x, |model: &Linear, x: &Tensor<2>| {
/// #     model.forward(x.clone()).square().sum().mul_scalar(0.5)
/// # });
/// # let oracle = GradientOracle::new(&model, &objective);
/// # use osculate_curvature::CurvatureOperator;
/// use osculate_curvature::{DensePosterior, LaplaceConfig, Posterior, log_evidence};
/// let hessian = Hessian::new(&oracle)?; // diag(1, 4, 9) for this loss
/// let config = LaplaceConfig { scale: 1.0, prior_precision: 1.0 };
/// let posterior = DensePosterior::new(&hessian, &config)?;
/// assert!((posterior.log_determinant()? - 100.0_f64.ln()).abs() < 1e-3); // 2 · 5 · 10
/// // For a prior of precision 1, and weights at a distance of 2 from its mean.
/// let evidence = log_evidence(&posterior, -3.0, 4.0, 1.0)?;
/// assert!((evidence - (-3.0 - 0.5 * (4.0 + 100.0_f64.ln()))).abs() < 1e-3);
/// # Ok::<(), osculate_curvature::CurvatureError>(())
/// ```
#[derive(Debug, Clone)]
pub struct DensePosterior {
    layout: Arc<ParamLayout>,
    curvature: Mat<f64>,
    factor: faer::linalg::solvers::Llt<f64>,
}

impl DensePosterior {
    /// The posterior of an operator, which is multiplied by every unit vector.
    ///
    /// Cost: one product for each element of the space. Memory: its square, three times, on the
    /// host.
    ///
    /// # Errors
    /// [`CurvatureError::NotPositiveDefinite`] where the precision is not,
    /// [`CurvatureError::InvalidSetting`], and as the operator's products.
    pub fn new(
        operator: &dyn CurvatureOperator,
        config: &LaplaceConfig,
    ) -> Result<Self, CurvatureError> {
        config.validate()?;
        let layout = operator.layout();
        let n = layout.num_elements();
        let elements = dense_matrix(operator)?;
        let curvature = Mat::from_fn(n, n, |row, column| {
            0.5 * config.scale * (elements[row * n + column] + elements[column * n + row])
        });
        let precision = Mat::from_fn(n, n, |row, column| {
            let prior = if row == column {
                config.prior_precision
            } else {
                0.0
            };
            curvature[(row, column)] + prior
        });
        let smallest = (0..n)
            .map(|k| precision[(k, k)])
            .fold(f64::INFINITY, f64::min);
        let factor =
            precision
                .llt(Side::Lower)
                .map_err(|_| CurvatureError::NotPositiveDefinite {
                    curvature: smallest.min(0.0),
                })?;
        Ok(Self {
            layout,
            curvature,
            factor,
        })
    }

    /// The eigenvalues of `scale A`, which [`fit_prior`](super::fit_prior) looks at.
    ///
    /// # Errors
    /// [`CurvatureError::Eigensolver`].
    pub fn eigenvalues(&self) -> Result<Vec<f64>, CurvatureError> {
        self.curvature
            .self_adjoint_eigenvalues(Side::Lower)
            .map_err(|_| CurvatureError::Eigensolver {
                size: self.curvature.nrows(),
            })
    }

    fn column(&self, v: &ParamVec) -> Result<Mat<f64>, CurvatureError> {
        self.layout.check(v.layout())?;
        let values = v.to_values();
        Ok(Mat::from_fn(values.len(), 1, |row, _| values[row]))
    }

    fn vector(&self, column: &[f64]) -> ParamVec {
        ParamVec::from_values(&self.layout, column).to_compute_dtype()
    }
}

impl Posterior for DensePosterior {
    fn layout(&self) -> Arc<ParamLayout> {
        self.layout.clone()
    }

    fn covariance(&self, v: &ParamVec) -> Result<ParamVec, CurvatureError> {
        let solved = self.factor.solve(&self.column(v)?);
        let values: Vec<f64> = (0..solved.nrows()).map(|row| solved[(row, 0)]).collect();
        Ok(self.vector(&values))
    }

    fn log_determinant(&self) -> Result<f64, CurvatureError> {
        let lower = self.factor.L();
        let sum: f64 = (0..lower.nrows()).map(|k| lower[(k, k)].ln()).sum();
        finite_determinant(2.0 * sum)
    }

    fn sample(&self, seed: u64) -> Result<ParamVec, CurvatureError> {
        // L⁻ᵀ z has the covariance (L Lᵀ)⁻¹.
        let z = ParamVec::gaussian(&self.layout, seed).to_values();
        let lower = self.factor.L();
        let n = z.len();
        let mut x = vec![0.0; n];
        for row in (0..n).rev() {
            let known: f64 = (row + 1..n).map(|k| lower[(k, row)] * x[k]).sum();
            x[row] = (z[row] - known) / lower[(row, row)];
        }
        Ok(self.vector(&x))
    }
}

fn finite_determinant(value: f64) -> Result<f64, CurvatureError> {
    if value.is_finite() {
        Ok(value)
    } else {
        Err(CurvatureError::NonFinite {
            what: "the log-determinant of the precision",
            value,
        })
    }
}
