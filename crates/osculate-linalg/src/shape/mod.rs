//! Tensors of any rank as stacks of smaller ones: merged dimensions, blocks, products along a mode.
//!
//! A stack of `k` tensors of dimensions `d_1 .. d_r` is a `Tensor<2>` of shape `[k, d_1 ⋯ d_r]`
//! beside its dimensions, since the rank of a burn tensor is fixed at compile time.

mod blocks;
mod merge;
mod modes;

pub use blocks::{BlockGroup, BlockPartition};
pub use merge::{MergeFrom, merge_dims};
pub(crate) use modes::mode_matrices;
pub use modes::{mode_gram, mode_product, symmetric_mode_gram};
