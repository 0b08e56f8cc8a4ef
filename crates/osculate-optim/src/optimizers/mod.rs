//! The methods, a file or a folder each.

pub(crate) mod adahessian;
pub(crate) mod induced_metric;
pub(crate) mod kl;
mod kronecker;
pub(crate) mod momentum;
pub(crate) mod muon;
mod nag_gs;
pub(crate) mod newton_cg;
pub(crate) mod normuon;
pub(crate) mod optimistic_amsgrad;
pub(crate) mod psgd;
pub(crate) mod sassha;
pub(crate) mod sgdw;
pub(crate) mod shampoo;
pub(crate) mod soap;
pub(crate) mod sophia;
pub(crate) mod squared_gradient;

pub use adahessian::{AdaHessian, AdaHessianConfig, MatrixAveraging, TemporalAveraging};
pub use induced_metric::{InducedMetric, InducedMetricConfig};
pub use kl::{KlShampoo, KlShampooConfig, KlSoap, KlSoapConfig};
pub use momentum::{AveragedGradient, AveragedGradientConfig};
pub use muon::{Muon, MuonConfig, MuonOrthogonalizer, MuonScale};
pub use nag_gs::NagGs;
pub use newton_cg::NewtonCgConfig;
pub use normuon::{NorMuon, NorMuonConfig};
pub use optimistic_amsgrad::{GradientPrediction, OptimisticAmsgradConfig};
pub use psgd::{
    PsgdDense, PsgdDenseConfig, PsgdDiagonalConfig, PsgdFit, PsgdGeometry, PsgdKron,
    PsgdKronConfig, PsgdLra, PsgdLraConfig, RowProbeFn, SpectralNorm,
};
pub use sassha::SasshaConfig;
pub use sgdw::{Sgdw, SgdwConfig};
pub use shampoo::{
    EigenSolver, ExponentOverride, Grafting, RootSolver, Shampoo, ShampooConfig, ShampooDecay,
    ShampooForm, UpdateMomentum,
};
pub use soap::{Soap, SoapConfig};
pub use sophia::{Sophia, SophiaConfig, SophiaEstimator, SophiaSchedule};
pub use squared_gradient::{SquareFloor, SquaredGradient, SquaredGradientConfig};
