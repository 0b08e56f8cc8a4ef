//! Curvature-aware optimizers for burn.
//!
//! Every optimizer is a [`ClosureOptimizer`]: `step(lr, model, objective)` evaluates the loss as
//! often as its method needs and gives back the new model with a [`StepReport`]. It is a [`Driver`], put
//! together from roles; each choice of a role goes with every choice of the others:
//!
//! | role | says | choices |
//! |---|---|---|
//! | [`GradientSource`] | where the gradient and the curvature are taken | [`Clean`], [`Sam`], [`Asam`], [`Gsam`], [`LookSam`], [`Mars`], [`FriendlySam`], [`Gam`], [`FastGam`], [`Amp`], [`Awp`], [`EntropySgd`] |
//! | [`GradientFilter`] | what is taken out of the gradient | [`PerpGrad`], [`CentralisedGradient`], [`AdaptiveClip`] |
//! | [`CurvatureSource`] | what curvature a rule is given | [`Hutchinson`], [`GaussNewtonBartlett`], [`CustomDiagonal`] |
//! | the update | which direction | a [`BlockRule`], a [`VectorRule`], or a burn optimizer |
//! | [`StepSize`] | how far | the given rate, [`Momo`], [`Sania`], [`Armijo`], [`Prodigy`], [`RandomScale`] |
//! | [`WeightDecay`], masks | what else moves the weights | [`Driver::with_weight_decay`], [`Hyperball`], [`Driver::with_cautious_mask`] |
//! | [`Averaging`] | which weights are evaluated | [`ScheduleFree`], [`Ema`], [`Lookahead`], [`MomentumSam`] |
//!
//! | configuration | gradients a step | state for each parameter |
//! |---|---|---|
//! | any burn optimizer, by `Driver::from` | 1 | its own |
//! | [`Sam`], [`Asam`], [`Gsam`], [`Amp`], [`Awp`] over any optimizer | + 1 | + 0 |
//! | [`FriendlySam`] over any optimizer | + 1 | + 1 |
//! | [`Gam`], [`FastGam`] over any optimizer | + 5 to 7, + 3 | + 0 |
//! | [`EntropySgd`] over any optimizer | its length | + 0 |
//! | [`PerpGrad`], [`CentralisedGradient`], [`AdaptiveClip`] over any optimizer | + 0 | + 0 |
//! | [`LookSam`] over any optimizer | + 1/period | + 1 |
//! | [`AdaHessianConfig`] | 1 + 2/period | 2, or 3 with a period |
//! | [`SasshaConfig`]: SAM over AdaHessian | 2 + 2/period | 2 |
//! | [`SophiaConfig`] | 1.2 (H), 1.1 (G) | 2 |
//! | [`ShampooConfig`] | 1 | 4 on a square matrix, 3 without grafting |
//! | [`SoapConfig`], [`KlSoapConfig`] | 1 | 5 on a square matrix, 4 with bases in bf16 |
//! | [`KlShampooConfig`] | 1 | 4 on a square matrix, 3 with bases in bf16 |
//! | [`PsgdKronConfig`] | 1, or 1 + 2/period fitted to Hessian products | 2 on a square matrix, less on others |
//! | [`PsgdDiagonalConfig`], [`PsgdLraConfig`], [`PsgdDenseConfig`] | the same | 2, 2 rank + 2, half the length of a block |
//! | [`MuonConfig`] | 1 | 1 |
//! | [`NorMuonConfig`] | 1 | 1, and a row or column of a matrix |
//! | [`AveragedGradientConfig`], [`SgdwConfig`] | 1 | 1 |
//! | [`OptimisticAmsgradConfig`] | 1 | 5, and the span of an extrapolation |
//! | [`InducedMetricConfig`] | 1 | 2, or 1 without RMSProp's metric |
//! | [`SquaredGradientConfig`] | 1 | 1, 2 with momentum |
//! | [`NewtonCgConfig`] | 1 + 2 for each of up to 10 products | 0 |
//! | [`Mars`] over any optimizer | + 0, + 1 where exact | + 1 |
//! | [`Armijo`] over any optimizer | + a forward pass for each trial | + 0 |
//! | [`Momo`], [`Prodigy`], [`Sania`], [`RandomScale`] over any optimizer | + 0 | + 1, + 2, + 0, + 0 |
//!
//! ```
//! use burn::nn::{Linear, LinearConfig};
//! use burn::tensor::{Device, Distribution, Tensor};
//! use osculate_optim::{ClosureOptimizer, Sam, SophiaConfig};
//!
//! let device = Device::flex().autodiff();
//! device.seed(1);
//! let mut model: Linear = LinearConfig::new(4, 3).init(&device);
//! let x = Tensor::<2>::random([8, 4], Distribution::Default, &device);
//! let loss = |model: &Linear| model.forward(x.clone()).square().mean();
//! let mut optimizer = Sam::new(0.05).over(SophiaConfig::h().init()?)?;
//! let mut losses = Vec::new();
//! for _ in 0..10 {
//!     let step = optimizer.step(0.01, model, &loss)?;
//!     losses.push(step.report.loss());
//!     model = step.model;
//! }
//! assert!(losses[9] < losses[0]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! What all of them keep to:
//!
//! - A step that fails hands the model back unchanged, in its [`StepError`]; a panic of the
//!   objective is such a failure.
//! - A parameter whose gradient holds a NaN or an infinity is left alone, with its state, and
//!   counted ([`NonFinitePolicy`]). The test is made on the device. What is read back in a step does
//!   not grow with the number of parameters: burn's optimizers read all flags together, methods with
//!   Hessian products one or two numbers for each product.
//! - State is saved by parameter path with its element types ([`StateRecord`]), and a resumed run
//!   is bit for bit the uninterrupted one. A parameter that changed starts with fresh state, aloud.
//! - Batch normalisation's running statistics move as in one clean pass, and all passes of a step
//!   see one dropout mask.
//!
//! # What there is
//! The lists below the examples are in alphabetical order; here is what belongs together.
//!
//! Optimizers, each a configuration whose `init()` makes the optimizer and whose `rule()`, where it has one, makes
//! its rule:
//! - Diagonal curvature: [`AdaHessianConfig`] averages Hutchinson's estimate (with [`MatrixAveraging`] and
//!   [`TemporalAveraging`]), [`SasshaConfig`] does at sharpness-aware gradients, and [`SophiaConfig`] clips a step by it
//!   ([`SophiaEstimator`] says which, [`SophiaSchedule`] when).
//! - Kronecker factors: [`ShampooConfig`] takes roots of them ([`ShampooForm`], [`ShampooDecay`], [`Grafting`],
//!   [`RootSolver`], [`EigenSolver`], [`ExponentOverride`] and [`UpdateMomentum`] are its settings), [`SoapConfig`] runs
//!   Adam in their eigenbasis, and [`KlShampooConfig`] and [`KlSoapConfig`] fit them by the KL divergence.
//! - Fitted preconditioners: [`PsgdKronConfig`], [`PsgdLraConfig`], [`PsgdDenseConfig`] and [`PsgdDiagonalConfig`] descend
//!   to them ([`PsgdFit`], [`PsgdGeometry`] and [`SpectralNorm`] say how, [`RowProbeFn`] along which probes).
//! - Orthogonal steps: [`MuonConfig`] makes them ([`MuonOrthogonalizer`], [`MuonScale`]), and [`NorMuonConfig`] with rows
//!   of like length.
//! - First order: [`SgdwConfig`], [`AveragedGradientConfig`], [`NagGs`], [`OptimisticAmsgradConfig`] with its
//!   [`GradientPrediction`], [`InducedMetricConfig`] with its [`InducedMetric`], and [`SquaredGradientConfig`] with its
//!   [`SquareFloor`] take one gradient a step.
//! - Second order: [`NewtonCgConfig`] solves with exact products.
//!
//! Making steps:
//! - [`ClosureOptimizer`] is what all optimizers are, a [`Step`] what one makes, [`StepReport`] what it tells
//!   ([`Skipped`] and [`SkipReason`], [`GroupReport`], [`FreshState`]), [`StepError`] why there is none
//!   ([`StepErrorCause`]).
//! - [`StepPolicy`] says what becomes of numbers that are none ([`NonFinitePolicy`]) and clips, [`ParameterGroup`] and
//!   [`Select`] what holds for some parameters, [`Forecast`] what a model will cost.
//! - [`RateSchedule`] has schedules with rates above 1: [`OneCycle`], [`CosineRestarts`], [`WarmupStableDecay`], each a
//!   [`ScheduledRate`]; [`RangeTest`] looks for a rate and draws a [`RangeCurve`] of [`RangePoint`]s;
//!   [`normalised_weight_decay`] goes with the length of a run.
//! - [`registry`] has all optimizers by name, with settings as data.
//!
//! Keeping state: [`StatefulOptimizer`] gives and takes a [`StateRecord`] or a [`RecordError`]; [`KeepDtype`] keeps the
//! types of burn's optimizers ([`KeptState`], [`Kept`]); [`settled`] is the model to save.
//!
//! Writing a method:
//! - [`BlockRule`] is a rule on stacks of blocks: it sees a [`Stack`] of [`Row`]s ([`Parameter`], [`Orientation`]) with
//!   [`StackedCurvature`] and a [`BlockState`] of [`Field`]s, may span the parameters of a layer ([`Joined`]), refreshes by a
//!   [`RefreshSchedule`] ([`Refresh`], [`Solve`]) and makes [`Stepped`] or a [`RuleError`]; [`PerParameter`] runs it as a burn
//!   optimizer ([`PerParameterState`]); [`modes`], [`take_rows`] and [`put_rows`] are its tools.
//! - [`VectorRule`] is a rule on the whole vector: a [`VectorStep`] with a [`VectorState`] of [`VectorField`]s.
//! - [`GradientSource`] gets a [`GradientContext`] and gives a [`TakenGradient`] at a [`GradientPoint`]; [`GradientFilter`] gets a
//!   [`FilterContext`]; [`CurvatureSource`] gets a [`CurvatureContext`] and gives a [`CurvatureEstimate`] ([`DiagonalRequest`],
//!   [`DiagonalFn`], [`ProbeFn`]); [`StepSize`] gets a [`StepSizeContext`], [`Averaging`] an [`AveragingContext`].
//! - [`DecayForm`] says how a [`WeightDecay`] decays; [`matrices_of`] and [`ScaledLr`] give matrices to one burn optimizer and
//!   the rest to another.

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

