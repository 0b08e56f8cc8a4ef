//! Optimizers.
mod config;
mod diagonal;
mod error;
mod first_order;
mod optimizer;
mod record;
mod report;
mod session;
mod sharpness;
mod wrapper;
pub use config::{ConfigError, NonFinitePolicy, StepPolicy};
pub use diagonal::{
    AdaHessian, AdaHessianConfig, DiagonalFn, DiagonalRequest, MatrixAveraging, ProbeFn, Sophia,
    SophiaConfig, SophiaEstimator,
};
pub use error::{StepError, StepErrorCause};
pub use first_order::FirstOrder;
pub use optimizer::{ClosureOptimizer, StatefulOptimizer, Step};
pub use record::{KeepDtype, Kept, KeptState, RecordError, StateRecord};
pub use sharpness::{Asam, AsamConfig, Gsam, GsamConfig, LookSam, LookSamConfig, Sam, SamConfig};
pub use report::{SkipReason, Skipped, StepReport};
