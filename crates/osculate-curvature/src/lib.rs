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
//! | [`Sum`], [`Scaled`], [`Shifted`], [`Restricted`] | combinations and diagonal blocks | of its parts |
//! | [`DenseOperator`] | an explicit matrix | 0 |
//!
//! | estimator | result |
//! |---|---|
//! | [`hutchinson_diagonal`] | diagonal, signed, with standard errors |
//! | [`hutchinson_abs`] | mean of `abs(A z)`, what AdaHessian accumulates |
//! | [`gnb_diagonal`] | Gauss-Newton diagonal from sampled targets |
//! | [`hutchinson_trace`] | trace, and the trace of every parameter's block |
//! | [`lanczos`] | eigenpairs at both ends of the spectrum, with residuals |
//! | [`power_iteration`] | the eigenpair of largest magnitude |
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

mod cost;
mod error;
mod estimate;
mod objective;
mod operator;
mod oracle;
mod params;
mod spectrum;

pub use cost::Cost;
pub use error::{CurvatureError, ObjectiveError};
pub use estimate::{
    BlockTrace, DiagonalEstimate, GnbConfig, HutchinsonConfig, ProbeDistribution, TraceEstimate,
    gnb_diagonal, gnb_sample, hutchinson_abs, hutchinson_diagonal, hutchinson_trace,
};
pub use objective::{
    Accumulated, Batched, Criterion, Fallible, GradientObjective, Objective, Part, Recordable,
    Supervised, SupervisedBatch, SupervisedObjective,
};
pub use operator::{
    CurvatureOperator, DenseOperator, ErrorEstimate, Fisher, FisherKind, GaussNewton, Hessian,
    HessianConfig, HvpFallback, HvpMode, Product, Provenance, Restricted, Scaled, Scheme, Shifted,
    StepRule, Structure, Sum, SymmetryCheck, dense_diagonal, dense_matrix, symmetry_check,
};
pub use oracle::{Evaluation, GradientOracle};
pub use osculate_jvp::{AnyTensor, Held, JvpError, Mode, Tensors, detach};
pub use params::{FiniteFlags, ParamEntry, ParamLayout, ParamVec, assign, unflatten};
pub use spectrum::{
    EigenPair, LanczosConfig, PowerIteration, PowerIterationConfig, Spectrum, lanczos,
    power_iteration,
};
