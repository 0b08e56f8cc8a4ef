//! The sources of curvature that come with the crate.

use std::fmt::{Debug, Formatter};
use std::sync::Arc;

use osculate_curvature::{CurvatureError, HessianConfig, ParamLayout, ParamVec, ProbeDistribution};

use super::{CurvatureContext, CurvatureEstimate, CurvatureSource};

/// A user's own probe for a step: must have independent elements of zero mean and unit variance,
/// and depend on its arguments alone, or a resumed run differs from an uninterrupted one.
pub type ProbeFn = Arc<dyn Fn(&Arc<ParamLayout>, u64) -> ParamVec + Send + Sync>;

/// A user's own estimate of the diagonal for a step.
pub type DiagonalFn =
    Arc<dyn Fn(&DiagonalRequest<'_>) -> Result<ParamVec, CurvatureError> + Send + Sync>;

/// What a [`CustomDiagonal`] may look at.
#[derive(Debug, Clone, Copy)]
pub struct DiagonalRequest<'a> {
    /// The weights.
    pub parameters: &'a ParamVec,
    /// The gradient of the loss at the weights.
    pub gradient: &'a ParamVec,
    /// Number of steps made before this one.
    pub step: u64,
    /// A seed that differs from step to step.
    pub seed: u64,
}

/// Products whose error is not estimated: that would take gradients, and read two norms back in each.
pub(crate) fn unjudged() -> HessianConfig {
    HessianConfig {
        estimate_error: false,
        ..HessianConfig::default()
    }
}

/// Keeps the streams of probes and of sampled targets apart from the dropout mask's.
const PROBE_STREAM: u64 = 0x5052_4F42;

/// One random probe `z` a step, and the product `H z`: what Hutchinson's estimates of trace and diagonal
/// are made of.
///
/// Where the Hessian's products cannot be exact, the first finite difference of a run is judged. If kinks
/// of the network (ReLU, max pooling) spoil it and the objective has outputs, products with the
/// Gauss-Newton matrix stand in for the Hessian's from that step on, with one warning and with the reason in
/// [`StepReport::fallback`](crate::StepReport::fallback): differences see kinks as curvature of a size that
/// depends on the step, and an average over many steps does not remove that. A plain loss has no such
/// matrix, and keeps its differences with a warning that names the remedy.
/// [`with_hessian`](Self::with_hessian) keeps to the Hessian.
///
/// Cost: one Hessian product, 2 to 2.7 gradient evaluations. Where the first difference of a run meets kinks it
/// takes two more, and a plain loss then tries up to eight other steps.
///
/// ```
/// use osculate_curvature::{HessianConfig, HvpMode};
/// use osculate_optim::{AdaHessianConfig, CurvatureSource, Hutchinson};
///
/// let config = HessianConfig { mode: HvpMode::Exact, ..HessianConfig::default() };
/// let source = Hutchinson::gaussian().with_hessian(config);
/// assert_eq!(source.name(), "hutchinson");
/// let optimizer = AdaHessianConfig::new().init()?.with_curvature(source);
/// # Ok::<(), osculate_optim::ConfigError>(())
/// ```
#[derive(Clone)]
pub struct Hutchinson {
    distribution: ProbeDistribution,
    stream: u64,
    /// `None`: the Hessian or, on kinks, the Gauss-Newton matrix.
    hessian: Option<HessianConfig>,
    probes: Option<ProbeFn>,
}

impl Debug for Hutchinson {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hutchinson")
            .field("distribution", &self.distribution)
            .field("hessian", &self.hessian)
            .field("custom_probes", &self.probes.is_some())
            .finish_non_exhaustive()
    }
}

impl Hutchinson {
    /// Probes of independent signs.
    pub fn rademacher() -> Self {
        Self::new(ProbeDistribution::Rademacher)
    }

    /// Probes of independent standard normal numbers.
    pub fn gaussian() -> Self {
        Self::new(ProbeDistribution::Gaussian)
    }

