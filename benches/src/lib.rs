//! What the benchmarks share: workloads, and ratios measured side by side.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a benchmark that cannot go on stops"
)]

pub mod loops;
pub mod ratios;
pub mod residual_net;
pub mod workload;
