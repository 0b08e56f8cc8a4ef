//! Curvature-aware optimizers for burn.
//!
//! Every optimizer is a [`ClosureOptimizer`]: `step(lr, model, objective)` evaluates the loss as
//! often as its method needs and gives back the new model with a [`StepReport`].
//!
//! | optimizer | gradients a step | state for each parameter |
//! |---|---|---|
//! | [`FirstOrder`]: any burn optimizer | 1 | the base's |
//! | [`Sam`], [`Asam`], [`Gsam`] over any burn optimizer | 2 | the base's |
//! | [`LookSam`] over any burn optimizer | 1 + 1/period | the base's + 1 |
//! | [`AdaHessian`] | 1 + 2/period | 2, or 3 with a period |
//! | [`Sophia`] | 1.2 (H), 1.1 (G) | 2 |
//! | [`Shampoo`] | 1 | 4 on a square matrix, 3 without grafting |
//! | [`Soap`], [`KlSoap`] | 1 | 5 on a square matrix, 4 with bases in bf16 |
//! | [`KlShampoo`] | 1 | 4 on a square matrix, 3 with bases in bf16 |
//! | [`PsgdKron`] | 1, or 1 + 2/period fitted to Hessian products | 2 on a square matrix, less on others |
//! | [`PsgdDiagonal`], [`PsgdLra`], [`PsgdDense`] | the same | 2, 2 rank + 2, half the length of a block |
//! | [`Muon`] | 1 | 1 |
//! | [`Hybrid`]: a matrix method with any burn optimizer | 1 | that of each |
//!
//! What all of them keep to:
//!
//! - A step that fails hands the model back unchanged, in its [`StepError`]; a panic of the
//!   objective is such a failure.
//! - A parameter whose gradient holds a NaN or an infinity is left alone, with its state, and
//!   counted ([`NonFinitePolicy`]). The test is made on the device. What is read back in a step does
//!   not grow with the number of parameters: methods over a base optimizer read all flags together,
//!   methods with Hessian products one or two numbers for each product.
//! - State is saved by parameter path with its element types ([`StateRecord`]), and a resumed run
//!   is bit for bit the uninterrupted one.
//! - Batch normalisation's running statistics move as in one clean pass, and all passes of a step
//!   see one dropout mask.

pub mod catalogue;
mod config;
mod diagonal;
mod error;
mod first_order;
pub mod matrix;
mod optimizer;
mod record;
mod report;
mod session;
mod sharpness;
mod wrapper;
pub use config::{ConfigError, NonFinitePolicy, StepPolicy};
pub use diagonal::{
    AdaHessian, AdaHessianConfig, DiagonalFn, DiagonalRequest, MatrixAveraging, ProbeFn, Sophia,
    SophiaConfig, SophiaEstimator, SophiaSchedule,
};
pub use error::{StepError, StepErrorCause};
pub use first_order::FirstOrder;
pub use matrix::{
    EigenSolver, ExponentOverride, Field, Grafting, Hybrid, KlShampoo, KlShampooConfig, KlSoap,
    KlSoapConfig, MatrixRule, Muon, MuonConfig, MuonOrthogonalizer, MuonScale, PerParam,
    PerParamState, ProductPair, PsgdDense, PsgdDenseConfig, PsgdDiagonal, PsgdDiagonalConfig,
    PsgdFit, PsgdGeometry, PsgdKron, PsgdKronConfig, PsgdLra, PsgdLraConfig, Refresh,
    RefreshSchedule, RootSolver, Row, RowProbeFn, ScaledLr, Shampoo, ShampooConfig, ShampooDecay,
    ShampooForm, Soap, SoapConfig, Solve, SpectralNorm, Stack, Stacked, Stepped, UpdateMomentum,
    matrices_of,
};
pub use optimizer::{ClosureOptimizer, StatefulOptimizer, Step};
pub use record::{KeepDtype, Kept, KeptState, RecordError, StateRecord};
pub use report::{SkipReason, Skipped, StepReport};
pub use sharpness::{Asam, AsamConfig, Gsam, GsamConfig, LookSam, LookSamConfig, Sam, SamConfig};
