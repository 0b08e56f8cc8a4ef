//! The methods, a file or a folder each.

pub(crate) mod adahessian;
pub(crate) mod kl;
mod kronecker;
pub(crate) mod momentum;
pub(crate) mod muon;
pub(crate) mod psgd;
pub(crate) mod sassha;
pub(crate) mod shampoo;
pub(crate) mod soap;
pub(crate) mod sophia;

pub use adahessian::{AdaHessian, AdaHessianConfig, MatrixAveraging, TemporalAveraging};
pub use kl::{KlShampoo, KlShampooConfig, KlSoap, KlSoapConfig};
pub use momentum::{AveragedGradient, AveragedGradientConfig};
pub use muon::{Muon, MuonConfig, MuonOrthogonalizer, MuonScale};
pub use psgd::{
    PsgdDense, PsgdDenseConfig, PsgdDiagonalConfig, PsgdFit, PsgdGeometry, PsgdKron,
    PsgdKronConfig, PsgdLra, PsgdLraConfig, RowProbeFn, SpectralNorm,
};
pub use sassha::SasshaConfig;
pub use shampoo::{
    EigenSolver, ExponentOverride, Grafting, RootSolver, Shampoo, ShampooConfig, ShampooDecay,
    ShampooForm, UpdateMomentum,
};
pub use soap::{Soap, SoapConfig};
pub use sophia::{Sophia, SophiaConfig, SophiaEstimator, SophiaSchedule};
