//! How the loss of a burn module bends around its weights.
//!
//! Everything starts from an [`Objective`] (a loss on a fixed batch) and a [`GradientOracle`] (its
//! gradients at and around a model's weights, with the model left untouched). On these stand
//! [curvature operators](CurvatureOperator), which multiply a [`ParamVec`] by a matrix that is never
//! formed, and estimators on top of any operator.
//!
//! | operator | matrix | gradients per product |
//! |---|---|---|
//! | [`Hessian`] | `∇²L`, exact for a [`Batched`] or [`SupervisedBatch`], else central differences | 2 to 2.7 |
//! | [`GaussNewton`] | `J^T H_loss J` | 1.7 to 2 |
//! | [`Fisher`] | second moment of per-sample gradients, empirical or sampled | 1.7 to 2 |
//! | [`Sum`], [`Scaled`], [`Shifted`], [`Restricted`], [`Preconditioned`] | combinations, diagonal blocks, `S A S` | of its parts |
//! | [`DampedInverse`], [`Woodbury`] | `(A + δ I)⁻¹`, by solutions or from stored gradients | of a solution; 0 |
//! | [`LowRank`], [`DiagonalOperator`], [`DenseOperator`] | a few directions, a diagonal, an explicit matrix | 0 |
//!
//! # Which number answers which question
//! Products are what everything costs: `p` below. Units are those of the loss over those of the
//! weights, squared, unless the table says otherwise.
//!
//! | question | number | cost |
//! |---|---|---|
//! | How large a step is stable? Where is the sharpest direction, or a descent at a saddle? | [`lanczos`] at either end, [`power_iteration`] in little memory | 12 to 42 `p` for 4 pairs |
//! | The same as Adam or another preconditioner sees it | [`lanczos`] on [`Preconditioned`] | the same |
//! | How many copies has an eigenvalue? | [`block_lanczos`] | one `p` a vector |
//! | How are all eigenvalues spread? How much is negative, how many directions matter? | [`spectral_density`], [`kernel_polynomial`] where its vectors do not fit | 160 to 2400 `p` |
//! | Log-determinant, effective dimension, any sum over eigenvalues | [`SpectralDensity::integral`] and its kin | 0 more |
//! | How does one curvature differ from another, in its units? | [`generalised_lanczos`] (a pure number) | one `p` and a solution a step |
//! | Total curvature; that of each layer | [`hutchinson_trace`] | 1 `p` a probe |
//! | The same of the Gauss-Newton matrix, from its factor | [`factor_trace`] | half a `p` a probe, often fewer |
//! | Total curvature where outliers carry it | [`xnystrace`] (Gauss-Newton, Fisher), [`krylov_trace`], [`xtrace`], [`hutch_pp`] | 12 to 50 `p` |
//! | Curvature of each weight | [`hutchinson_diagonal`], [`xdiag`], [`gnb_diagonal`] (one gradient) | 1 `p` a probe |
//! | What a block-diagonal approximation leaves out | [`block_masses`] (a share) | 1 `p` a block and probe |
//! | `(A + δ I)⁻¹ b` | [`conjugate_gradient`] (definite), [`minres`] (any), [`lsmr`] (from a factor), [`nystrom`] as preconditioner, [`deflated_conjugate_gradient`] | 1 `p` a step |
//! | Which samples does a prediction owe to? What if one were removed? | [`influence`], [`removal_step`], [`self_influence`], checked by [`leave_one_out`] (unit of the loss) | one solution a query |
//! | How sure is a prediction? Which prior do the data want? | [`DensePosterior`], [`LowRankPosterior`], [`DiagonalPosterior`], [`fit_prior`] | `n`, `k`, a diagonal |
//! | How large a batch is worth its cost? | [`NoiseScale`], [`gradient_noise`] (samples) | 0; 1 `p` a sample |
//! | Flatter, aligned or remembered losses | [`Penalised`] with a [`Penalty`] | from 1 `p` a step |
//!
//! Sampling errors are standard errors over probes, and [`Estimate::interval`] turns them into
//! intervals that hold their nominal probability to within 0.05 on spectra from flat to steep. Errors
//! of truncation ([`EigenPair::residual`], [`Solution::relative_residual`]) and of the products
//! (`product_error`) are beside them, not in them; so is that of the data: the Hessian of a batch is
//! broader than that of the data set.
//!
//! None of these numbers is a property of the function that a network computes alone. Layers before a
//! normalisation have curvature in proportion to `1 / |w|²`, and ReLU layers trade scale with their
//! neighbours: compare the same parametrisation, or a trace times `|w|² / n` of its layer.
//! [`generalised_lanczos`] without damping does not depend on scale.
//!
//! # What else there is
//! - Objectives: [`Batched`] and [`SupervisedBatch`] hand their batch over, [`Supervised`] and [`Fallible`] keep it to
//!   themselves; [`Accumulated`] is several as one, of [`Part`]s, and [`Drawing`] one with others at hand; [`Saf`]
//!   ([`SafConfig`]) and [`Distilled`] add a memory of outputs. [`Criterion`] is the kind of a loss; what an objective may
//!   offer beyond a loss is a [`SupervisedObjective`], a [`GradientObjective`] or a [`Recordable`].
//! - Vectors: a [`ParamVec`] has an entry for each [`ParamEntry`] of its [`ParamLayout`], [`FiniteFlags`] say which hold
//!   numbers only, [`assign`] and [`unflatten`] put them back.
//! - An [`Evaluation`] is what [`GradientOracle`] gives, [`Cost`] what was spent, [`Budget`] what may be, [`RandomStream`] what
//!   keeps the program's noise its own.
//! - Products: any [`CurvatureOperator`] gives a [`Product`] with its [`Provenance`] and [`ErrorEstimate`]. [`HessianConfig`] says
//!   how ([`HvpMode`], [`HvpFallback`], [`Scheme`], [`StepRule`]), [`FisherKind`] which; [`Structure`] is what is known of an
//!   operator, and [`symmetry_check`] ([`SymmetryCheck`]), [`dense_matrix`] and [`dense_diagonal`] look at one.
//! - Spectra: [`LanczosConfig`], [`BlockLanczosConfig`], [`GeneralisedConfig`], [`PowerIterationConfig`], [`DensityConfig`] and
//!   [`KernelPolynomialConfig`] are settings; [`Spectrum`] of [`EigenPair`]s, [`GeneralisedSpectrum`] of [`GeneralisedPair`]s,
//!   [`PowerIteration`], [`SpectralDensity`] ([`DensityPoint`], [`Quadrature`], [`Width`]) and [`KernelPolynomial`] results.
//! - Estimates: [`HutchinsonConfig`], [`SketchConfig`], [`KrylovTraceConfig`] and [`GnbConfig`] are settings, with a
//!   [`ProbeDistribution`]; [`TraceEstimate`] ([`BlockTrace`]), [`SketchedTrace`], [`DiagonalEstimate`] and [`BlockMasses`] results;
//!   [`hutchinson_abs`], [`gnb_sample`] and [`squared_frobenius_norm`] are their relatives.
//! - Solutions: [`SolveConfig`], [`NeumannConfig`] and [`NystromConfig`] are settings; [`Solution`] ([`NegativeCurvature`]),
//!   [`LsmrSolution`], [`NeumannSolution`], [`Nystrom`] and [`Deflation`] results; [`neumann`] needs products alone; a [`Factor`]
//!   ([`DenseFactor`], [`GradientRows`], [`GaussNewtonFactor`], [`FactorProduct`]) has a [`RightHandSide`].
//! - Samples: [`sample_gradients`] and [`output_jacobian`] are one row a sample; [`influence_lissa`], [`trac_in`]
//!   ([`Checkpoint`]), [`membership_score`] ([`AttackConfig`]) and [`RemovalConfig`] go with [`influence`], which gives
//!   [`InfluenceScores`]; [`LeaveOneOut`] and [`Agreement`] say how true they are.
//! - Laplace: [`Posterior`] is what the posteriors have in common, [`LaplaceConfig`] their settings, [`PriorFit`],
//!   [`log_evidence`], [`predictive_covariance`] and [`probit`] what follows.
//! - Rates from curvature: [`RateEstimate`], [`BatchRate`] and [`batch_sharpness`]; noise: [`GradientNoise`].
//! - Penalties: [`GradientNormPenalty`] ([`GradientNorm`]), [`TracePenalty`], [`SharpnessPenalty`], [`AlignmentPenalty`]
//!   ([`AlignmentConfig`]), [`SpectralPenalty`] and [`QuadraticPenalty`] are of [`Penalised`], with a [`PenaltyValue`];
//!   [`LocalLinearity`] is an objective of its own.
//! - Exact products: [`Held`], [`Mode`], [`Tensors`], [`AnyTensor`], [`KeptMemory`], [`JvpError`] and [`detach`](fn@detach)
//!   are [`osculate_jvp`]'s.
//! - What fails is a [`CurvatureError`], or the [`ObjectiveError`] of one's own loss.
//!
//! # Example: sharpness of a classifier
//! ```
//! use burn::nn::{Linear, LinearConfig};
//! use burn::tensor::{Device, Distribution, Int, Tensor};
//! use osculate_curvature::{
//!     Criterion, GaussNewton, GradientOracle, LanczosConfig, Supervised, lanczos,
//! };
//!
//! let device = Device::flex().autodiff();
//! let model: Linear = LinearConfig::new(8, 3).init(&device);
//! let inputs = Tensor::<2>::random([16, 8], Distribution::Default, &device);
//! let labels = Tensor::<1, Int>::from_data([0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 1, 2, 0], &device);
//!
//! let objective = Supervised::new(
//!     |model: &Linear| model.forward(inputs.clone()),
//!     Criterion::cross_entropy(labels),
//! );
//! let oracle = GradientOracle::new(&model, &objective);
//! let spectrum = lanczos(&GaussNewton::new(&oracle)?, &LanczosConfig::default())?;
//! assert!(spectrum.largest[0].value > 0.0);
//! # Ok::<(), osculate_curvature::CurvatureError>(())
//! ```

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

