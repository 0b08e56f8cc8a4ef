//! Second-order and curvature-aware optimizers for [burn](https://burn.dev).
//!
//! To osculate is to touch to second order. This crate gathers the project's libraries; features choose burn's
//! backends, and the same code runs on all of them.
//!
//! | to | there is |
//! |---|---|
//! | train in a loop of one's own | an optimizer of [`optim`], such as [`optim::SoapConfig`], and [`prelude`] |
//! | train in burn's `Learner` | `train::learner::Osculate`, with the feature `train` |
//! | look at curvature | the products, spectra and estimates of [`curvature`] |
//! | have exact derivatives of a network | [`jvp`], on which the exact products stand |
//! | solve for many matrices at once | the matrix functions of [`linalg`] |
//! | choose, compose or write an optimizer | a page of the [`guide`] |
//! | choose a device by name | [`device::select`] |
//!
//! What is not here: the workloads, races and studies of the command `osculate` (crate `osculate-bench`), and
//! problems with known answers (crate `osculate-problems`).
//!
//! # A training loop, and the line that changes
//! ```
//! use burn::nn::{Linear, LinearConfig};
//! use burn::optim::AdamWConfig;
//! use burn::tensor::{Device, Int, Tensor};
//! use osculate::prelude::*;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let device = Device::flex().autodiff();
//! let mut model: Linear = LinearConfig::new(2, 2).init(&device);
//!
//! // With AdamW this line reads `Driver::from(AdamWConfig::new().init())`,
//! // with SAM over it `Sam::new(0.05).over(AdamWConfig::new().init())?`.
//! let mut optimizer = SophiaConfig::g().init()?;
//! # let _ = Driver::from(AdamWConfig::new().init());
//!
//! for _ in 0..20 {
//!     let x = Tensor::<2>::from_data([[1.0, 0.0], [0.0, 1.0]], &device);
//!     let y = Tensor::<1, Int>::from_data([0, 1], &device);
//!     let forward = |model: &Linear, x: &Tensor<2>| model.forward(x.clone());
//!     let batch = SupervisedBatch::new(x, forward, Criterion::cross_entropy(y));
//!     let step = optimizer.step(0.01, model, &batch)?;
//!     model = step.model;
//! }
//! # Ok(())
//! # }
//! ```

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

pub use osculate_curvature as curvature;
pub use osculate_jvp as jvp;
pub use osculate_linalg as linalg;
pub use osculate_optim as optim;
#[cfg(feature = "train")]
pub use osculate_train as train;

pub mod device;
pub mod guide;
mod main_error;

pub use main_error::MainError;

/// What a training loop and a look at curvature need, and what a method of one's own is made of.
pub mod prelude {
    pub use crate::MainError;
    // A loss, and what is known of it around a model's weights.
    pub use osculate_curvature::{
        Accumulated, Batched, Criterion, CurvatureError, CurvatureOperator, Drawing, Fallible,
        Fisher, FisherKind, GaussNewton, GradientOracle, Held, Hessian, HutchinsonConfig, HvpMode,
        LanczosConfig, Objective, ObjectiveError, ParamVec, Supervised, SupervisedBatch,
        hutchinson_diagonal, hutchinson_trace, lanczos,
    };
    pub use osculate_optim::methods::*;
    pub use osculate_optim::registry::{
        OptimizerKind, OptimizerRow, OptimizerSpec, SpecError, settings_of,
    };
    pub use osculate_optim::{
        BlockRule, BlockState, ClosureOptimizer, ConfigError, CosineRestarts, CurvatureContext,
        CurvatureEstimate, CurvatureSource, CustomDiagonal, DecayForm, Driver, Field,
        GaussNewtonBartlett, Hutchinson, Hyperball, Joined, KeepDtype, NonFinitePolicy, OneCycle,
        Parameter, ParameterGroup, PerParameter, RateSchedule, RecordError, RefreshSchedule,
        RuleError, Select, SkipReason, Skipped, Stack, StackedCurvature, StateRecord,
        StatefulOptimizer, Step, StepError, StepErrorCause, StepPolicy, StepReport, Stepped,
        VectorField, VectorRule, VectorState, VectorStep, WarmupStableDecay, WeightDecay, settled,
    };
    #[cfg(feature = "train")]
    pub use osculate_train::learner::{
        Checkpoints, CurvatureProbe, InStep, LearnerError, Osculate, Quantity, SupervisedModel,
    };
}
