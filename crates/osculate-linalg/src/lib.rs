//! Matrix functions on stacks of burn tensors.
//!
//! A stack is a `Tensor<3>` of shape `[k, m, n]`: `k` matrices in one batched product. Everything
//! here takes f16, bf16, f32 and f64; the first two are computed in f32. Zero matrices, empty
//! stacks and matrices of one element are fine.
//!
//! | function | where | cost for each matrix | residual |
//! |---|---|---|---|
//! | [`polar_express`], [`newton_schulz`], [`quintic_newton_schulz`] | device | 3 (2) products a step | [`orthogonality_defect`] |
//! | [`solve_triangular`], [`triangular_inverse`] | device | `n² m`, `n³ / 3` | `‖T X - B‖ / (‖T‖ ‖X‖)` |
//! | [`eigh`] | host | about `9 n³` | `‖A x - V Λ Vᵀ x‖ / (‖A‖ ‖x‖)` |
//! | [`orthogonal_iteration`], [`orthonormalize`] | host | about `11 n³ / 3`, `8 n³ / 3` | [`off_diagonality`] |
//! | [`eigh_inverse_root`] | host | about `10 n³` | that of [`eigh`] |
//! | [`coupled_newton_inverse_root`], [`higher_order_inverse_root`] | device | 4 to 7 products an iteration | `‖M - I‖ / √n` |
//! | [`cholesky`] | host | `n³ / 3` | `‖A x - L Lᵀ x‖ / (‖A‖ ‖x‖)` |
//! | [`spectral_norm_upper`], [`spectral_norm_lower`] | device | a few passes | |
//!
//! [`gram`] and [`gram_of_columns`] make symmetric products by half on a CPU.
//!
//! [`merge_dims`], [`BlockPartition`], [`mode_product`] and [`mode_gram`] bring tensors of any rank
//! to stacks.
//!
//! [`pack`] and its inverses halve the storage of symmetric and triangular matrices.
//!
//! # What there is
//! - [`EighConfig`], [`OrthogonalIterationConfig`], [`RootIteration`] and [`Ridge`] are the settings.
//! - [`SymmetricEigen`], [`EigenBasis`], [`InverseRoots`], [`Cholesky`] and [`DeviceSolution`] are the results, each with
//!   `or_last` for the matrices that failed.
//! - [`Outcome`] says of each matrix how it was [`Solved`] and with what [`Effort`], or its [`MatrixFailure`]; a call that
//!   cannot be made at all is a [`LinalgError`].
//! - [`Triangle`], [`MergeFrom`] and [`BlockGroup`] say which half, which end and which blocks; [`packed_gram`],
//!   [`unpack_lower`], [`unpack_upper`], [`unpack_symmetric`] and [`packed_shape`] go with [`pack`], [`substitute`] with
//!   [`solve_triangular`]; [`compute_dtype`] is the type that is computed in.
//!
//! Solvers on the host take the stack over in one transfer, solve its matrices in parallel, and
//! send the results in one transfer. Solvers on the device read nothing back; a [`DeviceSolution`] says how well each matrix was
//! solved, on the device or, when asked, as an [`Outcome`] for each matrix.

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

mod error;
mod gram;
mod host;
mod norm;
mod orthogonal;
mod outcome;
mod packed;
mod root;
mod shape;
mod stack;
mod triangular;

pub use error::{Effort, LinalgError, MatrixFailure, Outcome, Solved};
pub use gram::{gram, gram_of_columns};
pub use host::{
    Cholesky, EigenBasis, EighConfig, InverseRoots, OrthogonalIterationConfig, Ridge,
    SymmetricEigen, cholesky, eigh, eigh_inverse_root, off_diagonality, orthogonal_iteration,
    orthonormalize,
};
pub use norm::{spectral_norm_lower, spectral_norm_upper};
pub use orthogonal::{newton_schulz, orthogonality_defect, polar_express, quintic_newton_schulz};
pub use outcome::DeviceSolution;
pub use packed::{pack, packed_gram, packed_shape, unpack_lower, unpack_symmetric, unpack_upper};
pub use root::{RootIteration, coupled_newton_inverse_root, higher_order_inverse_root};
pub use shape::{
    BlockGroup, BlockPartition, MergeFrom, merge_dims, mode_gram, mode_product, symmetric_mode_gram,
};
pub use stack::compute_dtype;
pub use triangular::{Triangle, solve_triangular, substitute, triangular_inverse};