mod averaging;
mod config;
mod curvature;
mod driver;
mod engine;
mod filter;
mod gradient;
mod matrices;
mod optimizer;
mod optimizers;
mod parameter;
mod record;
pub mod registry;
mod schedule;
mod step_size;
mod update;
mod vector_state;
mod weight_decay;

pub use averaging::*;
pub use config::ConfigError;
pub use curvature::{
    CurvatureContext, CurvatureEstimate, CurvatureSource, CustomDiagonal, DiagonalFn,
    DiagonalRequest, GaussNewtonBartlett, Hutchinson, ProbeFn,
};
pub use driver::{
    Driver, Forecast, FreshState, GroupReport, NonFinitePolicy, ParameterGroup, Select, SkipReason,
    Skipped, StepError, StepErrorCause, StepPolicy, StepReport,
};
pub use engine::{
    BlockRule, BlockState, Field, Joined, PerParameter, PerParameterState, Refresh,
    RefreshSchedule, Row, RuleError, Solve, Stack, StackedCurvature, Stepped, modes, put_rows,
    take_rows,
};
pub use filter::*;
pub use gradient::*;
pub use matrices::{ScaledLr, matrices_of};
pub use optimizer::{ClosureOptimizer, StatefulOptimizer, Step};
pub use optimizers::*;
pub use parameter::{Orientation, Parameter};
pub use record::{KeepDtype, Kept, KeptState, RecordError, StateRecord, settled};
pub use schedule::{
    CosineRestarts, OneCycle, RangeCurve, RangePoint, RangeTest, RangeTestError, RateSchedule,
    ScheduledRate, WarmupStableDecay, normalised_weight_decay,
};
pub use step_size::*;
pub use update::{VectorRule, VectorStep};
pub use vector_state::{VectorField, VectorState};
pub use weight_decay::{DecayForm, Hyperball, WeightDecay};

/// What the prelude of the crate `osculate` takes over whole, so that a new method is in it.
#[doc(hidden)]
pub mod methods {
    pub use crate::averaging::*;
    pub use crate::filter::*;
    pub use crate::gradient::*;
    pub use crate::optimizers::*;
    pub use crate::step_size::*;
}
