//! Optimizers that precondition matrices, and the engine that runs them over a model.
//!
//! A method is a [`MatrixRule`]: what it does to a stack of equal-shaped blocks. The engine gives it
//! both doors: [`PerParam`] for burn's `ModuleOptimizer`, [`Stacked`] for the closure door.

mod doors;
mod engine;
mod groups;
mod hybrid;
mod kl;
mod kl_shampoo;
mod kl_soap;
mod kronecker;
pub mod modes;
mod muon;
mod per_param;
mod psgd;
mod rule;
mod schedule;
mod shampoo;
mod soap;
mod stacked;
mod state;

pub(crate) use doors::{check_per_param, matrix_doors};
pub use hybrid::{Hybrid, ScaledLr, matrices_of};
pub use kl_shampoo::{KlShampoo, KlShampooConfig};
pub use kl_soap::{KlSoap, KlSoapConfig};
pub use muon::{Muon, MuonConfig, MuonOrthogonalizer, MuonScale};
pub use per_param::{PerParam, PerParamState};
pub use psgd::{
    PsgdDense, PsgdDenseConfig, PsgdDiagonal, PsgdDiagonalConfig, PsgdFit, PsgdGeometry, PsgdKron,
    PsgdKronConfig, PsgdLra, PsgdLraConfig, RowProbeFn, SpectralNorm,
};
pub use rule::{Field, MatrixRule, ProductPair, Row, Solve, Stack, Stepped, put_rows, take_rows};
pub use schedule::{Refresh, RefreshSchedule};
pub use shampoo::{
    EigenSolver, ExponentOverride, Grafting, RootSolver, Shampoo, ShampooConfig, ShampooDecay,
    ShampooForm, UpdateMomentum,
};
pub use soap::{Soap, SoapConfig};
pub use stacked::Stacked;

#[cfg(test)]
mod tests;
