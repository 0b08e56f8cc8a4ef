//! Single methods against the numbers of their papers, and in the limits in which they are others.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on fails"
)]

mod adaptive_identity;
mod adaptive_oracles;
mod composed_oracles;
mod kronecker;
mod kronecker_limits;
mod muon;
mod null_space;
mod oracles;
mod psgd;
mod psgd_limits;
mod sophia;

use mimalloc::MiMalloc;

/// As in the programs: steps ask for the same blocks again and again.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;