    fn new(distribution: ProbeDistribution) -> Self {
        Self {
            distribution,
            stream: PROBE_STREAM,
            hessian: None,
            probes: None,
        }
    }

    /// Draws from another stream of the run's seed, apart from all others.
    pub fn with_stream(mut self, stream: u64) -> Self {
        self.stream = stream;
        self
    }

    /// Draws probes by the caller's own function instead of from the run's seed.
    pub fn with_probes(mut self, probes: ProbeFn) -> Self {
        self.probes = Some(probes);
        self
    }

    /// Makes products of the Hessian, also on networks with kinks, and says how.
    pub fn with_hessian(mut self, config: HessianConfig) -> Self {
        self.hessian = Some(config);
        self
    }
}

impl CurvatureSource for Hutchinson {
    fn name(&self) -> &'static str {
        "hutchinson"
    }

    fn estimate(
        &self,
        context: &mut CurvatureContext<'_>,
    ) -> Result<CurvatureEstimate, CurvatureError> {
        let layout = context.layout()?;
        let probe = match &self.probes {
            Some(draw) => draw(&layout, context.step()),
            None => self
                .distribution
                .draw(&layout, context.seed() ^ self.stream, 0),
        };
        let product = match self.hessian {
            Some(config) => context.hessian_product(config, &probe)?,
            None => context.probe_product(&probe)?,
        };
        Ok(CurvatureEstimate::Product {
            probe: probe.to_compute_dtype(),
            product,
        })
    }
}

/// The Gauss-Newton-Bartlett diagonal `B ĝ ⊙ ĝ` at targets that the model draws. Never negative; the
/// objective must be [`Supervised`](osculate_curvature::Supervised).
///
/// Cost: 1 gradient evaluation.
///
/// ```
/// use osculate_optim::{CurvatureSource, GaussNewtonBartlett};
/// assert_eq!(GaussNewtonBartlett::new().name(), "gauss-newton-bartlett");
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct GaussNewtonBartlett;

impl GaussNewtonBartlett {
    /// The source.
    pub fn new() -> Self {
        Self
    }
}

impl CurvatureSource for GaussNewtonBartlett {
    fn name(&self) -> &'static str {
        "gauss-newton-bartlett"
    }

    fn estimate(
        &self,
        context: &mut CurvatureContext<'_>,
    ) -> Result<CurvatureEstimate, CurvatureError> {
        let seed = context.seed() ^ PROBE_STREAM;
        let sample = context.gauss_newton_bartlett(seed)?;
        Ok(CurvatureEstimate::Diagonal(sample))
    }
}

/// A diagonal from the caller's own function.
///
/// ```
/// use std::sync::Arc;
/// use osculate_optim::{CurvatureSource, CustomDiagonal, DiagonalRequest};
///
/// let squares = CustomDiagonal::new(Arc::new(|request: &DiagonalRequest<'_>| {
///     Ok(request.gradient.hadamard(request.gradient))
/// }));
/// assert_eq!(squares.name(), "custom-diagonal");
/// ```
#[derive(Clone)]
pub struct CustomDiagonal {
    diagonal: DiagonalFn,
}

impl Debug for CustomDiagonal {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CustomDiagonal").finish_non_exhaustive()
    }
}

impl CustomDiagonal {
    /// The source of this function.
    pub fn new(diagonal: DiagonalFn) -> Self {
        Self { diagonal }
    }
}

impl CurvatureSource for CustomDiagonal {
    fn name(&self) -> &'static str {
        "custom-diagonal"
    }

    fn estimate(
        &self,
        context: &mut CurvatureContext<'_>,
    ) -> Result<CurvatureEstimate, CurvatureError> {
        let request = DiagonalRequest {
            parameters: context.parameters()?,
            gradient: context.gradient()?,
            step: context.step(),
            seed: context.seed() ^ PROBE_STREAM,
        };
        let estimate = (self.diagonal)(&request)?;
        request.parameters.layout().check(estimate.layout())?;
        Ok(CurvatureEstimate::Diagonal(estimate.to_compute_dtype()))
    }
}
