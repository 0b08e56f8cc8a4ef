//! Curvature operators and estimators, on every backend.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on fails"
)]

mod edges;
mod estimators;
mod exact;
mod faults;
mod gradient_objectives;
mod networks;
mod passes;
mod provenance;

use mimalloc::MiMalloc;

/// As in the programs: steps ask for the same blocks again and again.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;