mod cost;
mod error;
mod estimate;
mod influence;
mod laplace;
mod learning_rate;
mod noise;
mod objective;
mod operator;
mod oracle;
mod params;
mod penalty;
mod solve;
mod spectrum;
mod stream;
mod tally;
#[cfg(test)]
mod testing;

pub use cost::Cost;
pub use error::{CurvatureError, ObjectiveError};
pub use estimate::{
    BlockMasses, BlockTrace, DiagonalEstimate, Estimate, GnbConfig, HutchinsonConfig,
    KrylovTraceConfig, ProbeDistribution, SketchConfig, SketchedTrace, TraceEstimate, block_masses,
    factor_trace, gnb_diagonal, gnb_sample, hutch_pp, hutchinson_abs, hutchinson_diagonal,
    hutchinson_trace, krylov_trace, squared_frobenius_norm, xdiag, xnystrace, xtrace,
};
pub use influence::{
    Agreement, AttackConfig, Checkpoint, InfluenceScores, LeaveOneOut, RemovalConfig, influence,
    influence_lissa, leave_one_out, membership_score, output_jacobian, removal_step,
    sample_gradients, self_influence, trac_in,
};
pub use laplace::{
    DensePosterior, DiagonalPosterior, LaplaceConfig, LowRankPosterior, Posterior, PriorFit,
    fit_prior, log_evidence, predictive_covariance, probit,
};
pub use learning_rate::{BatchRate, RateEstimate, batch_sharpness};
pub use noise::{GradientNoise, NoiseScale, gradient_noise};
pub use objective::{
    Accumulated, Batched, Criterion, Distilled, Drawing, Fallible, GradientObjective, Objective,
    Part, Recordable, Saf, SafConfig, Supervised, SupervisedBatch, SupervisedObjective,
};
pub use operator::{
    CurvatureOperator, DenseOperator, DiagonalOperator, DifferenceReason, ErrorEstimate, Fisher,
    FisherKind, GaussNewton, GaussNewtonFactor, Hessian, HessianConfig, HvpFallback, HvpMode,
    LowRank, Preconditioned, Product, Provenance, Restricted, Scaled, Scheme, Shifted, StepRule,
    Structure, Sum, SymmetryCheck, dense_diagonal, dense_matrix, symmetry_check,
};
pub use oracle::{Evaluation, GradientOracle};
#[doc(inline)]
pub use osculate_jvp::{AnyTensor, Held, JvpError, KeptMemory, Mode, Tensors, detach};
pub use params::{FiniteFlags, ParamEntry, ParamLayout, ParamVec, assign, unflatten};
pub use penalty::{
    AlignmentConfig, AlignmentPenalty, GradientNorm, GradientNormPenalty, LocalLinearity,
    Penalised, Penalty, PenaltyValue, QuadraticPenalty, SharpnessPenalty, SpectralPenalty,
    TracePenalty,
};
pub use solve::{
    DampedInverse, Deflation, DenseFactor, Factor, FactorProduct, GradientRows, LsmrSolution,
    NegativeCurvature, NeumannConfig, NeumannSolution, Nystrom, NystromConfig, RightHandSide,
    Solution, SolveConfig, Woodbury, conjugate_gradient, deflated_conjugate_gradient, lsmr, minres,
    neumann, nystrom,
};
pub use spectrum::{
    BlockLanczosConfig, DensityConfig, DensityPoint, EigenPair, GeneralisedConfig, GeneralisedPair,
    GeneralisedSpectrum, KernelPolynomial, KernelPolynomialConfig, LanczosConfig, PowerIteration,
    PowerIterationConfig, Quadrature, SpectralDensity, Spectrum, Width, block_lanczos,
    generalised_lanczos, kernel_polynomial, lanczos, power_iteration, spectral_density,
};
pub use stream::RandomStream;
pub use tally::Budget;
