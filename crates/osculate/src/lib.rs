//! Second-order and curvature-aware optimizers for [burn](https://burn.dev).
//!
//! To osculate is to touch to second order. This crate gathers the project's libraries:
//! [`optim`], the optimizers, and [`curvature`], the products and estimates that they share and
//! that are useful alone. Features choose burn's backends; the same code runs on all of them. The
//! [`guide`] has a page for each task, from choosing an optimizer to adding one.
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
//!     let batch = Supervised::new(
//!         move |model: &Linear| model.forward(x.clone()),
//!         Criterion::cross_entropy(y),
//!     );
//!     let step = optimizer.step(0.01, model, &batch)?;
//!     model = step.model;
//! }
//! # Ok(())
//! # }
//! ```

pub use osculate_curvature as curvature;
pub use osculate_linalg as linalg;
pub use osculate_optim as optim;

pub mod device;
pub mod guide;

/// What a training loop needs, and what a method of one's own is made of.
pub mod prelude {
    pub use osculate_curvature::{
        Accumulated, Batched, Criterion, Fallible, HvpMode, Objective, ParamVec, Supervised,
        SupervisedBatch,
    };
    pub use osculate_optim::registry::{OptimizerKind, OptimizerRow, OptimizerSpec, SpecError};
    pub use osculate_optim::{
        AdaHessian, AdaHessianConfig, Armijo, Asam, AveragedGradient, AveragedGradientConfig,
        ClosureOptimizer, ConfigError, CustomDiagonal, DecayForm, Driver, EigenSolver, Ema,
        GaussNewtonBartlett, GradientPrediction, Grafting, Gsam, Hutchinson, Hyperball,
        InducedMetric, InducedMetricConfig, KeepDtype, KlShampoo, KlShampooConfig, KlSoap,
        KlSoapConfig, LookSam, Lookahead, Mars, Momo, Muon, MuonConfig, NagGs, NewtonCgConfig,
        NonFinitePolicy, NorMuon, NorMuonConfig, OptimisticAmsgradConfig, ParameterGroup, Prodigy,
        PsgdDense, PsgdDenseConfig, PsgdDiagonalConfig, PsgdFit, PsgdGeometry, PsgdKron,
        PsgdKronConfig, PsgdLra, PsgdLraConfig, RandomScale, RefreshSchedule, RootSolver, Sam,
        Sania, SasshaConfig, ScheduleFree, Select, Sgdw, SgdwConfig, Shampoo, ShampooConfig,
        ShampooForm, Soap, SoapConfig, Sophia, SophiaConfig, SophiaSchedule, SquareFloor,
        SquaredGradient, SquaredGradientConfig, StateRecord, StatefulOptimizer, Step, StepError,
        StepErrorCause, StepPolicy, StepReport, WeightDecay,
    };
    pub use osculate_optim::{
        Averaging, AveragingContext, BlockRule, BlockState, Clean, CurvatureContext,
        CurvatureEstimate, CurvatureSource, Field, GradientContext, GradientPoint, GradientSource,
        Joined, Parameter, PerParameter, RuleError, Stack, StackedCurvature, StepSize,
        StepSizeContext, Stepped, TakenGradient, VectorField, VectorRule, VectorState, VectorStep,
    };
}
