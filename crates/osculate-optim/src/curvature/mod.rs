//! Where curvature comes from.

mod context;
mod memory;
mod sources;

pub use context::CurvatureContext;
pub(crate) use context::ErasedOracle;
pub(crate) use memory::{Found, ProductMemory};
pub(crate) use sources::unjudged;
pub use sources::{
    CustomDiagonal, DiagonalFn, DiagonalRequest, GaussNewtonBartlett, Hutchinson, ProbeFn,
};

use std::fmt::Debug;

use osculate_curvature::{CurvatureError, ParamVec};

/// An estimate of curvature at the point where the gradient was taken.
#[derive(Debug, Clone)]
pub enum CurvatureEstimate {
    /// A random probe `z` and the product `H z`.
    Product {
        /// `z`.
        probe: ParamVec,
        /// `H z`, in the type in which statistics are kept.
        product: ParamVec,
    },
    /// An estimate of the diagonal, in the type in which statistics are kept.
    Diagonal(ParamVec),
    /// The solution of a system with the gradient on its right, such as Newton's direction, in the same type.
    /// For vector rules.
    Solution(ParamVec),
}

impl CurvatureEstimate {
    /// What was estimated: the product, the diagonal or the solution.
    pub fn value(&self) -> &ParamVec {
        match self {
            Self::Product { product: value, .. }
            | Self::Diagonal(value)
            | Self::Solution(value) => value,
        }
    }

    /// The same with another value.
    pub(crate) fn with_value(self, value: ParamVec) -> Self {
        match self {
            Self::Product { probe, .. } => Self::Product {
                probe,
                product: value,
            },
            Self::Diagonal(_) => Self::Diagonal(value),
            Self::Solution(_) => Self::Solution(value),
        }
    }

    /// The same of vectors that `f` makes of each.
    pub(crate) fn map(&self, f: impl Fn(&ParamVec) -> ParamVec) -> Self {
        match self {
            Self::Product { probe, product } => Self::Product {
                probe: f(probe),
                product: f(product),
            },
            Self::Diagonal(diagonal) => Self::Diagonal(f(diagonal)),
            Self::Solution(solution) => Self::Solution(f(solution)),
        }
    }
}

/// What curvature a step is given, and how it is estimated.
///
/// A rule says when it wants curvature ([`BlockRule::wants_curvature`](crate::BlockRule::wants_curvature));
/// the source says what: [`Hutchinson`] products, [`GaussNewtonBartlett`] diagonals, or an estimate of
/// the user's own. [`Driver::with_curvature`](crate::Driver::with_curvature) replaces a rule's own source.
///
/// ```
/// use osculate_curvature::{CurvatureError, ProbeDistribution};
/// use osculate_optim::{CurvatureContext, CurvatureEstimate, CurvatureSource};
///
/// /// The squared gradient, which costs nothing.
/// #[derive(Debug)]
/// struct SquaredGradient;
///
/// impl CurvatureSource for SquaredGradient {
///     fn name(&self) -> &'static str {
///         "squared-gradient"
///     }
///     fn estimate(
///         &self,
///         context: &mut CurvatureContext<'_>,
///     ) -> Result<CurvatureEstimate, CurvatureError> {
///         let g = context.gradient()?.to_compute_dtype();
///         Ok(CurvatureEstimate::Diagonal(g.hadamard(&g)))
///     }
/// }
/// # use burn::{nn::{Linear, LinearConfig}, tensor::{Device, Tensor}};
/// # use osculate_optim::{ClosureOptimizer, SophiaConfig};
/// # let device = Device::flex().autodiff();
/// # let model: Linear = LinearConfig::new(2, 1).init(&device);
/// # let x = Tensor::<2>::ones([4, 2], &device);
/// # let loss = |model: &Linear| model.forward(x.clone()).square().mean();
/// let mut optimizer = SophiaConfig::h().init()?.with_curvature(SquaredGradient);
/// let step = optimizer.step(0.01, model, &loss)?;
/// assert_eq!(step.report.cost().gradient_evaluations(), 1.0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait CurvatureSource: Debug + Send + Sync {
    /// Name of the source, in lower case.
    fn name(&self) -> &'static str;

    /// Estimates at the context's point. It must depend on the context alone, or a resumed run differs
    /// from an uninterrupted one.
    ///
    /// # Errors
    /// Whatever the evaluations fail with; the step is then not made.
    fn estimate(
        &self,
        context: &mut CurvatureContext<'_>,
    ) -> Result<CurvatureEstimate, CurvatureError>;
}
